use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use chainflume_core::domain::causes;
use chainflume_db::StoreError;
use chainflume_ops::health::Heartbeat;
use chainflume_ops::metrics;
use chainflume_ops::supervise::every;
use chainflume_ops::telemetry::LogLimiter;
use chainflume_outbox::Outbox;

/// Adds new messages to the index of rooms. Any number of daemons may do so: they take turns.
#[derive(Clone)]
pub struct RoomIndex {
    /// The database, migrated.
    pub outbox: Outbox,
}

/// Pause between two rounds. Often and little, so that no statement competes with commits for long.
const INTERVAL: Duration = Duration::from_millis(200);
/// Maximum number of messages of one statement, which takes some milliseconds.
const BATCH: u32 = 500;

impl RoomIndex {
    /// Indexes messages until `stop`.
    pub async fn run(self, stop: CancellationToken, heartbeat: Heartbeat) {
        let mut tick = every(INTERVAL);
        let lines = LogLimiter::default();
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            if let Err(error) = self.round(&stop, &heartbeat).await
                && let Some(suppressed) = lines.admit("rooms")
            {
                let (error, suppressed) = (causes(&error), suppressed.field());
                tracing::warn!(%error, suppressed, "new messages cannot be added to the index of rooms; the next turn retries");
            }
        }
    }

    async fn round(&self, stop: &CancellationToken, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        while !stop.is_cancelled() {
            heartbeat.beat();
            let begun = Instant::now();
            let indexed = self.outbox.index_rooms(BATCH).await?;
            metrics::outbox_indexed(indexed);
            if indexed < u64::from(BATCH) {
                break;
            }
            // Half of the time belongs to the writers of messages, whose commits would wait for the processor and the disk.
            stop.run_until_cancelled(tokio::time::sleep(begun.elapsed())).await;
        }
        Ok(())
    }
}
