use std::sync::OnceLock;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::balance::{BALANCE_UPDATED, Lookups, balance_events};
use super::rooms::{may_be_sent, rooms};
use super::rule::PushRule;
use chainflume_api::access::{Room, RoomKind};

/// A stored message, as the outbox has it.
#[derive(Clone, Debug)]
pub struct Row {
    seq: u64,
    epoch: String,
    json: String,
    message: Value,
    stored: Option<Instant>,
}

impl Row {
    /// A message with its number and the epoch of the number. One that is no JSON becomes `null`, and reaches no client by room; none is
    /// ever stored.
    pub fn new(seq: u64, epoch: String, json: String) -> Self {
        match serde_json::from_str(&json) {
            Ok(message) => Self { seq, epoch, json, message, stored: None },
            Err(_) => Self { seq, epoch, json: "null".to_owned(), message: Value::Null, stored: None },
        }
    }

    /// The same, of a transaction that began then.
    pub fn stored_at(self, stored: Option<Instant>) -> Self {
        Self { stored, ..self }
    }

    /// The message, parsed.
    pub fn message(&self) -> &Value {
        &self.message
    }
}

/// A message with its rooms: parsed once, and encoded once for each room in which a client listens.
#[derive(Debug)]
pub struct Entry {
    /// Its number.
    pub seq: u64,
    /// The epoch of the number.
    pub epoch: String,
    /// Its type.
    pub message_type: String,
    /// Every room that gets it, each once.
    pub rooms: Vec<Addressed>,
    /// The whole message, JSON.
    pub json: String,
    /// When its transaction began, where that is known.
    pub stored: Option<Instant>,
    id: String,
    state: String,
    /// Whether it is history that is published again: what clients show of it may be older than what they have.
    is_replay: bool,
    /// Names and payloads that rules gave it, JSON.
    events: Vec<(String, String)>,
    /// Packets of Socket.IO, with the type of Engine.IO before them, up to the list of rooms: of the whole message, then of each of the events.
    heads: Vec<OnceLock<String>>,
}

/// A message in a room.
#[derive(Debug)]
pub struct Addressed {
    /// The room.
    pub room: Room,
    /// Index of the entry's event that the message is in this room; `None` for the whole message.
    event: Option<usize>,
    frame: OnceLock<Bytes>,
    /// The frame for clients of a WebSocket that take no compressed messages.
    plain: OnceLock<Bytes>,
    /// The frame for clients of a WebSocket that take compressed messages.
    compressed: OnceLock<Bytes>,
    /// The packet for a client of Socket.IO that is in no other room of the event.
    packet: OnceLock<Bytes>,
}

impl Addressed {
    /// Nothing is encoded yet.
    fn new(room: Room, event: Option<usize>) -> Self {
        let (frame, plain, compressed, packet) =
            (OnceLock::new(), OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { room, event, frame, plain, compressed, packet }
    }
}

/// The JSON that a client gets of a message in a room, without the data, which is JSON already.
#[derive(Serialize)]
struct Frame<'a> {
    room: &'a str,
    event: &'a str,
    position: &'a str,
    id: &'a str,
    state: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replay: bool,
}

/// The second argument of an event of Socket.IO, but for the rooms, which are the client's.
#[derive(Serialize)]
struct Meta<'a> {
    id: &'a str,
    seq: u64,
    position: &'a str,
    state: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replay: bool,
}

/// The event that a message is in rooms of users where no rule of the application names another.
fn built_in(message: &Value) -> Option<(&'static str, String)> {
    let is_activity = message["type"].as_str()?.starts_with("activity.");
    is_activity.then(|| ("activity", message["payload"].to_string()))
}

impl Entry {
    /// Makes the entry of a stored message. Of the rules the first counts in each room.
    pub fn new(row: Row, rules: &[PushRule]) -> Self {
        Self::with_lookups(row, rules, &Lookups::default(), None)
    }

