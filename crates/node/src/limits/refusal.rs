//! A refusal: the error response of the node, and its kind.

use std::time::Duration;

use chainflume_ops::metrics::StepErrorKind;

/// A width in blocks that the node would accept, narrower than the request.
pub type Hint = u64;

/// The kind of a refusal, which decides what to do about it. Providers use different words and numbers for the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// Too many blocks: request fewer, as many as the hint offers.
    Range(Option<Hint>),
    /// Too many logs or bytes in the answer: request fewer blocks here; elsewhere the same width may work.
    Size(Option<Hint>),
    /// Too many addresses or topics: split those, not the range.
    Addresses,
    /// The node ran out of time: request fewer blocks.
    Time,
    /// Too many requests: send them more slowly; fewer blocks do not help.
    Rate {
        /// `Retry-After`, where the node sent it.
        retry_after: Option<Duration>,
    },
    /// The quota of the account is used up: a retry within seconds does not help.
    Quota,
    /// Too many calls in one batch, or no batches at all: send fewer, as many as the node names if it names a number.
    Batch(Option<u64>),
    /// The key is missing, wrong or not sufficient: an operator must correct it.
    Denied,
    /// The node does not have these blocks yet.
    BeyondHead,
    /// The node does not have the block of this hash, or not any more.
    UnknownBlock,
    /// The node has pruned these blocks.
    Pruned,
    /// The key belongs to another chain.
    WrongChain,
    /// The method is switched off.
    MethodOff,
    /// Neither words nor numbers are known. The request is retried as after a failure of the node.
    Unknown,
}

impl RefusalKind {
    /// Whether only an operator can help. The list is positive: a refusal that is not understood is retried.
    pub fn is_fatal(self) -> bool {
        match self {
            Self::WrongChain => true,
            Self::Range(_)
            | Self::Size(_)
            | Self::Addresses
            | Self::Time
            | Self::Rate { .. }
            | Self::Quota
            | Self::Batch(_)
            | Self::Denied
            | Self::BeyondHead
            | Self::UnknownBlock
            | Self::Pruned
            | Self::MethodOff
            | Self::Unknown => false,
        }
    }

    /// One word for metrics.
    pub fn kind(self) -> StepErrorKind {
        match self {
            Self::Range(_) => StepErrorKind::Range,
            Self::Size(_) => StepErrorKind::Size,
            Self::Addresses => StepErrorKind::Addresses,
            Self::Time => StepErrorKind::Time,
            Self::Rate { .. } => StepErrorKind::Rate,
            Self::Quota => StepErrorKind::Quota,
            Self::Batch(_) => StepErrorKind::Batch,
            Self::Denied => StepErrorKind::Denied,
            Self::BeyondHead => StepErrorKind::BeyondHead,
            Self::UnknownBlock => StepErrorKind::UnknownBlock,
            Self::Pruned => StepErrorKind::Pruned,
            Self::WrongChain => StepErrorKind::WrongChain,
            Self::MethodOff => StepErrorKind::MethodOff,
            Self::Unknown => StepErrorKind::Other,
        }
    }
}

/// Why a narrower request is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NarrowReason {
    /// The number of blocks: the limit is the same everywhere on the chain.
    BlockSelector,
    /// The size of the answer, which differs from block to block.
    Size,
    /// The time it took.
    Time,
}

/// All parts of an answer that may describe a refusal.
#[derive(Clone, Debug, Default)]
pub(crate) struct ErrorResponse {
    /// JSON-RPC error code.
    pub code: Option<i64>,
    /// HTTP status.
    pub status: Option<u16>,
    /// JSON-RPC message, or the body of an answer that is not JSON-RPC.
    pub message: String,
    /// JSON-RPC `error.data` as JSON text.
    pub data: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Blocks of the request, where it had a range.
    pub asked: Option<u64>,
    /// Calls of the batch, where it was one.
    pub calls: Option<u64>,
}
