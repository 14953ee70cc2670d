use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::rule::PushRule;
use super::template::RoomTemplate;
use chainflume_api::access::{Room, RoomKind, is_public_kind};
use chainflume_outbox::{addresses, room_key};

/// The rooms of a message: `all`, its type, its chain, its contract, its users, and every address that it names at the top of its
/// payload. A user is known by id, and by the wallet: an address's messages go to `user-<wallet>` too, where the wallet itself is
/// the user's id, and to the rooms of the person whose wallet it is. A person with several ids of the application has a room by each.
///
/// A fact that is not on a chain may be private. Such a message is in `all`, in the room of its user and in that of its aggregate,
/// none of which is public, whatever its payload names.
///
/// Only those of `wanted`, where that is given.
pub(super) fn rooms(
    message: &Value,
    owners: &BTreeMap<String, Vec<String>>,
    wanted: Option<&[Room]>,
) -> Vec<Room> {
    let names = if is_off_chain(message) { off_chain(message, owners) } else { on_chain(message, owners) };
    let room = |(kind, id): (&str, Cow<'_, str>)| match wanted {
        Some(rooms) => rooms.iter().find(|room| room.is(kind, &id)).cloned(),
        // A type of 255 bytes has no room of its own; all others are names.
        None => Room::parse(&format!("{kind}-{id}")).ok(),
    };
    let all = wanted.map_or_else(
        || Some(Room::all()),
        |rooms| rooms.iter().find(|room| room.kind() == RoomKind::All).cloned(),
    );
    all.into_iter().chain(names.into_iter().filter_map(room)).collect()
}

/// The kind and the id of a room.
type RoomName<'a> = (&'a str, Cow<'a, str>);

fn on_chain<'a>(message: &'a Value, owners: &'a BTreeMap<String, Vec<String>>) -> Vec<RoomName<'a>> {
    let metadata = &message["metadata"];
    let mut names: Vec<RoomName<'a>> = Vec::new();
    names.extend(message["type"].as_str().map(|name| ("type", name.into())));
    names.extend(metadata["chainId"].as_u64().map(|id| ("chain", id.to_string().into())));
    let users = ["userId", "counterpartyUserId"].into_iter().filter_map(|key| metadata[key].as_str());
    names.extend(users.map(|id| ("user", id.into())));
    let aggregate = message["aggregateId"].as_str();
    if message["aggregateType"] != "user" {
        names.extend(aggregate.map(|address| ("contract", address.into())));
    }
    let named = addresses(aggregate, message["payload"].as_object());
    names.extend(
        named.iter().flat_map(|address| [("address", (*address).into()), ("user", (*address).into())]),
    );
    let people = named.iter().filter_map(|address| owners.get(*address)).flatten();
    names.extend(people.map(|id| ("user", id.into())));
    names
}

/// Whether the message is no fact of a chain, and may be private.
pub fn is_off_chain(message: &Value) -> bool {
    message["metadata"]["chainId"].is_null()
}

/// Whether a rule may send the message to this room: what may be private goes to no room that is public.
pub(super) fn may_be_sent(message: &Value, room: &Room) -> bool {
    !(is_off_chain(message) && matches!(room.kind(), RoomKind::Public(_)))
}

fn off_chain<'a>(message: &'a Value, owners: &'a BTreeMap<String, Vec<String>>) -> Vec<RoomName<'a>> {
    let user = message["metadata"]["userId"].as_str();
    let others = user.and_then(|id| owners.get(id)).into_iter().flatten().map(String::as_str);
    let users = user.into_iter().chain(others).map(|id| ("user", id.into()));
    let kind = message["aggregateType"].as_str().filter(|kind| !is_of_chain(kind));
    let aggregate = kind.zip(message["aggregateId"].as_str()).map(|(kind, id)| (kind, id.into()));
    users.chain(aggregate).collect()
}

/// Whether rooms of this kind are about users or facts of the chain. The application cannot name such an aggregate; were one stored
/// all the same, it would reach no client by that name.
fn is_of_chain(kind: &str) -> bool {
    kind == "user" || is_public_kind(kind)
}

/// The keys under which the outbox finds every message of these rooms ([`room_key`]); `None` where a room has messages that the outbox
/// does not know under its id: rooms of chains and types, `all`, and those that a rule fills from other places.
pub fn keys(rooms: &[Room], rules: &[PushRule]) -> Option<Vec<i64>> {
    let key = |room: &Room| {
        let (kind, id) = room.as_str().split_once('-')?;
        // All others are aggregates of the application, which the outbox knows by their ids.
        let is_named = !matches!(kind, "chain" | "type");
        let fills = |template: &RoomTemplate| template.kind() == kind && !template.is_named();
        let is_filled = rules.iter().flat_map(|rule| &rule.rooms).any(fills);
        (is_named && !is_filled).then(|| room_key(id))
    };
    rooms.iter().map(key).collect()
}
