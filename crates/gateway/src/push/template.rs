use std::collections::BTreeMap;

use serde_json::{Map, Value};

use chainflume_api::access::{Room, is_public_kind};
use chainflume_core::domain::{Template, TemplateError, TemplatePart};

/// The template of a value in a payload: `{payload.amount}`, `{user.id}`, `{changed}`. A template that is one place alone gives the JSON value; all
/// others give text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadTemplate(Template<MessagePlace>);

/// Where a value is in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum MessagePlace {
    /// `user.id`: the user that the message is about.
    User,
    /// `changed`: the fields that differ from those before, as an object.
    Changed,
    /// `payload.a.b`, `previous.a`, `metadata.a`, `type`, or a bare name: a field of the payload, else of the message.
    Field(Vec<String>),
}

/// Why a text is no template of a room's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomTemplateError {
    /// No template at all.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A room whose kind is not known at the start.
    #[error(
        "is not a room: begin with a kind and a dash, like event-{{payload.eventId}}; `all` is no room of a rule"
    )]
    Room,
}

impl PayloadTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`]
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        Template::parse(text, MessagePlace::read).map(Self)
    }

    /// The value for this message; null where a place has none.
    pub(super) fn value(&self, message: &Value) -> Value {
        if let [TemplatePart::Place(place)] = self.0.parts() {
            return place.value(message);
        }
        // A place that has nothing for a text is empty.
        let shown = |place: &MessagePlace| Some(place.value(message)).filter(|value| !is_no_text(value));
        self.0.text(|place| shown(place).or_else(|| Some("".into()))).unwrap_or_default().into()
    }
}

fn is_no_text(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Array(_) | Value::Object(_))
}

/// The template of a room's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomTemplate(Template<MessagePlace>);

impl RoomTemplate {
    /// Reads a template that begins with a kind and a dash, so that no message chooses the kind.
    ///
    /// # Errors
    /// [`RoomTemplateError`]
    pub fn parse(text: &str) -> Result<Self, RoomTemplateError> {
        let template = Self(Template::parse(text, MessagePlace::read)?);
        let kind = template.kind();
        // Any id will do for the look at the kind.
        if Room::parse(&format!("{kind}-1")).is_err() && !matches!(kind, "address" | "contract") {
            return Err(RoomTemplateError::Room);
        }
        Ok(template)
    }

    /// The word before the dash, which is the same for all messages; empty where there is none.
    pub(super) fn kind(&self) -> &str {
        let Some(TemplatePart::Text(first)) = self.0.parts().first() else { return "" };
        first.split_once('-').map_or("", |(kind, _)| kind)
    }

    /// Whether only facts of a chain reach the room.
    pub fn is_public(&self) -> bool {
        is_public_kind(self.kind())
    }

    /// Whether the id is the user's, under which the outbox finds the message.
    pub(super) fn is_named(&self) -> bool {
        let parts = self.0.parts();
        matches!(parts, [TemplatePart::Text(text), TemplatePart::Place(MessagePlace::User)] if text.ends_with('-'))
    }

    /// Whether it is `user-{user.id}`: the rooms of a person, by all ids of the person.
    pub(super) fn is_of_person(&self) -> bool {
        self.kind() == "user" && self.is_named()
    }

    /// The rooms for this message; none where a place is empty or what it gives is no name. `owners` has the other ids of the user.
    pub(super) fn rooms(&self, message: &Value, owners: &BTreeMap<String, Vec<String>>) -> Vec<Room> {
        let name = self.0.text(|place| Some(place.value(message)));
        let user = message["metadata"]["userId"].as_str().filter(|_| self.is_of_person());
        let others = user.and_then(|id| owners.get(id)).into_iter().flatten().map(|id| format!("user-{id}"));
        name.into_iter().chain(others).filter_map(|name| Room::parse(&name).ok()).collect()
    }
}

impl MessagePlace {
    fn read(names: Vec<String>) -> Result<Self, &'static str> {
        match (names[0].as_str(), names.get(1).map(String::as_str), names.len()) {
            ("user", Some("id"), 2) => Ok(Self::User),
            ("user", _, 2..) => Err("of the user there is {user.id}"),
            ("changed", None, 1) => Ok(Self::Changed),
            _ => Ok(Self::Field(names)),
        }
    }

    fn value(&self, message: &Value) -> Value {
        match self {
            Self::User => message["metadata"]["userId"].clone(),
            Self::Changed => Value::Object(changed(message)),
            Self::Field(names) => {
                let (first, rest) =
                    names.split_first().map_or(("", names.as_slice()), |(f, r)| (f.as_str(), r));
                let payload = &message["payload"];
                let root = match first {
                    "payload" | "metadata" => &message[first],
                    "previous" => &payload["previous"],
                    name => payload.get(name).unwrap_or(&message[name]),
                };
                rest.iter().fold(root, |value, name| &value[name.as_str()]).clone()
            }
        }
    }
}

/// The fields of the payload that differ from those before; none where the message has no fields before.
pub(super) fn changed(message: &Value) -> Map<String, Value> {
    let payload = &message["payload"];
    let (Some(now), Some(before)) = (payload.as_object(), payload["previous"].as_object()) else {
        return Map::new();
    };
    let differs = |(name, value): &(&String, &Value)| *name != "previous" && before.get(*name) != Some(value);
    now.iter().filter(differs).map(|(name, value)| (name.clone(), value.clone())).collect()
}
