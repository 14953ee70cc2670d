use crate::sink::SinkError;
use chainflume_db::StoreError;
use chainflume_ops::metrics::SinkErrorKind;

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
    /// Whether a retry may succeed; else operator action is required.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Message(_) | Self::ForeignReplay { .. } => false,
            Self::Sink(error) => error.is_transient(),
        }
    }

    /// Its kind in metrics.
    pub fn kind(&self) -> SinkErrorKind {
        match self {
            Self::Store(_) => SinkErrorKind::Database,
            Self::Message(_) => SinkErrorKind::Message,
            Self::ForeignReplay { .. } => SinkErrorKind::Foreign,
            Self::Sink(error) => error.kind(),
        }
    }
}