    /// The same, also for the people whose wallets it names, and with balances for the users whose balance the message changed: an event
    /// of those of their rooms that no rule reaches. With `wanted` it is in no other rooms.
    pub fn with_lookups(row: Row, rules: &[PushRule], lookups: &Lookups, wanted: Option<&[Room]>) -> Self {
        let message = row.message;
        let own = rooms(&message, &lookups.owners, wanted);
        let (mut addressed, mut events): (Vec<Addressed>, Vec<(String, String)>) = (Vec::new(), Vec::new());
        let mut add = |room: &Room, event| {
            let is_wanted = wanted.is_none_or(|rooms| rooms.contains(room));
            if is_wanted && !addressed.iter().any(|there| there.room == *room) {
                addressed.push(Addressed::new(room.clone(), event));
            }
        };
        for rule in rules.iter().filter(|rule| rule.matches(&message)) {
            let named = rule.rooms.iter().flat_map(|template| template.rooms(&message, &lookups.owners));
            let named: Vec<Room> = named.filter(|room| may_be_sent(&message, room)).collect();
            let reached = if rule.rooms.is_empty() { &own } else { &named };
            reached.iter().for_each(|room| add(room, Some(events.len())));
            events.push((rule.emit.as_str().to_owned(), rule.data(&message).to_string()));
        }
        if let Some((name, data)) = built_in(&message) {
            let users = own.iter().filter(|room| matches!(room.kind(), RoomKind::User(_)));
            users.for_each(|room| add(room, Some(events.len())));
            events.push((name.to_owned(), data));
        }
        for (user, data) in balance_events(&message, lookups) {
            if let Some(room) = own.iter().find(|room| room.kind() == RoomKind::User(&user)) {
                add(room, Some(events.len()));
                events.push((BALANCE_UPDATED.to_owned(), data.to_string()));
            }
        }
        own.iter().for_each(|room| add(room, None));
        let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
        let (id, state, message_type) = (text("id"), text("state"), text("type"));
        Self {
            seq: row.seq,
            epoch: row.epoch,
            message_type,
            rooms: addressed,
            json: row.json,
            stored: row.stored,
            id,
            state,
            is_replay: message["replay"] == true,
            heads: vec![OnceLock::new(); events.len() + 1],
            events,
        }
    }

    /// `<epoch>.<seq>`
    pub fn position(&self) -> String {
        format!("{}.{}", self.epoch, self.seq)
    }

    /// Name of the event in the room at `index` of [`Self::rooms`].
    pub fn event(&self, index: usize) -> &str {
        let event =
            self.rooms.get(index).and_then(|there| there.event).and_then(|event| self.events.get(event));
        event.map_or("message", |(name, _)| name)
    }

    /// What a client gets in the room at `index`, JSON: made once, and shared.
    pub fn frame(&self, index: usize) -> Bytes {
        let Some(there) = self.rooms.get(index) else { return Bytes::new() };
        there.frame.get_or_init(|| self.encode(there, self.event(index))).clone()
    }

    /// What a client of a WebSocket gets in the room at `index` that takes no compressed messages: `encode` makes it of JSON once for
    /// all such clients.
    pub fn plain_frame(&self, index: usize, encode: impl FnOnce(&[u8]) -> Bytes) -> Bytes {
        self.encoded_once(index, |there| &there.plain, encode)
    }

    /// As [`Self::plain_frame`], for clients that take compressed messages.
    pub fn compressed_frame(&self, index: usize, encode: impl FnOnce(&[u8]) -> Bytes) -> Bytes {
        self.encoded_once(index, |there| &there.compressed, encode)
    }

    fn encoded_once(
        &self,
        index: usize,
        kept: fn(&Addressed) -> &OnceLock<Bytes>,
        encode: impl FnOnce(&[u8]) -> Bytes,
    ) -> Bytes {
        let Some(there) = self.rooms.get(index) else { return Bytes::new() };
        // The JSON alone is kept only where a client gets it as it is.
        let json = || there.frame.get().cloned().unwrap_or_else(|| self.encode(there, self.event(index)));
        kept(there).get_or_init(|| encode(&json())).clone()
    }

