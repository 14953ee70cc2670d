use std::fmt;
use std::sync::Arc;

/// Maximum size of a room's name in bytes.
pub const MAX_ROOM_BYTES: usize = 255;

/// The name of a room: `all`, or a kind, a dash and an id. Names are compared whole; clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Room(Arc<str>);

/// The subject of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomKind<'a> {
    /// Every message.
    All,
    /// One user, by id or wallet.
    User(&'a str),
    /// Facts of the chain about an address, a contract, a chain or a type of message. The value is the word before the
    /// dash.
    Public(&'a str),
    /// Any other room: aggregates of the application, and rooms of `[[push]]` rules.
    Other,
}

/// Why a text is not the name of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// Too long.
    #[error("a room's name has at most {MAX_ROOM_BYTES} bytes")]
    TooLong,
    /// Neither `all` nor `<kind>-<id>`.
    #[error(
        "a room's name is `all` or <kind>-<id>, like user-7, in printable ASCII without `*`, `,`, `\"` and `\\`"
    )]
    Malformed,
    /// Upper-case hexadecimal digits would never match the addresses in messages.
    #[error("an address in a room's name is written as 0x and 40 lower-case hexadecimal digits")]
    Address,
    /// Not a number in the form of messages.
    #[error("the room of a chain is chain-<id>, with the id in decimal digits")]
    Chain,
}

impl Room {
    /// Reads a name.
    ///
    /// # Errors
    /// [`RoomError`]
    pub fn parse(text: &str) -> Result<Self, RoomError> {
        if text.len() > MAX_ROOM_BYTES {
            return Err(RoomError::TooLong);
        }
        if text == "all" {
            return Ok(Self(text.into()));
        }
        let (kind, id) = text.split_once('-').ok_or(RoomError::Malformed)?;
        if !is_kind(kind) || kind == "all" || id.is_empty() || !id.bytes().all(is_printable) {
            return Err(RoomError::Malformed);
        }
        let wants_address = matches!(kind, "address" | "contract");
        let looks_like_address =
            kind == "user" && id.len() == 42 && (id.starts_with("0x") || id.starts_with("0X"));
        if (wants_address || looks_like_address) && !is_address(id) {
            return Err(RoomError::Address);
        }
        if kind == "chain" && id.parse::<u64>().ok().is_none_or(|number| number.to_string() != id) {
            return Err(RoomError::Chain);
        }
        Ok(Self(text.into()))
    }

    /// The room of every message.
    pub fn all() -> Self {
        Self("all".into())
    }

    /// Whether it is the room of this kind and id.
    pub fn is(&self, kind: &str, id: &str) -> bool {
        let rest = self.0.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-'));
        rest.is_some_and(|rest| rest == id)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its subject.
    pub fn kind(&self) -> RoomKind<'_> {
        match self.0.split_once('-') {
            None => RoomKind::All,
            Some(("user", id)) => RoomKind::User(id),
            Some((kind, _)) if is_public_kind(kind) => RoomKind::Public(kind),
            Some(_) => RoomKind::Other,
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether rooms of this kind are about facts of a chain, which may be public.
pub fn is_public_kind(kind: &str) -> bool {
    matches!(kind, "address" | "contract" | "chain" | "type")
}

/// Whether a text can be the kind of a room or of a subject: lower-case letters, digits and `_`, a letter first.
pub fn is_kind(kind: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    kind.starts_with(|first: char| first.is_ascii_lowercase()) && kind.bytes().all(inner)
}

/// Excludes separators of lists, the sign of a prefix, and all characters that JSON or a log line would have to escape.
fn is_printable(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'*' | b',' | b'"' | b'\\')
}

/// Whether a text is an address as messages and rooms write it: `0x` and 40 lower-case hexadecimal digits.
pub fn is_address(text: &str) -> bool {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.strip_prefix("0x").is_some_and(|digits| digits.len() == 40 && digits.bytes().all(digit))
}

/// The rooms that a token opens: one name, or all names with a prefix, written with `*` at the end. The kind is always
/// complete, so `order-*` opens no room of `orders`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomPattern {
    /// One room.
    Name(Room),
    /// All rooms with this prefix, without the `*`.
    Prefix(String),
}

impl fmt::Display for RoomPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(room) => f.write_str(room.as_str()),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl RoomPattern {
    /// `None` if it is neither a name nor a prefix with a complete kind.
    pub fn parse(text: &str) -> Option<Self> {
        let Some(prefix) = text.strip_suffix('*') else { return Room::parse(text).ok().map(Self::Name) };
        let (kind, id) = prefix.split_once('-')?;
        let fits = prefix.len() <= MAX_ROOM_BYTES && is_kind(kind) && id.bytes().all(is_printable);
        fits.then(|| Self::Prefix(prefix.to_owned()))
    }

