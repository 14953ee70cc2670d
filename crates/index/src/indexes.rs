//! When the store does without its indexes: while a first history is read, and not a block longer.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::IndexerError;
use super::session::Session;
use chainflume_core::canon::Group;

/// Blocks of a first history below which it is not worth the while.
const LONG: u64 = 10_000;
/// While indexes are built the loop says this often that it is alive.
const BEAT: Duration = Duration::from_secs(1);

impl Session<'_> {
    /// Sees to the indexes before a step that reads `history` alone, or anything else. What follows the head must
    /// find events by their keys, since a reorg asks for them.
    pub(super) async fn keep_indexed(
        &mut self,
        history: Option<&Group>,
        stop: &CancellationToken,
    ) -> Result<(), IndexerError> {
        let begins = self.view().highest().is_none() && self.attempt.reading.is_none();
        match history {
            Some(history) if begins && history.range.width() >= LONG => {
                self.store().defer_indexes().await?;
                self.indexed = false;
            }
            None if self.attempt.looked && !self.indexed => {
                if self.store().is_deferred().await? {
                    // What was written ahead holds locks that indexes wait for.
                    self.attempt.reading = None;
                }
                let _stopped = stop.run_until_cancelled(self.build_indexes()).await.transpose()?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Builds what is missing, for as long as it takes.
    pub(super) async fn build_indexes(&mut self) -> Result<(), IndexerError> {
        let (store, started) = (self.store().clone(), Instant::now());
        let mut building = pin!(store.build_indexes());
        let built = loop {
            tokio::select! {
                built = &mut building => break built?,
                () = tokio::time::sleep(BEAT) => self.beat(),
            }
        };
        if built > 0 {
            let seconds = started.elapsed().as_secs();
            tracing::info!(chain = %self.chain.settings.name, indexes = built, seconds, "built what the first history did without");
        }
        self.indexed = true;
        Ok(())
    }
}
