use std::time::{Duration, Instant};

use crate::error::IndexerError;
use chainflume_node::MAX_RETRY_AFTER;
use chainflume_ops::metrics;

/// The pause after an error of the node about its newest blocks. Backends of one node often differ by a block for
/// some hundred milliseconds. A shorter pause would only burden a node that fails.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Errors with pending blocks, which are counted apart: confirmed blocks must not wait for a head that only one of a
/// node's backends has.
#[derive(Debug, Default)]
pub(crate) struct PendingProgress {
    errors: u64,
    retry_at: Option<Instant>,
}

impl PendingProgress {
    /// The rest of the pause after an error.
    pub(crate) fn rest(&self) -> Option<Duration> {
        self.retry_at?.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn failed(&mut self, chain: &str, error: &IndexerError) {
        self.errors += 1;
        let asked = match error {
            IndexerError::Chain(error) => error.retry_after(),
            _ => None,
        };
        let wait = asked.map_or(RETRY_AFTER, |asked| asked.clamp(RETRY_AFTER, MAX_RETRY_AFTER));
        self.retry_at = Some(Instant::now() + wait);
        metrics::step_error(chain, error.kind());
        if self.errors.is_power_of_two() {
            tracing::debug!(chain, errors = self.errors, %error, "pending blocks cannot be read; retried");
        }
    }
}
