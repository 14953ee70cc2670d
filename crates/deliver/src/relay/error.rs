use crate::sink::SinkError;
use chainflume_db::StoreError;

/// Why a step of a relay failed. Every error is retried, for as long as it takes.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The outbox cannot be read, or the cursor cannot be written.
    #[error("outbox")]
    Store(#[from] StoreError),
    /// A message of the outbox cannot be read.
    #[error("a message of the outbox is not JSON: {0}")]
    Message(String),
    /// The streams of a replay hold entries of another database, or of another state of this one.
    #[error(
        "{stream} holds what this database never replayed (at {seq}); name other streams with --stream, or delete these"
    )]
    ForeignReplay {
        /// The stream, or the common prefix of all streams.
        stream: String,
        /// The number of the first known foreign entry.
        seq: u64,
    },
    /// The sink did not accept the messages.
    #[error(transparent)]
    Sink(#[from] SinkError),
}

impl RelayError {
    /// Every word of [`RelayError::kind`].
    pub const KINDS: &[&str] = &[
        "database",
        "message",
        "unreachable",
        "unready",
        "refused",
        "lost",
        "changed",
        "foreign",
        "gone",
        "redirect",
        "rejected",
        "too_large",
        "forbidden",
    ];

    /// Whether a retry may succeed; else operator action is required.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Message(_) | Self::ForeignReplay { .. } => false,
            Self::Sink(error) => error.is_transient(),
        }
    }

    /// The word in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Store(_) => "database",
            Self::Message(_) => "message",
            Self::ForeignReplay { .. } => "foreign",
            Self::Sink(error) => error.kind(),
        }
    }
}
