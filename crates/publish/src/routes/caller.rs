//! What all routes share: ids that follow from the key of a request, the name of its caller, and a database that does not answer.

use crate::ids;
use chainflume_api::access::Principal;
use chainflume_api::routes::{ApiRequest, Refusal};
use chainflume_db::StoreError;

/// Ids of what a request makes.
pub(super) trait NewId {
    /// An id for the thing at `index`. With an `Idempotency-Key` it is the same at each repeat, also where the first answer was lost
    /// between the commit and the caller. Another body is another thing: a key is free again after a day, and what is sent with it
    /// then must not be taken for what was sent before.
    fn new_id(&self, caller: &Principal, index: usize) -> uuid::Uuid;
}

impl NewId for ApiRequest {
    fn new_id(&self, caller: &Principal, index: usize) -> uuid::Uuid {
        match self.header("idempotency-key") {
            None => ids::fresh(),
            Some(key) => {
                let (owner, index) = (caller.owner(), index.to_string());
                let parts = [owner.as_bytes(), self.method.as_bytes(), key.as_bytes(), index.as_bytes()];
                ids::derived(&[parts.as_slice(), &[self.body.as_slice()]].concat())
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
