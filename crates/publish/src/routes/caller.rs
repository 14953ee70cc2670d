//! What all routes share: ids that follow from the key of a request, the name of its caller, and a database that does not answer.

use crate::ids;
use chainflume_access::Principal;
use chainflume_api::{ApiRequest, Refusal};
use chainflume_db::StoreError;

/// Ids of what a request makes.
pub(super) trait NewId {
    /// An id for the thing at `index`. With an `Idempotency-Key` it is the same at each repeat, also where the first answer was lost
    /// between the commit and the caller.
    fn new_id(&self, caller: &Principal, index: usize) -> uuid::Uuid;
}

impl NewId for ApiRequest {
    fn new_id(&self, caller: &Principal, index: usize) -> uuid::Uuid {
        match self.header("idempotency-key") {
            None => ids::fresh(),
            Some(key) => {
                let parts = [caller.owner(), self.method.clone(), key.to_owned(), index.to_string()];
                ids::derived(&parts.each_ref().map(|part| part.as_bytes()))
            }
        }
    }
}

/// The name under which a caller publishes.
pub(super) fn source(caller: &Principal) -> String {
    match caller {
        Principal::Local => "local".to_owned(),
        Principal::User(user) => user.id.clone(),
        Principal::Service(service) => service.name.clone(),
    }
}

pub(super) fn unavailable(error: StoreError) -> Refusal {
    tracing::debug!(error = %chainflume_core::domain::causes(&error), "a request of the application cannot be answered");
    Refusal::unavailable()
}
