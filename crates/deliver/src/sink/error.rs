use std::time::Duration;

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
    /// Somebody wrote there since it was looked at: look again.
    #[error("{stream} was written by somebody else, up to {held}, since it was looked at")]
    Changed {
        /// The stream.
        stream: String,
        /// Newest number held.
        held: u64,
    },
    /// It holds what is not ours.
    #[error("{stream} holds what this database never sent (at {seq})")]
    Foreign {
        /// The stream.
        stream: String,
        /// The number at which it shows.
        seq: u64,
    },
    /// It answered, and not with success.
    #[error("{sink} at {host} answered {status}{text}")]
    Answered {
        /// The sink.
        sink: &'static str,
        /// Host and port.
        host: String,
        /// HTTP status.
        status: u16,
        /// For how long it does not want to be asked again, where it says so.
        retry_after: Option<Duration>,
        /// What it said, after a colon.
        text: String,
    },
    /// The message is larger than may be sent there.
    #[error("{sink} at {host} is sent no more than {limit} bytes, and the message has {bytes}")]
    TooLarge {
        /// The sink.
        sink: &'static str,
        /// Host and port.
        host: String,
        /// Size of the message.
        bytes: usize,
        /// Largest one that is sent.
        limit: usize,
    },
    /// What its name leads to may not be called.
    #[error("{sink}: {reason}")]
    Forbidden {
        /// The sink.
        sink: &'static str,
        /// Where it leads, and what to do.
        reason: String,
    },
}

impl SinkError {
    /// Whether the same messages may be taken later without anybody's help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Unready { .. } | Self::Lost { .. } | Self::Changed { .. } => {
                true
            }
            Self::Answered { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
            _ => false,
        }
    }

    /// Whether the message is refused, and not merely now or because of where it goes: the other 4xx, after which the
    /// same message again is of little use.
    pub fn refuses_message(&self) -> bool {
        match self {
            Self::TooLarge { .. } => true,
            Self::Answered { status, .. } => {
                (400..500).contains(status) && !matches!(status, 408 | 410 | 425 | 429)
            }
            _ => false,
        }
    }

    /// Whether it wants no messages any more: 410.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Answered { status: 410, .. })
    }

    /// For how long it does not want to be asked again, where it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered { status: 429 | 503, retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The word in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Unready { .. } => "unready",
            Self::Refused { .. } => "refused",
            Self::Lost { .. } => "lost",
            Self::Changed { .. } => "changed",
            Self::Foreign { .. } => "foreign",
            Self::Answered { status: 410, .. } => "gone",
            Self::Answered { status: 300..400, .. } => "redirect",
            Self::Answered { .. } if self.refuses_message() => "rejected",
            Self::Answered { .. } => "unready",
            Self::TooLarge { .. } => "too_large",
            Self::Forbidden { .. } => "forbidden",
        }
    }
}
