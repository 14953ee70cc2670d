//! Asks the database again and again whether it takes writes. A connection that answers reads proves
//! nothing: after a failover it may lead to a standby.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::causes;
use crate::health::{Board, DatabaseHealth};
use crate::store::{Store, StoreError};

/// Readiness is to tell the truth within five seconds; so this and [`PATIENCE`] stay below.
const EVERY: Duration = Duration::from_secs(2);
/// A write that takes longer is as good as none.
const PATIENCE: Duration = Duration::from_secs(2);
/// Counting is for the dashboard, and once a minute is enough for it.
const COUNT_EVERY: u32 = 30;

/// Probes until `stop`.
pub(super) async fn run(store: Store, board: Board, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    let mut probe = store.write_probe();
    let mut counts = (0, 0);
    for round in 0u32.. {
        if stop.run_until_cancelled(tick.tick()).await.is_none() {
            return;
        }
        let error = match tokio::time::timeout(PATIENCE, probe.write()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(causes(&error)),
            Err(_) => Some(format!("no answer to a write within {} s", PATIENCE.as_secs())),
        };
        if error.is_none() && round % COUNT_EVERY == 0 {
            counts = count(&store).await.unwrap_or(counts);
        }
        say(&board, error, counts);
    }
}

async fn count(store: &Store) -> Result<(u64, u64), StoreError> {
    let negative = store.negative_balances().await?.iter().map(|(_, count)| count).sum();
    let dead_letters = store.status().await?.iter().map(|source| source.dead_letters_open).sum();
    Ok((negative, dead_letters))
}

fn say(board: &Board, error: Option<String>, (negative_balances, open_dead_letters): (u64, u64)) {
    let writable = error.is_none();
    if board.database().is_none_or(|before| before.writable != writable) {
        match &error {
            None => tracing::info!("database takes writes"),
            Some(error) => tracing::warn!(error, "database takes no writes"),
        }
    }
    board.set_database(DatabaseHealth { writable, error, negative_balances, open_dead_letters });
}