    /// Whether it has one event in some rooms and another in others.
    pub fn has_several_events(&self) -> bool {
        let mut events = self.rooms.iter().map(|there| there.event);
        let first = events.next();
        events.any(|event| Some(event) != first)
    }

    /// What a client of Socket.IO gets that is in the rooms at these indexes of [`Self::rooms`]: each event once, as Socket.IO does with
    /// a client that is in several of the rooms of an event. Each names those rooms. Encoded once, and where the client is in one room
    /// shared.
    pub fn packets(&self, rooms: &[usize]) -> Vec<Bytes> {
        let mut events: Vec<(Option<usize>, Vec<&Addressed>)> = Vec::new();
        for there in rooms.iter().filter_map(|index| self.rooms.get(*index)) {
            match events.iter_mut().find(|(event, _)| *event == there.event) {
                Some((_, rooms)) => rooms.push(there),
                None => events.push((there.event, vec![there])),
            }
        }
        let packet = |(event, rooms): (Option<usize>, Vec<&Addressed>)| match rooms.as_slice() {
            [one] => one.packet.get_or_init(|| self.packet(event, &rooms)).clone(),
            _ => self.packet(event, &rooms),
        };
        events.into_iter().map(packet).collect()
    }

    fn packet(&self, event: Option<usize>, rooms: &[&Addressed]) -> Bytes {
        let head = self.heads.get(event.map_or(0, |event| event + 1));
        let head = head.map_or("", |head| head.get_or_init(|| self.encode_head(event)));
        let names: Vec<&str> = rooms.iter().map(|there| there.room.as_str()).collect();
        format!("{head}{}}}]", serde_json::to_string(&names).unwrap_or_default()).into()
    }

    /// `42["<event>",<data>,{"id":…,"seq":…,"position":…,"state":…,"rooms":`
    fn encode_head(&self, event: Option<usize>) -> String {
        let event = event.and_then(|event| self.events.get(event));
        let (name, data) = event.map_or(("message", &self.json), |(name, data)| (name, data));
        let (id, seq, position, state) = (&*self.id, self.seq, &*self.position(), &*self.state);
        let meta = Meta { id, seq, position, state, replay: self.is_replay };
        let (name, meta) = (serde_json::to_string(name), serde_json::to_string(&meta));
        let (name, meta) = (name.unwrap_or_default(), meta.unwrap_or_default());
        format!("42[{name},{data},{},\"rooms\":", meta.strip_suffix('}').unwrap_or_default())
    }

    fn encode(&self, there: &Addressed, event: &str) -> Bytes {
        let data = there.event.and_then(|event| self.events.get(event)).map_or(&self.json, |(_, data)| data);
        let (room, position) = (there.room.as_str(), &*self.position());
        let (id, state, replay) = (&*self.id, &*self.state, self.is_replay);
        let head = serde_json::to_string(&Frame { room, event, position, id, state, replay });
        let head = head.unwrap_or_default();
        format!("{},\"data\":{data}}}", head.strip_suffix('}').unwrap_or_default()).into()
    }

    /// The indexes in [`Self::rooms`] of those rooms for which `wanted` holds.
    pub fn rooms_where(&self, wanted: impl Fn(&Room) -> bool) -> Vec<usize> {
        let all = self.rooms.iter().enumerate();
        all.filter(|(_, there)| wanted(&there.room)).map(|(index, _)| index).collect()
    }

    /// Bytes it takes in memory, about: its text, its names, and as much again for frames and packets.
    pub fn bytes(&self) -> usize {
        let events: usize = self.events.iter().map(|(_, data)| data.len()).sum();
        3 * self.json.len() + events + self.rooms.len() * 128
    }
}

#[cfg(test)]
mod tests;
