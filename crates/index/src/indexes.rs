//! Drops the indexes of the store before a first history, and builds them after it. Everything else needs them.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::IndexerError;
use super::session::IndexSession;
use chainflume_core::canon::SourceGroup;

/// A first history of fewer blocks keeps the indexes: to build them again would cost more.
const MIN_BLOCKS_TO_DEFER: u64 = 10_000;
/// How often the loop reports that it is alive while indexes are built.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

impl IndexSession<'_> {
    /// Drops or builds indexes before a step. A step that only reads `history` needs none. Any other step must find
    /// events by their keys, because a reorg looks them up.
    pub(super) async fn maintain_indexes(
        &mut self,
        history: Option<&SourceGroup>,
        stop: &CancellationToken,
    ) -> Result<(), IndexerError> {
        let begins = self.snapshot().highest().is_none() && self.attempt.history_read.is_none();
        match history {
            Some(history) if begins && history.range.width() >= MIN_BLOCKS_TO_DEFER => {
                self.store().defer_indexes().await?;
                self.indexed = false;
            }
            None if self.attempt.compared && !self.indexed => {
                if self.store().is_deferred().await? {
                    // Rows that were written ahead hold locks that block the build.
                    self.attempt.history_read = None;
                }
                let _stopped = stop.run_until_cancelled(self.build_indexes()).await.transpose()?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Builds the missing indexes, which may take hours.
    pub(super) async fn build_indexes(&mut self) -> Result<(), IndexerError> {
        let (store, started) = (self.store().clone(), Instant::now());
        let mut building = pin!(store.build_indexes());
        let built = loop {
            tokio::select! {
                built = &mut building => break built?,
                () = tokio::time::sleep(HEALTH_INTERVAL) => self.beat(),
            }
        };
        if built > 0 {
            let seconds = started.elapsed().as_secs();
            tracing::info!(chain = %self.chain.settings.name, indexes = built, seconds, "indexes built after the first history");
        }
        self.indexed = true;
        Ok(())
    }
}
