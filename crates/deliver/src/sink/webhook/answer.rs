use std::fmt;
use std::pin::Pin;

use crate::sink::SinkError;

/// Bytes of an answer that are read at most: as many as a request to publish may have.
pub const MAX_ANSWER: usize = 1 << 20;

/// Takes the answers of an endpoint.
pub trait TakeAnswer: fmt::Debug + Send + Sync {
    /// Whether the endpoint is asked about a message. One about which it is not asked counts as delivered.
    fn wants<'a>(
        &'a self,
        message: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<bool, AnswerFault>> + Send + 'a>>;

    /// Takes what it answered. The same answer may be given again: its delivery may have been in doubt.
    fn take<'a>(
        &'a self,
        message: &'a str,
        answer: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<(), AnswerFault>> + Send + 'a>>;
}

/// Why an answer was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerFault {
    /// What is wrong with it.
    Unusable(String),
    /// Why it cannot be taken now.
    Unavailable(String),
}

impl AnswerFault {
    pub(super) fn error(self, sink: &'static str, host: String) -> SinkError {
        match self {
            Self::Unusable(reason) => SinkError::Unusable { sink, host, reason },
            Self::Unavailable(answer) => SinkError::Unready { sink, host, answer },
        }
    }
}
