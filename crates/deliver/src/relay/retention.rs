use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use chainflume_core::domain::causes;
use chainflume_db::StoreError;
use chainflume_ops::health::{Board, Heartbeat, OutboxHealth};
use chainflume_ops::metrics;
use chainflume_ops::telemetry::LogLimiter;
use chainflume_outbox::{Outbox, OutboxState};
use chainflume_store::{HistoryRetention, Store};

/// Keeps the outbox and old records of chains bounded: deletes what every sink has and what is old enough, in small batches, so that no
/// statement holds locks or snapshots for long. Says how full it is.
#[derive(Clone)]
pub struct Retention {
    /// The database, migrated.
    pub outbox: Outbox,
    /// The health board.
    pub board: Board,
    /// How long messages are kept, for sinks that lose what they had and for consumers that come late.
    pub age: Duration,
    /// The tables of chains, and how long their rows are kept.
    pub history: (Store, HistoryRetention),
    /// Names of the sinks that must have a message before it goes. Cursors of others hold nothing up.
    pub sinks: Vec<String>,
}

/// From one look to the next. What a look says of the outbox is as old at most.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// From one look at the tables of chains to the next: they grow slowly.
const HISTORY_INTERVAL: Duration = Duration::from_mins(1);
/// Rows deleted in one statement: some milliseconds.
const BATCH: u32 = 1_000;

impl Retention {
    /// Says until `stop` how full the outbox is.
    pub async fn watch(self, stop: CancellationToken, heartbeat: Heartbeat) {
        let mut tick = tokio::time::interval(CHECK_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            heartbeat.beat();
            // Whoever trims tells of the trouble.
            if let Ok(state) = self.outbox.state().await {
                self.report(state);
            }
        }
    }

    /// Trims until `stop`. One daemon is enough; another one beside it finds nothing to do.
    pub async fn trim(&self, stop: CancellationToken, heartbeat: Heartbeat) {
        let mut tick = tokio::time::interval(CHECK_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let lines = LogLimiter::default();
        let mut next_history = Instant::now();
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            if let Err(error) = self.round(&stop, &heartbeat).await
                && let Some(suppressed) = lines.admit("trim")
            {
                let suppressed = suppressed.field();
                tracing::warn!(error = %causes(&error), suppressed, "the outbox cannot be trimmed; it is retried");
            }
            if Instant::now() < next_history {
                continue;
            }
            next_history = Instant::now() + HISTORY_INTERVAL;
            if let Err(error) = self.trim_history(&stop, &heartbeat).await
                && let Some(suppressed) = lines.admit("history")
            {
                let suppressed = suppressed.field();
                tracing::warn!(error = %causes(&error), suppressed, "old rows cannot be deleted; it is retried");
            }
        }
    }

    async fn round(&self, stop: &CancellationToken, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        while !stop.is_cancelled() {
            heartbeat.beat();
            let trimmed = self.outbox.trim(self.age, &self.sinks, BATCH).await?;
            metrics::outbox_trimmed(trimmed);
            if trimmed < u64::from(BATCH) {
                break;
            }
            // Whoever waits for the table comes first.
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
        Ok(())
    }

    fn report(&self, state: OutboxState) {
        let age = Duration::from_secs(state.oldest_seconds);
        let oldest_at = (state.first <= state.last).then(|| Instant::now().checked_sub(age)).flatten();
        self.board.set_outbox(OutboxHealth { last: state.last, first: state.first, oldest_at });
    }
}
