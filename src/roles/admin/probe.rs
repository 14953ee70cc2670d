//! Asks the database again and again whether it takes writes. A connection that answers reads proves
//! nothing: after a failover it may lead to a standby.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use chainflume_core::domain::causes;
use chainflume_db::StoreError;
use chainflume_ops::alert::CLOCK_OFF;
use chainflume_ops::health::{Board, DatabaseHealth, Heartbeat};
use chainflume_store::Store;

/// Readiness is true within five seconds, so this and [`WRITE_TIMEOUT`] stay below.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// A write that takes longer counts as failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// Counting is for the dashboard, and once a minute is enough for it. Dead letters raise alerts.
const COUNT_BALANCES_EVERY: u32 = 30;
const LETTERS_EVERY: u32 = 5;

/// Probes until `stop`.
pub(super) async fn run(store: Store, board: Board, stop: CancellationToken, heartbeat: Heartbeat) {
    let mut tick = tokio::time::interval(PROBE_INTERVAL);
    let mut probe = store.write_probe();
    let mut negative = 0;
    let mut letters = OpenLetters::default();
    for round in 0u32.. {
        if stop.run_until_cancelled(tick.tick()).await.is_none() {
            return;
        }
        heartbeat.beat();
        let error = match tokio::time::timeout(WRITE_TIMEOUT, probe.write()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(causes(&error)),
            Err(_) => Some(format!("no answer to a write within {} s", WRITE_TIMEOUT.as_secs())),
        };
        if error.is_none()
            && board.database_identity().is_none()
            && let Some(identity) = in_time(store.identity()).await
        {
            board.set_database_identity(identity);
        }
        if error.is_none() && round % COUNT_BALANCES_EVERY == 0 {
            negative = in_time(negative_balances(&store)).await.unwrap_or(negative);
        }
        if error.is_none()
            && round % LETTERS_EVERY == 0
            && let Some(open) = in_time(store.count_dead_letters()).await
        {
            letters.count(open);
        }
        if error.is_none()
            && round % LETTERS_EVERY == 0
            && let Some(Some(ahead)) = in_time(store.clock_ahead()).await
        {
            note_clock(&board, ahead);
        }
        report(&board, error.or_else(|| disk_full(&board)), negative, &letters);
    }
}

/// How many dead letters are open. Those that were there at the start are no news.
#[derive(Default)]
struct OpenLetters {
    open: Option<u64>,
    rose_at: Option<Instant>,
}

impl OpenLetters {
    fn count(&mut self, open: u64) {
        if self.open.is_some_and(|before| open > before) {
            self.rose_at = Some(Instant::now());
        }
        self.open = Some(open);
    }
}

/// A database that freezes between the write and a count must not hold up the next probe.
async fn in_time<T>(count: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    tokio::time::timeout(WRITE_TIMEOUT, count).await.ok()?.ok()
}

async fn negative_balances(store: &Store) -> Result<u64, StoreError> {
    Ok(store.negative_balances().await?.iter().map(|(_, count)| count).sum())
}

/// Notes by how much the clock of the database is ahead, and logs once that the clocks are too far apart.
fn note_clock(board: &Board, ahead: f64) {
    let is_off = |ahead: f64| ahead.abs() > CLOCK_OFF;
    let was_off = board.clock_ahead().is_some_and(is_off);
    board.set_clock_ahead(ahead);
    if is_off(ahead) != was_off {
        match was_off {
            false => tracing::warn!(
                seconds = ahead,
                "the clocks of this machine and the database differ; synchronise them"
            ),
            true => {
                tracing::info!(seconds = ahead, "the clocks of this machine and the database agree again")
            }
        }
    }
}

/// The probe's row fits into a page that is there. Where the disk is full, the writer that needs another page reports it.
fn disk_full(board: &Board) -> Option<String> {
    const WORDS: &str = "No space left on device";
    let mut errors = board.chains().into_values().filter_map(|chain| chain.errors.last);
    errors.find(|error| error.contains(WORDS))
}

fn report(board: &Board, error: Option<String>, negative_balances: u64, letters: &OpenLetters) {
    let writable = error.is_none();
    if board.database().is_none_or(|before| before.writable != writable) {
        match &error {
            None => tracing::info!("database takes writes"),
            Some(error) => tracing::warn!(error, "database takes no writes"),
        }
    }
    board.set_database(DatabaseHealth {
        writable,
        error,
        negative_balances,
        open_dead_letters: letters.open.unwrap_or(0),
        letters_rose_at: letters.rose_at,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_a_database_that_takes_no_writes() {
        let board = Board::default();
        board.chain("dev", |chain| chain.errors.last = Some("the node is away".to_owned()));
        assert_eq!(disk_full(&board), None);
        let full = "database: could not extend file \"base/1/2\": No space left on device";
        board.chain("other", |chain| chain.errors.last = Some(full.to_owned()));
        assert_eq!(disk_full(&board).as_deref(), Some(full));
        report(&board, disk_full(&board), 0, &OpenLetters::default());
        let database = board.database().expect("it was reported");
        assert_eq!((database.writable, database.error.as_deref()), (false, Some(full)));
    }
}
