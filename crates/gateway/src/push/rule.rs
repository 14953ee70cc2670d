use serde_json::{Map, Value};

use super::template::{PayloadTemplate, RoomTemplate, changed};
use chainflume_core::domain::TypePattern;

/// From messages of some types to an event of the application's own vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushRule {
    /// The messages.
    pub on: TypePattern,
    /// Only where one of these fields of the payload changed; empty for always.
    pub changed: Vec<String>,
    /// Name of the event.
    pub emit: EventName,
    /// The rooms; empty for all rooms of the message.
    pub rooms: Vec<RoomTemplate>,
    /// Names and values of the event's payload; empty for the payload of the message.
    pub payload: Vec<(String, PayloadTemplate)>,
}

/// Name of an event: what clients listen for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName(String);

/// Why a text is no name of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a name.
    #[error(
        "is not the name of an event; write at most 64 of letters, digits, `-`, `_`, `.` and `:`, a letter first"
    )]
    Event,
    /// Clients know the name in another meaning.
    #[error("is a name that clients know in another meaning; choose another")]
    Reserved,
}

/// Names that the gateway itself, `EventSource` and Socket.IO use.
const RESERVED: [&str; 10] = [
    "message",
    "gap",
    "expired",
    "revoked",
    "open",
    "error",
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
];

impl EventName {
    /// Reads a name.
    ///
    /// # Errors
    /// [`NameError`]
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if text.len() > 64 || !text.starts_with(|c: char| c.is_ascii_alphabetic()) || !text.bytes().all(fits)
        {
            return Err(NameError::Event);
        }
        if RESERVED.contains(&text) { Err(NameError::Reserved) } else { Ok(Self(text.to_owned())) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PushRule {
    /// Whether the rule has a room for the user of a message: the rooms of the person's other ids get the message too.
    pub fn is_for_persons(&self) -> bool {
        self.rooms.iter().any(RoomTemplate::is_of_person)
    }

    pub(super) fn matches(&self, message: &Value) -> bool {
        if !message["type"].as_str().is_some_and(|name| self.on.names(name)) {
            return false;
        }
        let differs = || {
            let changed = changed(message);
            self.changed.iter().any(|name| changed.contains_key(name))
        };
        self.changed.is_empty() || differs()
    }

    pub(super) fn data(&self, message: &Value) -> Value {
        if self.payload.is_empty() {
            return message["payload"].clone();
        }
        let value = |(name, template): &(String, PayloadTemplate)| (name.clone(), template.value(message));
        Value::Object(self.payload.iter().map(value).collect::<Map<_, _>>())
    }
}
