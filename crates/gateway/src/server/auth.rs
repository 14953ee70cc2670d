use axum::http::{HeaderMap, header};

use super::problem::Problem;
use chainflume_access::{KeyHash, Principal, Scopes, Service, ServiceKey, Verifier};

/// Who may ask.
#[derive(Debug)]
pub enum Auth {
    /// Anybody; the listener is on the loopback.
    Open,
    /// Users with a token and services with a key.
    Required {
        /// Checks tokens; without a key it accepts none.
        verifier: Verifier,
        /// Keys of services.
        keys: Vec<Key>,
    },
}

/// The key of a service, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Name of the service.
    pub name: String,
    /// Of the key.
    pub hash: KeyHash,
    /// What the service may do.
    pub scopes: Scopes,
}

impl Auth {
    /// Who asks with these headers at `now`.
    pub(super) fn of_headers(&self, headers: &HeaderMap, now: u64) -> Result<Principal, Problem> {
        let bearer = |text: &str| {
            let (scheme, credential) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim().to_owned())
        };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        self.of_credential(given.and_then(bearer).as_deref(), now)
    }

    /// Who asks with this credential at `now`.
    pub(super) fn of_credential(&self, credential: Option<&str>, now: u64) -> Result<Principal, Problem> {
        let Self::Required { verifier, keys } = self else { return Ok(Principal::Local) };
        let missing = "send a token or a service key in the header Authorization: Bearer …";
        let credential = credential.ok_or_else(|| Problem::new(401, "credential_missing", missing))?;
        if ServiceKey::is_one(credential) {
            let key = keys.iter().find(|key| key.hash.fits(credential));
            let key =
                key.ok_or_else(|| Problem::new(401, "key_unknown", "this service key is not known here"))?;
            return Ok(Principal::Service(Service {
                name: key.name.clone(),
                key: key.hash.clone(),
                scopes: key.scopes.clone(),
            }));
        }
        let verified = verifier.verify(credential, now);
        verified.map(Principal::User).map_err(|error| Problem::new(401, error.code(), error.to_string()))
    }
}
