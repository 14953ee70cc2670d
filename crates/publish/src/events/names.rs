use chainflume_api::access::Room;
use chainflume_api::routes::Refusal;
use chainflume_core::domain::is_chain_type;

/// Maximum length of an event type in bytes: it is part of the room `type-<type>` and of log lines.
const MAX_TYPE_BYTES: usize = 200;
/// Maximum length of an aggregate type in bytes.
const MAX_AGGREGATE_TYPE_BYTES: usize = 64;
/// Maximum number of characters of an id in the metadata.
const MAX_ID_CHARS: usize = 255;

/// Prefixes of types that only this program publishes, besides those about a chain ([`is_chain_type`]).
const OWN_PREFIXES: [&str; 3] = ["activity.", "inbound.", "notification."];
/// Aggregate types that have another meaning in the names of rooms and streams.
const RESERVED_AGGREGATES: [&str; 11] = [
    "all",
    "user",
    "type",
    "chain",
    "address",
    "contract",
    "token",
    "nft",
    "activity",
    "inbound",
    "notification",
];

/// Checks a type of events.
///
/// # Errors
/// What is wrong with it, or that only this program publishes it.
pub fn event_type(name: &str) -> Result<(), Refusal> {
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_alphabetic())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    if name.len() > MAX_TYPE_BYTES || !name.contains('.') || !name.split('.').all(is_word) {
        let detail = format!(
            "a type is two words or more with points between them, like order.shipped: letters, digits, `_` and `-`, a letter \
             first, {MAX_TYPE_BYTES} bytes at most"
        );
        return Err(Refusal::new(400, "bad_event_type", detail));
    }
    let lower = name.to_ascii_lowercase();
    if is_chain_type(&lower) || OWN_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
        let detail =
            format!("events of the type {name} come from Chainflume alone; choose another first word");
        return Err(Refusal::new(400, "reserved_type", detail));
    }
    Ok(())
}

/// Checks the subject of an event: its type and id name a room and a stream.
///
/// # Errors
/// What is wrong with them, or that they have another meaning.
pub fn aggregate(kind: &str, id: &str) -> Result<(), Refusal> {
    if RESERVED_AGGREGATES.contains(&kind) {
        let detail =
            format!("the aggregate type {kind} has another meaning here; choose another, like order");
        return Err(Refusal::new(400, "reserved_aggregate", detail).at("/aggregateType"));
    }
    if kind.len() > MAX_AGGREGATE_TYPE_BYTES
        || kind.contains('-')
        || Room::parse(&format!("{kind}-1")).is_err()
    {
        let detail = format!(
            "an aggregate type is a word of small letters, digits and `_`, a letter first, {MAX_AGGREGATE_TYPE_BYTES} bytes at most"
        );
        return Err(Refusal::new(400, "bad_aggregate", detail).at("/aggregateType"));
    }
    Room::parse(&format!("{kind}-{id}")).map(|_| ()).map_err(|error| {
        let detail = format!("<aggregateType>-<aggregateId> names a room: {error}");
        Refusal::new(400, "bad_aggregate", detail).at("/aggregateId")
    })
}

/// Checks an id of a user: it names a room.
///
/// # Errors
/// What is wrong with it.
pub fn user_id(id: &str) -> Result<(), Refusal> {
    Room::parse(&format!("user-{id}"))
        .map(|_| ())
        .map_err(|error| Refusal::new(400, "bad_user_id", format!("user-<id> names a room: {error}")))
}

/// Whether this text is not allowed as an id or a name in the metadata.
pub(super) fn bad_name(text: &str) -> bool {
    text.is_empty() || text.chars().count() > MAX_ID_CHARS || text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use chainflume_core::domain::{CHAIN_TYPE_PREFIXES, CHAIN_TYPES};

    use super::*;

    fn code(checked: Result<(), Refusal>) -> Option<&'static str> {
        checked.err().map(|refusal| refusal.code)
    }

    #[test]
    fn types_of_events_are_words_with_points_that_are_not_ours() {
        for name in [
            "user.registered",
            "transaction.completed",
            "a.b.c-d_e",
            "account.balance.low",
            "alert.triggered",
        ] {
            assert_eq!(code(event_type(name)), None, "{name}");
        }
        let long = format!("a.{}", "b".repeat(200));
        for name in ["", "user", ".a", "a.", "a..b", "1.a", "a.b c", "a.b\u{e4}", "a.b\n", "a.*", &long] {
            assert_eq!(code(event_type(name)), Some("bad_event_type"), "{name:?}");
        }
        for name in [
            "stake.staked",
            "erc20.transfer",
            "ERC721.x",
            "erc1155.a.b",
            "contract.Ping",
            "user.activated",
            "user.Updated",
        ]
        .into_iter()
        .chain(["activity.created", "entity.a.b", "inbound.unconfirmed", "notification.sent"])
        {
            assert_eq!(code(event_type(name)), Some("reserved_type"), "{name}");
        }
    }

    #[test]
    fn the_manual_names_each_type_that_is_refused() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/APPLICATION.md");
        let manual = std::fs::read_to_string(path).expect("the manual is there");
        let prefixes = CHAIN_TYPE_PREFIXES.iter().chain(&OWN_PREFIXES).map(|prefix| format!("`{prefix}*`"));
        let types = CHAIN_TYPES.iter().map(|name| format!("`{name}`"));
        for name in prefixes.chain(types) {
            assert!(manual.contains(&name), "docs/APPLICATION.md has no {name}");
        }
    }

    #[test]
    fn aggregates_name_rooms_that_are_not_ours() {
        for (kind, id) in [("order", "7"), ("order_line", "a/b:c-d"), ("account", "0xAB")] {
            assert_eq!(code(aggregate(kind, id)), None, "{kind} {id}");
        }
        for kind in RESERVED_AGGREGATES {
            assert_eq!(code(aggregate(kind, "7")), Some("reserved_aggregate"), "{kind}");
        }
        let long = "a".repeat(256);
        for (kind, id) in [
            ("", "7"),
            ("Order", "7"),
            ("a-b", "7"),
            ("order", ""),
            ("order", "a b"),
            ("order", &long),
            (&long, "7"),
        ] {
            assert_eq!(code(aggregate(kind, id)), Some("bad_aggregate"), "{kind:?} {id:?}");
        }
        assert_eq!(code(user_id("auth0|7")), None);
        assert_eq!(code(user_id("a b")), Some("bad_user_id"));
    }
}
