use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::principal::Principal;
use super::room::is_address;

/// Credentials that are invalid from a moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// Every token of this user (`sub`) issued up to that moment.
    Subject(String),
    /// The token with this `jti`.
    Token(String),
    /// The service key with this hash, `sha256:…`.
    Key(String),
}

impl Revocation {
    /// Reads the values of [`Self::kind`] and [`Self::name`].
    pub fn of(kind: &str, name: String) -> Option<Self> {
        match kind {
            "sub" => Some(Self::Subject(name)),
            "jti" => Some(Self::Token(name)),
            "key" => Some(Self::Key(name)),
            _ => None,
        }
    }

    /// `sub`, `jti` or `key`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Subject(_) => "sub",
            Self::Token(_) => "jti",
            Self::Key(_) => "key",
        }
    }

    /// The user, token or key.
    pub fn name(&self) -> &str {
        match self {
            Self::Subject(name) | Self::Token(name) | Self::Key(name) => name,
        }
    }
}

/// All revocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// By [`canonical`] id.
    subjects: HashMap<String, u64>,
    tokens: HashSet<String>,
    keys: HashSet<String>,
}

impl Revocations {
    /// Adds one revocation; `at` is the moment, in seconds since 1970.
    pub fn add(&mut self, revocation: Revocation, at: u64) {
        match revocation {
            Revocation::Subject(name) => {
                let known = self.subjects.entry(canonical(&name)).or_insert(at);
                *known = at.max(*known);
            }
            Revocation::Token(name) => {
                self.tokens.insert(name);
            }
            Revocation::Key(name) => {
                self.keys.insert(name);
            }
        }
    }

    /// Whether the credential of this caller is revoked. A token without the time of its issue (`iat`) counts as issued
    /// before.
    pub fn covers(&self, principal: &Principal) -> bool {
        match principal {
            Principal::Local => false,
            Principal::Service(service) => self.keys.contains(&service.key.to_string()),
            Principal::User(user) => {
                let at = self.subjects.get(&canonical(&user.id));
                at.is_some_and(|at| user.issued_at.is_none_or(|issued| issued <= *at))
                    || user.token_id.as_ref().is_some_and(|id| self.tokens.contains(id))
            }
        }
    }
}

/// An id as it is compared: a wallet, and the id of its record, are the same however they are written. A token reads what is of the
/// person by every way to write a UUID that the `uuid` crate reads, so a revocation holds for every one.
fn canonical(id: &str) -> String {
    let small = id.to_ascii_lowercase();
    if id.starts_with("0x") && is_address(&small) {
        return small;
    }
    Uuid::try_parse(id).map_or_else(|_| id.to_owned(), |record| record.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{KeyHash, Scopes, Service, User};

    fn user(issued_at: Option<u64>, token_id: Option<&str>) -> Principal {
        let user = User::from_claims(r#"{"sub":"7","exp":900}"#).expect("claims");
        Principal::User(User { issued_at, token_id: token_id.map(str::to_owned), ..user })
    }

    #[test]
    fn a_user_is_revoked_up_to_a_moment_and_a_token_by_its_id() {
        let mut all = Revocations::default();
        all.add(Revocation::Subject("7".to_owned()), 100);
        all.add(Revocation::Subject("7".to_owned()), 50);
        assert!(all.covers(&user(Some(100), None)) && all.covers(&user(None, None)));
        assert!(!all.covers(&user(Some(101), None)));
        all.add(Revocation::Token("t".to_owned()), 1);
        assert!(all.covers(&user(Some(101), Some("t"))) && !all.covers(&user(Some(101), Some("T"))));
        let mut other = Revocations::default();
        other.add(Revocation::Subject("8".to_owned()), 100);
        other.add(Revocation::Token("7".to_owned()), 100);
        assert!(!other.covers(&user(Some(1), None)) && !other.covers(&Principal::Local));
    }

    #[test]
    fn a_wallet_and_its_record_are_revoked_however_they_are_written() {
        let mut all = Revocations::default();
        let (wallet, record) = (format!("0x{}", "ab".repeat(20)), "00000000-0000-4000-8000-0000000000ab");
        for name in [&*wallet, record, "ab"] {
            all.add(Revocation::Subject(name.to_owned()), 100);
        }
        let covers = |id: &str| {
            let Principal::User(known) = user(Some(100), None) else { return false };
            all.covers(&Principal::User(User { id: id.to_owned(), ..known }))
        };
        assert!(
            covers(&wallet) && covers(&format!("0x{}", "aB".repeat(20))) && covers(&record.to_uppercase())
        );
        let simple = record.replace('-', "");
        assert!(covers(&simple) && covers(&format!("{{{record}}}")) && covers(&format!("urn:uuid:{record}")));
        // An id of the application is compared whole.
        assert!(covers("ab") && !covers("AB") && !covers(&format!("0x{}", "ab".repeat(19))));
    }

    #[test]
    fn a_service_key_is_revoked_by_its_hash() {
        let hash = format!("sha256:{}", "0a".repeat(32));
        let key = KeyHash::parse(&hash).expect("a hash");
        let service = Principal::Service(Service { name: "7".to_owned(), key, scopes: Scopes::default() });
        let mut all = Revocations::default();
        all.add(Revocation::Subject("7".to_owned()), 100);
        assert!(!all.covers(&service));
        let read = Revocation::of("key", hash.clone()).expect("a kind");
        assert_eq!((read.kind(), read.name(), Revocation::of("x", hash)), ("key", read.name(), None));
        all.add(read.clone(), 100);
        assert!(all.covers(&service));
    }
}
