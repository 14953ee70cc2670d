use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::report::Report;
use super::{MAX_PAUSE, RelayError, Wake, backoff};
use crate::domain::Envelope;
use crate::health::Board;
use crate::sink::{Given, Sink, SinkError};
use crate::store::{Epoch, OutboxRow, Store};

/// What a relay is built of.
pub struct Parts<S> {
    /// Where messages go.
    pub sink: S,
    /// The database, migrated.
    pub store: Store,
    /// Where to say how it goes.
    pub board: Board,
    /// When to look.
    pub wake: Wake,
}

/// Carries messages to one sink, in the order of their numbers.
///
/// The cursor in the database follows what was delivered and never leads: whatever happens, messages are sent again
/// rather than left out, and the sink refuses repeats.
pub struct Relay<S> {
    sink: S,
    store: Store,
    wake: Wake,
    report: Report,
    /// Everything up to here is delivered. `None` until it is read, and again after an error of the database, which may
    /// have been restored to an earlier time.
    cursor: Option<u64>,
    /// Whether the sink never had a cursor: it was promised nothing of what was before.
    is_new: bool,
    /// The cursor as the database has it, and since when.
    saved: (u64, Instant),
    /// Of the turn, where there are turns.
    epoch: Option<Epoch>,
    /// When the sink was last asked what it holds. `None` after any error: it may be another server now.
    looked_at: Option<Instant>,
}

/// Messages carried at once: memory, and the time for which a sink is busy with one answer, stay small.
const BATCH: u32 = 500;
/// How long a lost announcement may go unnoticed.
pub(super) const POLL: Duration = Duration::from_secs(1);
/// The cursor is written no more often; what is repeated after a crash is refused by the sink.
const SAVE_EVERY: Duration = Duration::from_millis(250);
/// How often a sink is asked what it holds while nothing is wrong: a sink that lost something while nothing is
/// sent to it is filled again within that time.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How long what is in hand may take once the daemon is to stop. A sink that hangs is left then, unlike a commit: what it
/// makes of the batch does not matter, since it is sent again.
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Delivered,
    Nothing,
}

impl<S: Sink> Relay<S> {
    /// Nothing is read and nothing sent yet.
    pub fn new(parts: Parts<S>) -> Self {
        let Parts { sink, store, board, wake } = parts;
        let report = Report::new(board, sink.name());
        Self {
            sink,
            store,
            wake,
            report,
            cursor: None,
            is_new: false,
            saved: (0, Instant::now()),
            epoch: None,
            looked_at: None,
        }
    }

    /// Of the sink.
    pub(super) fn name(&self) -> &str {
        self.sink.name()
    }

