use super::log::Log;

/// The step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterKind {
    /// The log belongs to a source, but its bytes do not fit the ABI.
    Decode,
    /// The log decodes, but it cannot become a fact.
    Mapping,
}

impl DeadLetterKind {
    /// The word in the table and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Mapping => "mapping",
        }
    }
}

/// A log that no retry can process. It is stored whole, with the reason, while other logs continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The step that failed.
    pub kind: DeadLetterKind,
    /// Name of the source it belongs to.
    pub source: String,
    /// The reason, for a person.
    pub reason: String,
    /// The log as the node returned it.
    pub log: Log,
}
