use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use chainflume_core::domain::causes;
use chainflume_db::StoreError;
use chainflume_ops::health::{Board, Heartbeat, OutboxHealth};
use chainflume_ops::metrics;
use chainflume_ops::supervise::every;
use chainflume_ops::telemetry::LogLimiter;
use chainflume_outbox::{Outbox, OutboxState};
use chainflume_store::{HistoryRetention, Store};

/// Deletes a page of another crate's old rows. Returns whether there may be more.
pub type TrimPage =
    Arc<dyn Fn(u32) -> Pin<Box<dyn Future<Output = Result<bool, StoreError>> + Send>> + Send + Sync>;

/// Limits the outbox and old records of chains. Deletes messages that every sink has, and old rows, in small batches,
/// so that no statement holds locks or snapshots for long. Reports the size of the outbox.
#[derive(Clone)]
pub struct Retention {
    /// The database, migrated.
    pub outbox: Outbox,
    /// The health board.
    pub board: Board,
    /// How long messages are kept, for sinks that lose messages and for consumers that start late.
    pub age: Duration,
    /// The tables of chains, and how long their rows are kept.
    pub history: (Store, HistoryRetention),
    /// Old rows of others, where they are kept for a time.
    pub others: Vec<TrimPage>,
    /// Names of the sinks that must have a message before it is deleted. Cursors of other names do not count.
    pub sinks: Vec<String>,
}

/// Pause between two measurements of the outbox; the maximum age of the reported size.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Pause between two clean-ups of the tables of chains: they grow slowly.
const HISTORY_INTERVAL: Duration = Duration::from_mins(1);
/// Maximum number of rows per delete statement: it takes some milliseconds.
const BATCH: u32 = 1_000;

impl Retention {
    /// Reports the size of the outbox until `stop`.
    pub async fn watch(self, stop: CancellationToken, heartbeat: Heartbeat) {
        let mut tick = every(CHECK_INTERVAL);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            heartbeat.beat();
            // The error is ignored here: the trimming instance logs it.
            if let Ok(state) = self.outbox.state().await {
                self.report(state);
            }
        }
    }

    /// Trims until `stop`. One daemon is enough; a second one finds nothing to delete.
    pub async fn trim(&self, stop: CancellationToken, heartbeat: Heartbeat) {
        let mut tick = every(CHECK_INTERVAL);
        let lines = LogLimiter::default();
        let mut next_history = Instant::now();
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            if let Err(error) = self.trim_outbox(&stop, &heartbeat).await
                && let Some(suppressed) = lines.admit("trim")
            {
                let suppressed = suppressed.field();
                tracing::warn!(error = %causes(&error), suppressed, "the outbox cannot be trimmed; the next turn retries");
            }
            if Instant::now() < next_history {
                continue;
            }
            next_history = Instant::now() + HISTORY_INTERVAL;
            if let Err(error) = self.trim_history(&stop, &heartbeat).await
                && let Some(suppressed) = lines.admit("history")
            {
                let suppressed = suppressed.field();
                tracing::warn!(error = %causes(&error), suppressed, "old rows cannot be deleted; the next turn retries");
            }
        }
    }

    async fn trim_outbox(&self, stop: &CancellationToken, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        while !stop.is_cancelled() {
            heartbeat.beat();
            let trimmed = self.outbox.trim(self.age, &self.sinks, BATCH).await?;
            metrics::outbox_trimmed(trimmed);
            if trimmed < u64::from(BATCH) {
                break;
            }
            // Other users of the table have priority.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Deletes old rows of the tables of chains, page after page.
    async fn trim_history(&self, stop: &CancellationToken, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        let (store, keep) = &self.history;
        while !stop.is_cancelled() {
            heartbeat.beat();
            let trimmed = store.trim_history(keep, BATCH).await?;
            for (source, count) in &trimmed.strangers {
                metrics::dead_letters_trimmed(source, *count);
                let kept = keep.strangers_letters;
                tracing::warn!(%source, count, kept, "dead letters of a source with address = \"any\" deleted; the newest stay");
            }
            if !trimmed.is_full(BATCH) {
                break;
            }
            tokio::task::yield_now().await;
        }
        for trim in &self.others {
            while !stop.is_cancelled() && heartbeat.wait(trim(BATCH)).await? {}
        }
        Ok(())
    }

    fn report(&self, state: OutboxState) {
        let age = Duration::from_secs(state.oldest_seconds);
        let oldest_at = (state.first <= state.last).then(|| Instant::now().checked_sub(age)).flatten();
        self.board.set_outbox(OutboxHealth { last: state.last, first: state.first, oldest_at });
    }
}
