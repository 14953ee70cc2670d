use serde_json::{Map, Value};

use chainflume_access::Room;

/// Parts of a template at most: a payload is made of few.
const MAX_PARTS: usize = 32;

/// Text with places to fill in: `{payload.amount}`, `{user.id}`, `{changed}`. A template that is one place alone gives the JSON value;
/// all others give text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Path),
}

/// Where a value is in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Path {
    /// `user.id`: the user that the message is about.
    User,
    /// `changed`: the fields that differ from those before, as an object.
    Changed,
    /// `payload.a.b`, `previous.a`, `metadata.a`, `type`, or a bare name: a field of the payload, else of the message.
    Field(Vec<String>),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace without its other.
    #[error("has a `{{` or `}}` without its other; a place is written {{payload.amount}}")]
    Brace,
    /// Not a path.
    #[error("has `{{{0}}}`, which is no path; write names with points between them, like {{payload.amount}}")]
    Path(String),
    /// `user` has one field.
    #[error("has `{{{0}}}`; of the user there is {{user.id}}")]
    User(String),
    /// Too many.
    #[error("has more than {MAX_PARTS} parts")]
    TooLong,
    /// A room whose kind is not known at the start.
    #[error(
        "is not a room: begin with a kind and a dash, like event-{{payload.eventId}}; `all` is no room of a rule"
    )]
    Room,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`]
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (before, after) = match rest.split_once('{') {
                None => (rest, None),
                Some((before, after)) => (before, Some(after.split_once('}').ok_or(TemplateError::Brace)?)),
            };
            if before.contains('}') {
                return Err(TemplateError::Brace);
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let Some((path, further)) = after else { break };
            parts.push(Part::Place(Path::parse(path)?));
            rest = further;
        }
        if parts.len() > MAX_PARTS { Err(TemplateError::TooLong) } else { Ok(Self(parts)) }
    }

    /// The value for this message; null where a place has none.
    pub(super) fn value(&self, message: &Value) -> Value {
        if let [Part::Place(path)] = self.0.as_slice() {
            return path.value(message);
        }
        self.0.iter().map(|part| part.text(message).unwrap_or_default()).collect::<String>().into()
    }

    /// The text for this message; `None` where a place has nothing that can be written into a text.
    fn text(&self, message: &Value) -> Option<String> {
        self.0.iter().map(|part| part.text(message)).collect()
    }
}

/// The template of a room's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomTemplate(Template);

impl RoomTemplate {
    /// Reads a template that begins with a kind and a dash, so that no message chooses the kind.
    ///
    /// # Errors
    /// [`TemplateError`]
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let template = Template::parse(text)?;
        let Some(Part::Text(first)) = template.0.first() else { return Err(TemplateError::Room) };
        let (kind, _) = first.split_once('-').ok_or(TemplateError::Room)?;
        // Any id will do for the look at the kind.
        if Room::parse(&format!("{kind}-1")).is_err() && !matches!(kind, "address" | "contract") {
            return Err(TemplateError::Room);
        }
        Ok(Self(template))
    }

    /// The word before the dash, which no message chooses.
    pub(super) fn kind(&self) -> &str {
        let Some(Part::Text(first)) = self.0.0.first() else { return "" };
        first.split_once('-').map_or(first, |(kind, _)| kind)
    }

    /// Whether the id is the user's, under which the outbox finds the message.
    pub(super) fn is_named(&self) -> bool {
        matches!(self.0.0.as_slice(), [Part::Text(text), Part::Place(Path::User)] if text.ends_with('-'))
    }

    /// The room for this message; `None` where a place is empty or what it gives is no name.
    pub(super) fn room(&self, message: &Value) -> Option<Room> {
        Room::parse(&self.0.text(message)?).ok()
    }
}

impl Part {
    fn text(&self, message: &Value) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Place(path) => match path.value(message) {
                Value::String(text) => Some(text),
                Value::Number(number) => Some(number.to_string()),
                Value::Bool(flag) => Some(flag.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            },
        }
    }
}

impl Path {
    fn parse(text: &str) -> Result<Self, TemplateError> {
        let names: Vec<String> = text.split('.').map(str::to_owned).collect();
        let fits = |name: &String| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'))
        };
        if !names.iter().all(fits) || names.len() > 8 {
            return Err(TemplateError::Path(text.chars().take(60).collect()));
        }
        match (names[0].as_str(), names.get(1).map(String::as_str), names.len()) {
            ("user", Some("id"), 2) => Ok(Self::User),
            ("user", _, 2..) => Err(TemplateError::User(text.to_owned())),
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

/// The fields of the payload that differ from those before; none where the message says nothing of before.
pub(super) fn changed(message: &Value) -> Map<String, Value> {
    let payload = &message["payload"];
    let (Some(now), Some(before)) = (payload.as_object(), payload["previous"].as_object()) else {
        return Map::new();
    };
    let differs = |(name, value): &(&String, &Value)| *name != "previous" && before.get(*name) != Some(value);
    now.iter().filter(differs).map(|(name, value)| (name.clone(), value.clone())).collect()
}
