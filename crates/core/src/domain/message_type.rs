//! Types of messages that only chains cause. An application may not publish them, and a rule of push about them may name public rooms.

/// The prefixes of types of messages about a chain, each with its point. `erc1155` and `entity` are reserved: no message has them yet.
pub const CHAIN_TYPE_PREFIXES: [&str; 6] =
    ["stake.", "erc20.", "erc721.", "erc1155.", "contract.", "entity."];

/// The type of the message about a wallet's first stake.
pub const USER_ACTIVATED: &str = "user.activated";
/// The type of the message about a later change of a stake, and of the message about a person's new ids.
pub const USER_UPDATED: &str = "user.updated";

/// The types of messages about a chain that have the first word of the application's own types.
pub const CHAIN_TYPES: [&str; 2] = [USER_ACTIVATED, USER_UPDATED];

/// Whether a message of this type is about a chain.
pub fn is_chain_type(message_type: &str) -> bool {
    CHAIN_TYPES.contains(&message_type)
        || CHAIN_TYPE_PREFIXES.iter().any(|prefix| message_type.starts_with(prefix))
}

/// Whether a message about a chain can have a type with this prefix, which ends with a point.
pub fn is_chain_prefix(prefix: &str) -> bool {
    CHAIN_TYPES.iter().any(|name| name.starts_with(prefix))
        || CHAIN_TYPE_PREFIXES.iter().any(|begin| begin.starts_with(prefix) || prefix.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{CHAIN_TYPE_PREFIXES, is_chain_prefix, is_chain_type};
    use crate::domain::MESSAGE_SCHEMA;

    #[test]
    fn types_of_the_application_are_not_those_of_a_chain() {
        for name in ["erc721.mint", "contract.Ping", "entity.a.b", "user.activated", "user.updated"] {
            assert!(is_chain_type(name), "{name}");
        }
        for name in
            ["user.registered", "user.updated.twice", "erc2000.a", "order.shipped", "activity.created"]
        {
            assert!(!is_chain_type(name), "{name}");
        }
        for prefix in ["erc20.", "contract.Ping.", "user.", "entity.ticket."] {
            assert!(is_chain_prefix(prefix), "{prefix}");
        }
        for prefix in ["order.", "activity.", "erc2000.", "user.updated."] {
            assert!(!is_chain_prefix(prefix), "{prefix}");
        }
    }

    #[test]
    fn the_schema_refuses_the_same_types_of_the_application() {
        let schema: Value = serde_json::from_str(MESSAGE_SCHEMA).expect("the schema is JSON");
        let pattern = &schema["$defs"]["offChain"]["properties"]["type"]["not"]["pattern"];
        let words: Vec<&str> =
            CHAIN_TYPE_PREFIXES.iter().map(|prefix| prefix.trim_end_matches('.')).collect();
        // Not `user.updated`: a message about a person's new ids has it too.
        assert_eq!(pattern, &format!("^({})\\.|^user\\.activated$", words.join("|")));
    }
}
