//! Keys under which a message is found besides its number: the addresses and the user that it names. These are the ids in the names of
//! push rooms, so a client that returns to `user-<id>` or `address-<id>` reads only the messages of its room.

use serde_json::{Map, Value};

/// Maximum number of addresses that become keys of one message. An event has a few.
const MAX_ADDRESSES: usize = 16;

/// The addresses that a message names: its subject, and every address at the top level of its payload; each once.
pub fn addresses<'a>(aggregate: Option<&'a str>, payload: Option<&'a Map<String, Value>>) -> Vec<&'a str> {
    let arguments = payload.into_iter().flat_map(Map::values).filter_map(Value::as_str);
    let mut found: Vec<&str> = Vec::new();
    for text in aggregate.into_iter().chain(arguments) {
        if text.len() == 42 && text.starts_with("0x") && !found.contains(&text) {
            found.push(text);
        }
        if found.len() == MAX_ADDRESSES {
            break;
        }
    }
    found
}

/// The key for messages that name this id: FNV-1a of 64 bits (draft-eastlake-fnv). It is stored, so it must never change. Two ids may
/// share a key; readers of messages compare the ids.
pub fn room_key(id: &str) -> i64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    id.bytes().fold(0xcbf2_9ce4_8422_2325, step).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_standard() {
        // Appendix of the draft.
        for (text, hash) in
            [("", 0xcbf2_9ce4_8422_2325_u64), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(room_key(text), hash.cast_signed(), "{text}");
        }
    }

    #[test]
    fn a_message_names_each_of_its_addresses_once() {
        let (a, b) = (format!("0x{}", "a".repeat(40)), format!("0x{}", "b".repeat(40)));
        let payload = serde_json::json!({ "from": a, "to": b, "value": "7", "again": a, "deep": { "x": b } });
        assert_eq!(addresses(Some(&b), payload.as_object()), [b.as_str(), a.as_str()]);
        assert!(addresses(Some("7"), None).is_empty());
        let many = (0..40).map(|i| (format!("k{i:02}"), format!("0x{i:040}").into())).collect();
        assert_eq!(addresses(None, Some(&many)).len(), MAX_ADDRESSES);
    }
}
