//! A stopped chain: its cause is checked again until it is gone.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::IndexerError;
use super::session::{IndexSession, StoppedChain};
use chainflume_core::domain::causes;

/// Pause before the first check of a stopped chain. Each later pause is twice as long.
const FIRST_RECHECK_AFTER: Duration = Duration::from_secs(1);
/// Longest such pause: a stop ends within a minute after its cause is gone.
const LAST_RECHECK_AFTER: Duration = Duration::from_secs(60);

impl IndexSession<'_> {
    /// Waits until `stop`, until an operator rewinds the chain, until the cause is gone, or until it is time to try again.
    pub(super) async fn wait_while_stopped(&mut self, error: &IndexerError, stop: &CancellationToken) {
        let before = self.rewinds().await;
        let mut beat = tokio::time::interval(Duration::from_secs(1));
        let (mut looked, mut pause) = (Instant::now(), self.note_stop(error));
        while stop.run_until_cancelled(beat.tick()).await.is_some() {
            self.beat();
            let now = self.rewinds().await;
            if before.is_some() && now.is_some() && now != before {
                tracing::warn!(chain = %self.chain.settings.name, "an operator rewound the chain; the chain continues from there");
                self.stopped = None;
                return;
            }
            if looked.elapsed() < pause {
                continue;
            }
            if error.ends_by_retry() {
                return;
            }
            if stop.run_until_cancelled(self.is_resolved(error)).await == Some(true) {
                tracing::warn!(chain = %self.chain.settings.name, "the cause of the stop is gone; the chain continues");
                self.stopped = None;
                return;
            }
            pause = (pause * 2).min(LAST_RECHECK_AFTER);
            looked = Instant::now();
        }
    }

    /// Logs a stop once for each cause. Returns the pause until the next check.
    fn note_stop(&mut self, error: &IndexerError) -> Duration {
        let why = causes(error);
        match &mut self.stopped {
            Some(stopped) if stopped.why == why => {
                stopped.pause = (stopped.pause * 2).min(LAST_RECHECK_AFTER);
                stopped.pause
            }
            _ => {
                tracing::error!(chain = %self.chain.settings.name, error = %why, "chain stopped: operator action required; the cause is checked every minute");
                self.stopped = Some(StoppedChain { why, pause: FIRST_RECHECK_AFTER });
                FIRST_RECHECK_AFTER
            }
        }
    }

    /// Records that a step succeeded, which ends a stop.
    pub(super) fn end_stop(&mut self) {
        if self.stopped.take().is_some() {
            tracing::warn!(chain = %self.chain.settings.name, "the cause of the stop is gone; the chain continues");
        }
    }

    /// Number of rewinds so far; `None` while the database does not answer.
    async fn rewinds(&self) -> Option<u64> {
        let held = self.opened.as_ref()?.snapshot().await;
        held.ok().map(|held| held.reorgs)
    }
}
