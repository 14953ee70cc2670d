use super::room::{Room, RoomKind, RoomPattern, is_address};
use super::service_key::{KeyHash, Scope, Scopes};

/// The caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Any caller of a server without access control, which listens only on the loopback. May do everything.
    Local,
    /// An end user with a token.
    User(User),
    /// A service with a key.
    Service(Service),
}

/// An end user, as the token describes the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The claim `sub`: the user's id or wallet.
    pub id: String,
    /// The claim `role`, `user` by default.
    pub role: String,
    /// The claim `scope`.
    pub scopes: Scopes,
    /// The claim `rooms`.
    pub rooms: Vec<RoomPattern>,
    /// The claim `exp`: the token is invalid from this second since 1970 on.
    pub expires_at: u64,
    /// The claim `iat`.
    pub issued_at: Option<u64>,
    /// The claim `jti`.
    pub token_id: Option<String>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The configured name.
    pub name: String,
    /// Hash of its key.
    pub key: KeyHash,
    /// The configured scopes.
    pub scopes: Scopes,
}

/// The kinds of public rooms, about facts of the chain: `address`, `contract`, `chain` and `type`. Every caller with a
/// valid credential may join them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicRooms(pub Vec<String>);

impl Principal {
    /// Whether the caller may join `room` now. The answer does not depend on whether the room ever had a message.
    pub fn may_join(&self, room: &Room, public: &PublicRooms) -> bool {
        let (scopes, patterns) = match self {
            Self::Local => return true,
            Self::User(user) => (&user.scopes, user.rooms.as_slice()),
            Self::Service(service) => (&service.scopes, [].as_slice()),
        };
        // For a user, the scope `read` opens no room of another user. For a service it does: services are backends.
        let is_reader = matches!(self, Self::Service(_)) && scopes.has(Scope::Read);
        let is_listed = patterns.iter().any(|pattern| pattern.opens(room));
        match room.kind() {
            RoomKind::All => scopes.has(Scope::Admin),
            RoomKind::User(id) => self.may_read_user(id),
            RoomKind::Public(kind) => is_reader || is_listed || public.0.iter().any(|public| public == kind),
            RoomKind::Other => is_reader || is_listed,
        }
    }

    /// Whether the caller has this scope.
    pub fn has(&self, scope: Scope) -> bool {
        match self {
            Self::Local => true,
            Self::User(user) => user.scopes.has(scope),
            Self::Service(service) => service.scopes.has(scope),
        }
    }

    /// Whether the caller may read what is about the user with this id: the user, or a service that reads.
    pub fn may_read_user(&self, id: &str) -> bool {
        match self {
            Self::Local => true,
            Self::User(user) => is_same_user(&user.id, id),
            Self::Service(service) => service.scopes.has(Scope::Read),
        }
    }

    /// Whether the caller may read the messages of every room, in requests without rooms.
    pub fn may_read_all(&self) -> bool {
        match self {
            Self::Local => true,
            Self::User(user) => user.scopes.has(Scope::Admin),
            Self::Service(service) => service.scopes.has(Scope::Admin),
        }
    }

    /// Identifies the caller in tables and counts: one name per user or key; one name for all callers of an open
    /// server.
    pub fn owner(&self) -> String {
        match self {
            Self::Local => "local".to_owned(),
            Self::User(user) => format!("user:{}", user.id),
            Self::Service(service) => format!("service:{}", service.key),
        }
    }

    /// The second since 1970 from which on the credential is invalid; `None` if it does not expire.
    pub fn expires_at(&self) -> Option<u64> {
        match self {
            Self::User(user) => Some(user.expires_at),
            Self::Local | Self::Service(_) => None,
        }
    }
}

