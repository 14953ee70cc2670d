use std::time::Duration;

use alloy_primitives::B256;

use chainflume_core::domain::{BlockId, BlockRange};
use chainflume_db::StoreError;
use chainflume_node::{ChainError, MAX_RETRY_AFTER};
use chainflume_ops::metrics::StepErrorKind;

/// Longest pause while the node is on another chain. To check the chain again takes one request, and a gateway may
/// answer for another chain for some seconds only.
const MAX_PAUSE_ON_ANOTHER_CHAIN: Duration = Duration::from_secs(2);

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum IndexerError {
    /// An error of the node.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// An error of the database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chain changed while it was read, or two backends of one node disagree.
    #[error("{0}; the read is retried")]
    Moved(String),
    /// The node fails at the same blocks again and again, and a person waits for the result.
    #[error(
        "{error}; blocks {range} failed {tries} times within {} s: correct or replace the node, or add another \
         [[chain.provider]], then run the command again",
        .within.as_secs()
    )]
    GaveUp {
        /// The last of its errors.
        error: Box<ChainError>,
        /// The blocks that were asked for last.
        range: BlockRange,
        /// Failures without a success.
        tries: u32,
        /// From the first of them to the last.
        within: Duration,
    },
    /// The chain contradicts a final block.
    #[error(
        "the node contradicts final block {ours}: it has {theirs} there; nothing was undone; restart with a node you trust, \
         or run `chainflume rewind`"
    )]
    TooDeep {
        /// The final block as stored.
        ours: BlockId,
        /// What the node has at its height.
        theirs: B256,
    },
}

impl IndexerError {
    /// Whether only an operator can help. An error that is not known to be fatal is retried.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Chain(error) => error.is_fatal(),
            Self::Store(error) => error.is_permanent(),
            Self::Moved(_) | Self::GaveUp { .. } => false,
            Self::TooDeep { .. } => true,
        }
    }

    /// Whether a stop ends by another try: an error of the database has no check of its own.
    pub(super) fn ends_by_retry(&self) -> bool {
        matches!(self, Self::Store(_))
    }

    /// The pause before the next try: `usual`, or longer if the node asks for it.
    pub(super) fn wait(&self, usual: Duration) -> Duration {
        match self {
            Self::Chain(error) if error.is_wrong_chain() => usual.min(MAX_PAUSE_ON_ANOTHER_CHAIN),
            Self::Chain(error) => {
                error.retry_after().map_or(usual, |asked| asked.clamp(usual, MAX_RETRY_AFTER))
            }
            _ => usual,
        }
    }

    /// Its kind in metrics.
    pub fn kind(&self) -> StepErrorKind {
        match self {
            Self::Chain(error) => error.kind(),
            Self::GaveUp { error, .. } => error.kind(),
            Self::Store(_) => StepErrorKind::Database,
            Self::Moved(_) => StepErrorKind::Moved,
            Self::TooDeep { .. } => StepErrorKind::TooDeep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_store_is_fatal_only_where_the_list_names_it() {
        let corrupt = StoreError::Corrupt { table: "events", what: "a row is missing".to_owned() };
        assert!(IndexerError::from(corrupt).is_fatal());
        let refused = StoreError::Url { reason: "not known to the loop".to_owned() };
        assert!(!refused.is_transient());
        assert!(!IndexerError::from(refused).is_fatal(), "an error that is not in the list is retried");
        let conflict = StoreError::Conflict { what: "checkpoint".to_owned() };
        assert!(!IndexerError::from(conflict).is_fatal());
    }
}
