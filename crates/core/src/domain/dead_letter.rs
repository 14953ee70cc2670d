use serde::Serialize;

use super::log::Log;

/// The step that gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterKind {
    /// The log belongs to a source, but its bytes do not fit the ABI.
    Decode,
    /// The log decodes, but it cannot become a fact.
    Mapping,
    /// A sink did not take the message.
    Delivery,
}

impl DeadLetterKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Decode, Self::Mapping, Self::Delivery];

    /// The word in the table and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Mapping => "mapping",
            Self::Delivery => "delivery",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A log that no retry can process. It is stored whole, with the reason, while other logs continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The step that failed: not a delivery.
    pub kind: DeadLetterKind,
    /// Name of the source it belongs to.
    pub source: String,
    /// The reason, for a person.
    pub reason: String,
    /// The log as the node returned it.
    pub log: Log,
}
