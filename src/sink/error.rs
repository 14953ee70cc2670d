/// Why a sink did not take messages.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Nobody answers, or not in time.
    #[error("{sink} at {host} cannot be reached: {reason}")]
    Unreachable {
        /// The sink.
        sink: &'static str,
        /// Host and port, all of its URL that may be shown.
        host: String,
        /// What the system says.
        reason: String,
    },
    /// It answers that it cannot now: it starts, is full, or is a replica since a moment ago.
    #[error("{sink} at {host} does not take messages now: {answer}")]
    Unready {
        /// The sink.
        sink: &'static str,
        /// Host and port.
        host: String,
        /// Its answer.
        answer: String,
    },
    /// It refuses, and will until somebody changes something.
    #[error("{sink} at {host} refuses messages: {answer}; {remedy}")]
    Refused {
        /// The sink.
        sink: &'static str,
        /// Host and port.
        host: String,
        /// Its answer.
        answer: String,
        /// What to do.
        remedy: &'static str,
    },
    /// It does not hold any more what it was given: look where to go on from.
    #[error("{stream} ends at {held}, where {given} had been delivered")]
    Lost {
        /// The stream.
        stream: String,
        /// Newest number held.
        held: u64,
        /// Newest number given to it.
        given: u64,
    },
    /// Somebody else writes there.
    #[error(
        "{stream} holds what this database never sent (at {seq}): two databases must not share a stream, and one that was \
         restored from a backup must not go on in its old streams; set another redis.prefix, or delete the streams"
    )]
    Foreign {
        /// The stream.
        stream: String,
        /// The number at which it shows.
        seq: u64,
    },
}

impl SinkError {
    /// Whether the same messages may be taken later without anybody's help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unready { .. } | Self::Lost { .. })
    }

    /// The word in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Unready { .. } => "unready",
            Self::Refused { .. } => "refused",
            Self::Lost { .. } => "lost",
            Self::Foreign { .. } => "foreign",
        }
    }
}