    /// Whether this pattern includes `room`.
    pub fn opens(&self, room: &Room) -> bool {
        match self {
            Self::Name(name) => name == room,
            Self::Prefix(prefix) => room.as_str().starts_with(prefix.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WALLET: &str = "0x00000000000000000000000000000000000000aa";

    #[test]
    fn names_are_a_kind_and_an_id_of_bounded_length() {
        for name in ["all", "user-7", "type-contract.Ping", "chain-1", "event-a-b", "order_line-x/1:2@3"] {
            assert_eq!(Room::parse(name).map(|room| room.to_string()), Ok(name.to_owned()));
        }
        assert!(Room::parse(&format!("address-{WALLET}")).is_ok());
        let malformed =
            ["", "-", "user", "user-", "-7", "User-7", "all-1", "ALL", "user-a b", "user-*", "a-1,b-2"];
        for name in malformed.into_iter().chain(["user-\u{e4}", "user-\0", "user-\"", "us\ner-1", "1a-2"]) {
            assert_eq!(Room::parse(name), Err(RoomError::Malformed), "{name:?}");
        }
        for name in ["address-0xAA", "contract-7", "user-0x00000000000000000000000000000000000000AA"] {
            assert_eq!(Room::parse(name), Err(RoomError::Address), "{name:?}");
        }
        for name in ["chain-01", "chain-+1", "chain-x", "chain-99999999999999999999"] {
            assert_eq!(Room::parse(name), Err(RoomError::Chain), "{name:?}");
        }
        assert!(Room::parse(&format!("event-{}", "a".repeat(MAX_ROOM_BYTES - 6))).is_ok());
        assert_eq!(
            Room::parse(&format!("event-{}", "a".repeat(MAX_ROOM_BYTES - 5))),
            Err(RoomError::TooLong)
        );
    }

    #[test]
    fn a_pattern_opens_whole_names_or_what_begins_with_a_whole_kind() {
        let opens = |pattern: &str, room: &str| {
            RoomPattern::parse(pattern).expect("a pattern").opens(&Room::parse(room).expect("a room"))
        };
        assert!(
            opens("event-1", "event-1") && !opens("event-1", "event-10") && !opens("event-10", "event-1")
        );
        assert!(
            opens("event-*", "event-1") && opens("event-1*", "event-10") && !opens("event-*", "events-1")
        );
        for pattern in ["*", "ev*", "", "event-*-1", "event-**", "*event-1", "Event-*", "-*"] {
            assert_eq!(RoomPattern::parse(pattern), None, "{pattern:?}");
        }
    }

    proptest! {
        #[test]
        fn parsed_names_read_back_and_prefixes_open_only_their_kind(
            text in "[ -~]{0,40}|[a-z]{1,4}-[a-z0-9*,-]{0,8}", prefix in "[a-z]{1,3}-[a-z0-9]{0,3}",
        ) {
            if let Ok(room) = Room::parse(&text) {
                prop_assert_eq!(room.as_str(), &text);
                let is_opened = RoomPattern::parse(&format!("{prefix}*")).is_some_and(|p| p.opens(&room));
                prop_assert_eq!(is_opened, text.starts_with(&prefix));
            }
        }
    }
}
