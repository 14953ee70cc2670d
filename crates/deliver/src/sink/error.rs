use std::borrow::Cow;
use std::time::Duration;

use chainflume_ops::metrics::SinkErrorKind;

/// Why a sink did not accept messages.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// No answer, or not in time.
    #[error("{sink} at {host} cannot be reached: {reason}; check its url and that it runs")]
    Unreachable {
        /// The sink.
        sink: &'static str,
        /// Host and port, the only parts of its URL that may be logged.
        host: String,
        /// The cause, from the operating system.
        reason: String,
    },
    /// No connection, because TLS failed. An operator must change a certificate, or the configuration.
    #[error("{sink} at {host} cannot be reached: {reason}; {remedy}")]
    Untrusted {
        /// The sink.
        sink: &'static str,
        /// Host and port.
        host: String,
        /// The cause, from the TLS library.
        reason: String,
        /// The remedy.
        remedy: Cow<'static, str>,
    },
    /// The server is temporarily unable: it starts, is full, or has become a replica.
    #[error("{sink} at {host} does not take messages now: {answer}")]
    Unready {
        /// The sink.
        sink: &'static str,
        /// Host and port.
        host: String,
        /// Its answer.
        answer: String,
    },
    /// The server refuses until an operator changes something.
    #[error("{sink} at {host} refuses messages: {answer}; {remedy}")]
    Refused {
        /// The sink.
        sink: &'static str,
        /// Host and port.
        host: String,
        /// Its answer.
        answer: String,
        /// The remedy.
        remedy: &'static str,
    },
    /// The sink lost messages. The relay must look where to continue.
    #[error("{stream} ends at {held}, where {given} had been delivered")]
    Lost {
        /// The stream.
        stream: String,
        /// Newest number in the stream.
        held: u64,
        /// Newest number delivered to the stream.
        given: u64,
    },
    /// Another client wrote to the stream. The relay must look again.
    #[error("another client wrote to {stream}, up to {held}, after it was checked")]
    Changed {
        /// The stream.
        stream: String,
        /// Newest number in the stream.
        held: u64,
    },
    /// The stream holds messages that this database never sent.
    #[error("{stream} holds what this database never sent (at {seq})")]
    Foreign {
        /// The stream.
        stream: String,
        /// The number of the first known foreign message.
        seq: u64,
    },
    /// An answer with another status than success.
    #[error("{sink} at {host} answered {status}{text}{}", status_remedy(*.status))]
    Answered {
        /// The sink.
        sink: &'static str,
        /// Host and port.
        host: String,
        /// HTTP status.
        status: u16,
        /// The value of `Retry-After`, if the answer has one.
        retry_after: Option<Duration>,
        /// The text of the answer, after a colon.
        text: String,
    },
    /// The message is larger than the limit of the sink.
    #[error(
        "{sink} at {host} gets messages of at most {limit} bytes (max_message_bytes), and this one has {bytes}"
    )]
    TooLarge {
        /// The sink.
        sink: &'static str,
        /// Host and port.
        host: String,
        /// Size of the message.
        bytes: usize,
        /// Largest message that is sent.
        limit: usize,
    },
    /// It answered with success what cannot be used.
    #[error("{sink} at {host} answered what cannot be published: {reason}")]
    Unusable {
        /// The sink.
        sink: &'static str,
        /// Host and port.
        host: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The address that the name resolves to may not be called.
    #[error("{sink}: {reason}")]
    Forbidden {
        /// The sink.
        sink: &'static str,
        /// The address, and the remedy.
        reason: String,
    },
}

/// What helps where the status says which part of the configuration the receiver does not accept.
fn status_remedy(status: u16) -> &'static str {
    match status {
        401 | 403 => "; is its secret, or a key in its url, right?",
        404 => "; is the path of its url right?",
        _ => "",
    }
}

impl SinkError {
    /// Whether the same messages may be accepted later without an operator.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Unready { .. } | Self::Lost { .. } | Self::Changed { .. } => {
                true
            }
            Self::Answered { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
            _ => false,
        }
    }

    /// Whether the sink refuses this message for good: the 4xx statuses that depend neither on time nor on the
    /// endpoint. A repeat of the same message is of little use.
    pub fn refuses_message(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::Unusable { .. } => true,
            Self::Answered { status, .. } => {
                (400..500).contains(status) && !matches!(status, 408 | 410 | 425 | 429)
            }
            _ => false,
        }
    }

    /// Whether the endpoint wants no more messages: 410.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Answered { status: 410, .. })
    }

    /// The value of `Retry-After`, if the answer has one.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered { status: 429 | 503, retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Its kind in metrics.
    pub fn kind(&self) -> SinkErrorKind {
        match self {
            Self::Unreachable { .. } => SinkErrorKind::Unreachable,
            Self::Untrusted { .. } => SinkErrorKind::Untrusted,
            Self::Unready { .. } => SinkErrorKind::Unready,
            Self::Refused { .. } => SinkErrorKind::Refused,
            Self::Lost { .. } => SinkErrorKind::Lost,
            Self::Changed { .. } => SinkErrorKind::Changed,
            Self::Foreign { .. } => SinkErrorKind::Foreign,
            Self::Answered { status: 410, .. } => SinkErrorKind::Gone,
            Self::Answered { status: 300..400, .. } => SinkErrorKind::Redirect,
            Self::Answered { .. } if self.refuses_message() => SinkErrorKind::Rejected,
            Self::Answered { .. } => SinkErrorKind::Unready,
            Self::TooLarge { .. } => SinkErrorKind::TooLarge,
            Self::Unusable { .. } => SinkErrorKind::Unusable,
            Self::Forbidden { .. } => SinkErrorKind::Forbidden,
        }
    }
}
