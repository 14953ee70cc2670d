use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{ComparedChain, Comparison};
use chainflume_core::domain::causes;
use chainflume_ops::health::Heartbeat;
use chainflume_ops::telemetry::LogLimiter;

/// How often hints are compared. Within this time an instance also finds deliveries that another instance stored.
const TURN: Duration = Duration::from_secs(1);
/// Turns between two sweeps of old deliveries: a minute.
const SWEEP_TURNS: u32 = if cfg!(test) { 2 } else { 60 };
/// Maximum number of pages of one sweep, so that a turn ends.
const SWEEP_PAGES: u32 = 10;

/// The loop that compares hints, and deletes old deliveries.
pub struct ComparisonLoop<C, W> {
    /// The comparison.
    pub comparison: Comparison,
    /// How long deliveries are kept.
    pub kept: Duration,
    /// The chains that this process leads now.
    pub chains: C,
    /// Wakes the loop of the chain of this name.
    pub wake: W,
}

impl<C, W> ComparisonLoop<C, W>
where
    C: Fn() -> Vec<ComparedChain> + Send + Sync,
    W: Fn(&str) + Send + Sync,
{
    /// Compares until `stop`. An error of the database is logged and retried.
    pub async fn run(self, stop: CancellationToken, heartbeat: Heartbeat) {
        let lines = LogLimiter::default();
        for turn in 0u32.. {
            self.turn(turn, &lines, &heartbeat).await;
            if !heartbeat.pause(TURN, &stop).await {
                return;
            }
        }
    }

    async fn turn(&self, turn: u32, lines: &LogLimiter, heartbeat: &Heartbeat) {
        for chain in (self.chains)() {
            match heartbeat.wait(self.comparison.round(&chain)).await {
                Ok(compared) if compared.is_ahead => (self.wake)(&chain.name),
                Ok(_) => {}
                Err(error) => warn(lines, "compare", &error),
            }
        }
        if turn % SWEEP_TURNS == SWEEP_TURNS - 1 {
            for _ in 0..SWEEP_PAGES {
                match heartbeat.wait(self.comparison.sweep(self.kept)).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => return warn(lines, "sweep", &error),
                }
            }
        }
    }
}

fn warn(lines: &LogLimiter, what: &'static str, error: &chainflume_db::StoreError) {
    if let Some(suppressed) = lines.admit(what) {
        let suppressed = suppressed.field();
        tracing::warn!(error = %causes(error), suppressed, "webhook deliveries cannot be compared with the chain; the comparison is retried");
    }
}

#[cfg(test)]
mod tests {
    use chainflume_ops::health::{Board, TurnSource};

    use super::*;
    use crate::inbox::{InboundAnswer, InboundDeliveries};
    use crate::testing::{delivery, endpoint, migrated, quiet, signed};

    #[tokio::test]
    async fn the_loop_deletes_deliveries_that_are_old_and_no_other() {
        let database = migrated().await;
        let inbox = InboundDeliveries::new(&database, vec![endpoint("alchemy", None)], 1 << 20, quiet());
        for id in ["old", "new"] {
            let body = delivery(id, 16, 1);
            assert_eq!(inbox.receive("alchemy", &signed(&body), &body, 7).await, InboundAnswer::Stored);
        }
        let age =
            "update inbound_deliveries set received_at = now() - interval '2 days' where delivery_id = 'old'";
        sqlx::query(age).execute(database.pool()).await.expect("the row changes");
        let compared = ComparisonLoop {
            comparison: Comparison::of(&database),
            kept: Duration::from_hours(24),
            chains: Vec::new,
            wake: |_: &str| {},
        };
        let stop = CancellationToken::new();
        let heartbeat =
            Board::default().loop_starts("inbound", TurnSource::Heartbeat, Duration::from_secs(60));
        let running = tokio::spawn(compared.run(stop.clone(), heartbeat));
        let left = async || -> Vec<String> {
            let left = sqlx::query_scalar("select delivery_id from inbound_deliveries");
            left.fetch_all(database.pool()).await.expect("rows")
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while left().await.len() > 1 && std::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stop.cancel();
        running.await.expect("it ends");
        assert_eq!(left().await, ["new"]);
    }
}