    /// Carries as the sink's only carrier, without a lease, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        self.carry(None, stop).await;
    }

    /// Carries messages until `stop`, or until another instance leads. An error is told, waited out and tried again, for as
    /// long as it takes. What is in hand is finished, and the cursor written.
    pub(super) async fn carry(&mut self, epoch: Option<Epoch>, stop: CancellationToken) {
        // What an earlier turn knew, another instance has gone beyond.
        (self.epoch, self.cursor, self.looked_at) = (epoch, None, None);
        let mut pause = backoff();
        while !stop.is_cancelled() {
            self.report.beat();
            let stepped = tokio::select! {
                biased;
                stepped = self.step() => stepped,
                () = grace(&stop, GRACE) => break,
            };
            match stepped {
                Ok(step) => {
                    if self.report.succeeded() {
                        pause = backoff();
                    }
                    if step == Step::Nothing {
                        let _stopped = stop.run_until_cancelled(self.wake.wait(self.patience())).await;
                    }
                }
                Err(RelayError::Store(error)) if error.is_fenced() => {
                    tracing::warn!(sink = self.sink.name(), %error, "this instance does not carry any more");
                    return;
                }
                Err(error) => {
                    self.failed(&error);
                    let wait = pause.next().unwrap_or(MAX_PAUSE);
                    let _stopped = stop.run_until_cancelled(tokio::time::sleep(wait)).await;
                }
            }
        }
        if let Ok(Err(error)) = tokio::time::timeout(GRACE, self.save(Duration::ZERO)).await {
            self.report.failed(&error);
        }
    }

    /// One step: a look at the sink when it is due, then a batch.
    async fn step(&mut self) -> Result<Step, RelayError> {
        let mut cursor = self.open().await?;
        if self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            cursor = self.look(cursor).await?;
        }
        let read_at = Instant::now();
        let rows = self.store.outbox_after(cursor, BATCH).await?;
        let Some(first) = rows.first().map(|row| row.seq) else {
            self.save(SAVE_EVERY).await?;
            self.report.at(cursor, true);
            return Ok(Step::Nothing);
        };
        self.report.waiting();
        if first > cursor + 1 {
            self.report.missed(cursor, first, self.is_new);
        }
        let batch: Vec<Arc<Envelope>> = rows.iter().map(|row| Arc::new(envelope(row))).collect();
        let delivered = self.sink.deliver(&batch).await?;
        self.report.delivered(&rows, &delivered, read_at);
        (self.cursor, self.is_new) = (Some(delivered.upto), false);
        self.report.at(delivered.upto, false);
        self.save(SAVE_EVERY).await?;
        Ok(Step::Delivered)
    }

    async fn open(&mut self) -> Result<u64, RelayError> {
        if let Some(cursor) = self.cursor {
            return Ok(cursor);
        }
        let stored = self.store.sink_cursor(self.sink.name()).await?;
        let cursor = stored.unwrap_or(0);
        self.is_new = stored.is_none();
        (self.cursor, self.saved) = (Some(cursor), (cursor, Instant::now()));
        self.report.opened(cursor);
        Ok(cursor)
    }

    /// Asks the sink what it holds, and goes back to where it lost something, or to what is still kept after that.
    async fn look(&mut self, cursor: u64) -> Result<u64, RelayError> {
        let (held, first) = match self.ask(cursor).await {
            // A second relay, started by mistake, may have sent what was committed after we read: once more, then.
            Err(RelayError::Sink(SinkError::Foreign { .. })) => self.ask(cursor).await?,
            asked => asked?,
        };
        if held < cursor {
            self.report.lost(held, cursor);
        }
        let from = held.max(first.saturating_sub(1));
        if from > held {
            self.report.missed(held, first, self.is_new);
        }
        if from != cursor {
            self.cursor = Some(from);
            self.report.opened(from);
            // Before anything else: what is to be sent again must not be trimmed meanwhile.
            self.save(Duration::ZERO).await?;
        }
        self.looked_at = Some(Instant::now());
        Ok(from)
    }

    /// Up to where the sink holds everything, and the oldest message the outbox keeps.
    async fn ask(&mut self, cursor: u64) -> Result<(u64, u64), RelayError> {
        let ends = self.store.outbox_ends(cursor).await?;
        let state = self.store.outbox_state().await?;
        let held = self.sink.resume(&Given { cursor, newest: state.last, ends }).await?;
        Ok((held, state.first))
    }

    /// Writes the cursor if it moved and was last written `every` ago or longer.
    async fn save(&mut self, every: Duration) -> Result<(), RelayError> {
        let Some(cursor) = self.cursor else { return Ok(()) };
        if cursor != self.saved.0 && self.saved.1.elapsed() >= every {
            self.store.note_sink_cursor(self.sink.name(), cursor, self.epoch).await?;
            self.saved = (cursor, Instant::now());
        }
        Ok(())
    }

    fn failed(&mut self, error: &RelayError) {
        self.report.failed(error);
        self.looked_at = None;
        if matches!(error, RelayError::Store(_)) {
            self.cursor = None;
        }
    }

    /// How long to wait for the next commit: no longer than until the cursor is to be written.
    fn patience(&self) -> Duration {
        match self.cursor {
            Some(cursor) if cursor != self.saved.0 => SAVE_EVERY.saturating_sub(self.saved.1.elapsed()),
            _ => POLL,
        }
    }
}

/// Ends so long after `stop`.
pub(super) async fn grace(stop: &CancellationToken, grace: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(grace).await;
}

pub(super) fn envelope(row: &OutboxRow) -> Envelope {
    Envelope {
        seq: row.seq,
        aggregate_type: row.aggregate_type.clone(),
        message_type: row.message_type.clone(),
        state: row.state.clone(),
        user_id: row.user_id,
        json: row.message.clone(),
    }
}
