use serde_json::Value;

use chainflume_access::Room;

/// Addresses of one message that get it in their rooms: an event has a few, and an array in it may have thousands.
const MAX_ADDRESSES: usize = 16;

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
    let arguments = message["payload"].as_object().into_iter().flat_map(|payload| payload.values());
    let mut addresses: Vec<&str> = Vec::new();
    for address in aggregate.into_iter().chain(arguments.filter_map(Value::as_str)) {
        if address.len() == 42 && address.starts_with("0x") && !addresses.contains(&address) {
            addresses.push(address);
        }
        if addresses.len() == MAX_ADDRESSES {
            break;
        }
    }
    names.extend(
        addresses.into_iter().flat_map(|address| [format!("address-{address}"), format!("user-{address}")]),
    );
    // A type of 255 bytes has no room of its own; all others are names.
    names.iter().filter_map(|name| Room::parse(name).ok()).collect()
}
