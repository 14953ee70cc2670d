use serde::{Deserialize, Deserializer};

use super::principal::User;
use super::room::RoomPattern;
use super::service_key::Scopes;

/// Maximum number of room patterns in one token: the maximum number of rooms per connection.
const MAX_PATTERNS: usize = 128;
/// Maximum size of a user's id in bytes: it must fit into the name of the user's room.
const MAX_SUBJECT_BYTES: usize = 250;
/// The latest accepted time, in seconds since 1970: clocks cannot represent every 64-bit number.
const MAX_SECONDS: u64 = 9_000_000_000_000;

/// The claims of a token that this program reads. A claim of another JSON type makes the whole token malformed: an
/// unreadable claim must not count as absent.
#[derive(Debug, Deserialize)]
pub(crate) struct Claims {
    pub sub: String,
    #[serde(deserialize_with = "seconds")]
    pub exp: u64,
    #[serde(default, deserialize_with = "some_seconds")]
    pub iat: Option<u64>,
    #[serde(default, deserialize_with = "some_seconds")]
    pub nbf: Option<u64>,
    #[serde(default, deserialize_with = "some")]
    pub iss: Option<String>,
    #[serde(default, deserialize_with = "some")]
    pub aud: Option<Audience>,
    #[serde(default, deserialize_with = "some")]
    pub jti: Option<String>,
    #[serde(default, deserialize_with = "some")]
    pub role: Option<String>,
    #[serde(default)]
    pub scope: String,
    #[serde(default)]
    pub rooms: Vec<String>,
}

/// RFC 7519 §4.1.3: one name or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Several(several) => several.iter().any(|one| one == name),
        }
    }
}

impl Claims {
    /// `None` if the token lacks a required claim, or has a value that no valid issuer writes.
    pub fn read(json: &[u8]) -> Option<(Self, Vec<RoomPattern>)> {
        let claims: Self = serde_json::from_slice(json).ok()?;
        // No control characters: room names exclude them, and log lines and tables accept only some.
        let is_plain = |text: &str| {
            !text.is_empty() && text.len() <= MAX_SUBJECT_BYTES && !text.contains(char::is_control)
        };
        let is_named = is_plain(&claims.sub) && claims.jti.as_deref().is_none_or(is_plain);
        if !is_named || claims.rooms.len() > MAX_PATTERNS {
            return None;
        }
        let rooms = claims.rooms.iter().map(|text| RoomPattern::parse(text)).collect::<Option<_>>()?;
        Some((claims, rooms))
    }

    /// The user of these claims, given the room patterns.
    pub fn into_user(self, rooms: Vec<RoomPattern>) -> User {
        User {
            id: self.sub,
            role: self.role.unwrap_or_else(|| "user".to_owned()),
            scopes: Scopes::of_token(&self.scope),
            rooms,
            expires_at: self.exp,
            issued_at: self.iat,
            token_id: self.jti,
        }
    }
}

impl User {
    /// These claims as JSON, for a table; [`Self::from_claims`] reads it back.
    pub fn to_claims(&self) -> String {
        let rooms: Vec<String> = self.rooms.iter().map(RoomPattern::to_string).collect();
        let mut claims = serde_json::json!({
            "sub": self.id, "role": self.role, "scope": self.scopes.to_string(), "rooms": rooms, "exp": self.expires_at,
        });
        if let Some(at) = self.issued_at {
            claims["iat"] = at.into();
        }
        if let Some(id) = &self.token_id {
            claims["jti"] = id.as_str().into();
        }
        claims.to_string()
    }

    /// Reads the result of [`Self::to_claims`]. It checks no signature: the text must come from a place that only this
    /// program writes.
    pub fn from_claims(json: &str) -> Option<Self> {
        let (claims, rooms) = Claims::read(json.as_bytes())?;
        Some(claims.into_user(rooms))
    }
}

/// RFC 7519 §2, NumericDate: seconds since 1970. Some issuers write a fraction; it is cut off.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let whole = || {
        let fraction = number.as_f64().filter(|seconds| (0.0..=9e15).contains(seconds))?;
        // No cast: a cast would hide an overflow.
        format!("{:.0}", fraction.floor()).parse().ok()
    };
    let read = number.as_u64().or_else(whole).filter(|seconds| *seconds <= MAX_SECONDS);
    read.ok_or_else(|| serde::de::Error::custom("is not a time"))
}

fn some_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    seconds(deserializer).map(Some)
}

/// Rejects null: a claim that is present must have a value.
pub(crate) fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
