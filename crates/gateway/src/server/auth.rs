use axum::http::{HeaderMap, header};

use super::jwks::Jwks;
use super::problem::HttpProblem;
use super::revoked::Revoked;
use chainflume_api::access::{KeyHash, Principal, Scopes, Service, ServiceKey, TokenError, User, Verifier};

/// In a browser, which can set no header for a WebSocket, the token follows this in a second subprotocol.
pub(super) const BEARER: &str = "bearer.";

/// Who may ask.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
pub enum Auth {
    /// Anybody; the listener is on the loopback.
    Open,
    /// Users with a token and services with a key.
    Required(Access),
}

/// What credentials are checked with.
#[derive(Debug)]
pub struct Access {
    /// Checks tokens with the configured keys; without a key it accepts none.
    pub verifier: Verifier,
    /// Checks tokens with the keys that the issuer publishes.
    pub issued: Option<Jwks>,
    /// Keys of services.
    pub keys: Vec<Key>,
    /// What was revoked.
    pub revoked: Revoked,
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

/// The credential in the headers of a request.
pub(super) fn credential(headers: &HeaderMap) -> Option<&str> {
    let offered =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut names = offered.flat_map(|text| text.split(',')).map(str::trim);
    names.find_map(|name| name.strip_prefix(BEARER)).or_else(|| {
        let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, credential) = given.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
    })
}

impl Auth {
    /// Who asks with these headers at `now`.
    pub(super) fn of_headers(&self, headers: &HeaderMap, now: u64) -> Result<Principal, HttpProblem> {
        self.of_credential(credential(headers), now)
    }

    /// Who asks with this credential at `now`.
    pub(super) fn of_credential(&self, credential: Option<&str>, now: u64) -> Result<Principal, HttpProblem> {
        let Self::Required(access) = self else { return Ok(Principal::Local) };
        let missing = "send a token or a service key in the header Authorization: Bearer …";
        let credential = credential.ok_or_else(|| HttpProblem::new(401, "credential_missing", missing))?;
        let principal = if ServiceKey::is_one(credential) {
            let key = access.keys.iter().find(|key| key.hash.fits(credential));
            let unknown = || HttpProblem::new(401, "key_unknown", "this service key is not known here");
            Principal::Service(key.ok_or_else(unknown)?.service())
        } else {
            Principal::User(access.verify(credential, now).map_err(|error| access.refused(error))?)
        };
        access.valid(principal)
    }

    /// Who has this key; `None` where it is not configured or was revoked.
    pub(super) fn of_key(&self, hash: &str) -> Option<Principal> {
        let Self::Required(access) = self else { return None };
        let key = access.keys.iter().find(|key| key.hash.to_string() == hash)?;
        access.valid(Principal::Service(key.service())).ok()
    }

    /// Fetches newer keys where a token is signed with an unknown one, so that the next look knows them. Every way in which a token
    /// comes, by header or by packet, needs it before that look.
    pub(super) async fn learn(&self, credential: Option<&str>, now: u64) {
        let Self::Required(Access { issued: Some(issued), .. }) = self else { return };
        let Some(credential) = credential.filter(|text| !ServiceKey::is_one(text)) else { return };
        let wants = |error: TokenError| error.wants_keys();
        if self.of_token(credential, now).is_err_and(wants) {
            issued.ask().await;
        }
    }

    fn of_token(&self, token: &str, now: u64) -> Result<(), TokenError> {
        let Self::Required(access) = self else { return Ok(()) };
        access.verify(token, now).map(|_| ())
    }

    /// Whether the credential of this caller was revoked.
    pub(super) fn is_revoked(&self, principal: &Principal) -> bool {
        matches!(self, Self::Required(access) if access.revoked.covers(principal))
    }

    /// Returns when the credential of this caller is revoked.
    pub(super) async fn revoked(&self, principal: &Principal) {
        match self {
            Self::Open => std::future::pending().await,
            Self::Required(access) => access.revoked.reaches(principal).await,
        }
    }
}

impl Access {
    fn verify(&self, token: &str, now: u64) -> Result<User, TokenError> {
        match (self.verifier.verify(token, now), &self.issued) {
            (Err(error), Some(issued)) if error.wants_keys() => issued.verify(token, now),
            (verified, _) => verified,
        }
    }

    fn refused(&self, error: TokenError) -> HttpProblem {
        if error.wants_keys() && self.issued.as_ref().is_some_and(|issued| !issued.is_loaded()) {
            let detail = "the public keys of the issuer could not be fetched yet; try again";
            return HttpProblem::new(503, "keys_unavailable", detail);
        }
        HttpProblem::new(401, error.code(), error.to_string())
    }

    fn valid(&self, principal: Principal) -> Result<Principal, HttpProblem> {
        if self.revoked.covers(&principal) {
            return Err(HttpProblem::new(
                401,
                "credential_revoked",
                "this credential was revoked; get a new one",
            ));
        }
        Ok(principal)
    }
}

impl Key {
    fn service(&self) -> Service {
        Service { name: self.name.clone(), key: self.hash.clone(), scopes: self.scopes.clone() }
    }
}
