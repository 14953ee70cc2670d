use super::log::Log;

/// Which station could not do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterKind {
    /// The log is ours and its bytes do not fit its ABI.
    Decode,
    /// The log decodes and its meaning cannot be kept.
    Mapping,
}

impl DeadLetterKind {
    /// The word kept in the table and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Mapping => "mapping",
        }
    }
}

/// A log that cannot succeed by trying again: kept whole, with the reason, while other logs continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Which station gave up.
    pub kind: DeadLetterKind,
    /// Name of the source it belongs to.
    pub source: String,
    /// Why, for a person.
    pub reason: String,
    /// The log as the node returned it.
    pub log: Log,
}
