use serde_json::Value;

use super::rule::Rule;
use super::template::RoomTemplate;
use chainflume_access::Room;
use chainflume_outbox::{addresses, room_key};

/// The rooms of a message: `all`, its type, its chain, its contract, its users, and every address that it names at the top of its
/// payload. A user is known by id, and by the wallet: an address's messages go to `user-<wallet>` too, where the wallet itself is
/// the user's id.
pub(super) fn rooms(message: &Value) -> Vec<Room> {
    let metadata = &message["metadata"];
    let mut names = vec!["all".to_owned()];
    names.extend(message["type"].as_str().map(|name| format!("type-{name}")));
    names.extend(metadata["chainId"].as_u64().map(|id| format!("chain-{id}")));
    let users = ["userId", "counterpartyUserId"].into_iter().filter_map(|key| metadata[key].as_str());
    names.extend(users.map(|id| format!("user-{id}")));
    let aggregate = message["aggregateId"].as_str();
    if message["aggregateType"] != "user" {
        names.extend(aggregate.map(|address| format!("contract-{address}")));
    }
    let named = addresses(aggregate, message["payload"].as_object());
    names.extend(
        named.into_iter().flat_map(|address| [format!("address-{address}"), format!("user-{address}")]),
    );
    // A type of 255 bytes has no room of its own; all others are names.
    names.iter().filter_map(|name| Room::parse(name).ok()).collect()
}

/// The keys under which the outbox finds every message of these rooms ([`room_key`]); `None` where a room has messages that the outbox
/// does not know under its id: rooms of chains and types, `all`, and those that a rule fills from other places.
pub fn keys(rooms: &[Room], rules: &[Rule]) -> Option<Vec<i64>> {
    let key = |room: &Room| {
        let (kind, id) = room.as_str().split_once('-')?;
        let is_named = matches!(kind, "user" | "address" | "contract");
        let fills = |template: &RoomTemplate| template.kind() == kind && !template.is_named();
        let is_filled = rules.iter().flat_map(|rule| &rule.rooms).any(fills);
        (is_named && !is_filled).then(|| room_key(id))
    };
    rooms.iter().map(key).collect()
}