/// Whether the subject of a token is this user. Some issuers write a wallet in mixed case (EIP-55), and names of rooms are lower-case.
fn is_same_user(subject: &str, id: &str) -> bool {
    subject == id || (subject.starts_with("0x") && is_address(id) && subject.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn user(id: &str, scope: &str, rooms: &[&str]) -> Principal {
        Principal::User(User {
            id: id.to_owned(),
            role: "user".to_owned(),
            scopes: Scopes::of_token(scope),
            rooms: rooms.iter().filter_map(|text| RoomPattern::parse(text)).collect(),
            expires_at: 0,
            issued_at: None,
            token_id: None,
        })
    }

    fn service(scopes: &[Scope]) -> Principal {
        let key = KeyHash::parse(&format!("sha256:{}", "0a".repeat(32))).expect("a hash");
        Principal::Service(Service {
            name: "backend".to_owned(),
            key,
            scopes: scopes.iter().copied().collect(),
        })
    }

    fn joins(principal: &Principal, room: &str, public: &[&str]) -> bool {
        let public = PublicRooms(public.iter().map(|kind| (*kind).to_owned()).collect());
        principal.may_join(&Room::parse(room).expect("a room"), &public)
    }

    #[test]
    fn users_join_their_own_room_and_read_services_every_users() {
        let seven = user("7", "", &[]);
        assert!(joins(&seven, "user-7", &[]));
        for foreign in ["user-70", "user-", "user-07", "user-7-1"] {
            assert!(Room::parse(foreign).is_err() || !joins(&seven, foreign, &[]), "{foreign}");
        }
        // Neither a claim nor a scope of a token opens the room of another user.
        assert!(!joins(&user("7", "read admin", &["user-*", "user-8"]), "user-8", &["user"]));
        assert!(joins(&service(&[Scope::Read]), "user-8", &[]));
        assert!(!joins(&service(&[Scope::Publish, Scope::Admin]), "user-8", &[]));
    }

    #[test]
    fn a_wallet_is_the_same_user_in_mixed_case_and_nothing_else_is() {
        let wallet = "0x00000000000000000000000000000000000000aa";
        let room = format!("user-{wallet}");
        for subject in [wallet, "0x00000000000000000000000000000000000000Aa"] {
            assert!(joins(&user(subject, "", &[]), &room, &[]), "{subject}");
        }
        // A revocation of the wallet does not reach the first.
        for other in
            ["0X00000000000000000000000000000000000000aa", "0x00000000000000000000000000000000000000ab"]
        {
            assert!(!joins(&user(other, "", &[]), &room, &[]), "{other}");
        }
        assert!(!joins(&user("Ab", "", &[]), "user-ab", &[]));
    }

    #[test]
    fn chain_rooms_are_public_where_configured_and_else_by_claim() {
        let seven = user("7", "", &["chain-5"]);
        assert!(joins(&seven, "type-erc20.mint", &["type"]) && !joins(&seven, "type-erc20.mint", &["chain"]));
        assert!(joins(&seven, "chain-5", &[]) && !joins(&seven, "chain-50", &[]));
        assert!(joins(&service(&[Scope::Read]), "chain-50", &[]) && !joins(&service(&[]), "chain-50", &[]));
    }

    #[test]
    fn all_needs_admin_and_other_rooms_a_claim_or_read_service() {
        assert!(joins(&user("7", "admin", &[]), "all", &[]) && joins(&service(&[Scope::Admin]), "all", &[]));
        assert!(
            !joins(&user("7", "read", &["all"]), "all", &["all"])
                && !joins(&service(&[Scope::Read]), "all", &[])
        );
        assert!(joins(&user("7", "", &["order-*"]), "order-1", &[]));
        assert!(!joins(&user("7", "admin", &["order-*"]), "orders-1", &["orders"]));
        assert!(
            joins(&service(&[Scope::Read]), "order-1", &[])
                && !joins(&service(&[Scope::Admin]), "order-1", &[])
        );
        assert!(joins(&Principal::Local, "all", &[]));
    }

    proptest! {
        #[test]
        fn no_claim_opens_a_room_of_another_user_or_all(
            id in "[a-z0-9]{1,4}", other in "[a-z0-9-]{1,6}", claims in proptest::collection::vec("[a-z]{1,4}-[a-z0-9]{0,2}\\*?|all|user-.*", 0..6),
        ) {
            let claims: Vec<&str> = claims.iter().map(String::as_str).collect();
            let user = user(&id, "read publish notify", &claims);
            prop_assert_eq!(joins(&user, &format!("user-{other}"), &["user", "all"]), id == other);
            prop_assert!(!joins(&user, "all", &["user", "all"]));
        }
    }
}
