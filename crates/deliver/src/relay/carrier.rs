use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::judge::{Cursor, Verdict, judge};
use super::report::Report;
use super::{MAX_PAUSE, RelayError, Wake, backoff};
use crate::sink::{Sink, SinkError};
use chainflume_core::domain::Envelope;
use chainflume_db::Epoch;
use chainflume_ops::health::Board;
use chainflume_outbox::{Outbox, OutboxRow, Position};

/// What a relay is built of.
pub struct Parts<S> {
    /// Where messages go.
    pub sink: S,
    /// The database, migrated.
    pub outbox: Outbox,
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
    outbox: Outbox,
    wake: Wake,
    report: Report,
    /// Everything up to here is delivered. `None` until it is read, while the sink is foreign, and again after an error of the
    /// database, which may have been restored to an earlier time.
    cursor: Option<Position>,
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
    /// The sink holds what this database never sent: an operator has to decide.
    Foreign,
}

impl<S: Sink> Relay<S> {
    /// Nothing is read and nothing sent yet.
    pub fn new(parts: Parts<S>) -> Self {
        let Parts { sink, outbox, board, wake } = parts;
        let report = Report::new(board, sink.name());
        Self {
            sink,
            outbox,
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
                Ok(Step::Foreign) => {
                    let _stopped = stop.run_until_cancelled(tokio::time::sleep(POLL)).await;
                }
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
        let Some(mut cursor) = self.open().await? else { return Ok(Step::Foreign) };
        if self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            let Some(looked) = self.look(cursor).await? else { return Ok(Step::Foreign) };
            cursor = looked;
        }
        let (seq, read_at) = (cursor.seq, Instant::now());
        let Some(rows) = self.outbox.read_after(cursor, BATCH).await? else {
            self.forget();
            self.report.went_back(seq);
            return Ok(Step::Delivered);
        };
        let Some(first) = rows.first() else {
            self.save(SAVE_EVERY).await?;
            self.report.at(seq, true);
            return Ok(Step::Nothing);
        };
        self.report.waiting();
        self.report.missed(seq, first.seq, (first.missed(seq), self.is_new));
        let batch: Vec<Arc<Envelope>> = rows.iter().map(|row| Arc::new(envelope(row))).collect();
        let delivered = match self.sink.deliver(&batch).await {
            Err(error @ SinkError::Foreign { .. }) => return self.stop_delivery(&error.to_string()).await,
            delivered => delivered?,
        };
        self.report.delivered(&rows, &delivered, read_at);
        let epoch = rows.iter().rfind(|row| row.seq <= delivered.upto).map(|row| row.epoch.epoch.clone());
        (self.cursor, self.is_new) = (Some(Position { seq: delivered.upto, epoch }), false);
        self.report.at(delivered.upto, false);
        self.save(SAVE_EVERY).await?;
        Ok(Step::Delivered)
    }

    /// Where to go on; `None` while an operator has to decide.
    async fn open(&mut self) -> Result<Option<Position>, RelayError> {
        if let Some(cursor) = &self.cursor {
            return Ok(Some(cursor.clone()));
        }
        let start = self.outbox.sink_start(self.sink.name()).await?;
        if let Some(reason) = &start.foreign {
            self.report.foreign(Some(reason));
            return Ok(None);
        }
        let cursor = start.cursor.unwrap_or(0);
        if cursor > start.last {
            self.stop_delivery(&beyond(cursor, start.last)).await?;
            return Ok(None);
        }
        self.is_new = start.cursor.is_none();
        (self.cursor, self.saved) = (Some(cursor.into()), (cursor, Instant::now()));
        self.report.opened(cursor);
        Ok(self.cursor.clone())
    }

    /// Asks the sink what it holds, and goes back to where it lost something, or to what is still kept after that. `None` where
    /// it holds what this database never sent.
    async fn look(&mut self, cursor: Position) -> Result<Option<Position>, RelayError> {
        let streams = self.sink.look().await?;
        let tops: Vec<u64> = streams.iter().map(|stream| stream.top).collect();
        let lineage = self.outbox.lineage(self.sink.name(), cursor.seq, &tops).await?;
        let held = match judge(&streams, &lineage, Cursor { seq: cursor.seq, is_new: self.is_new }) {
            Verdict::Ours(held) => held,
            Verdict::Foreign(reason) => {
                self.stop_delivery(&reason).await?;
                return Ok(None);
            }
        };
        self.report.foreign(None);
        if held < cursor.seq {
            self.report.lost(held, cursor.seq);
        }
        let from = held.max(lineage.first.saturating_sub(1));
        if from > held {
            self.report.missed(held, lineage.first, (lineage.between(held, lineage.first), self.is_new));
        }
        self.looked_at = Some(Instant::now());
        if from == cursor.seq {
            return Ok(Some(cursor));
        }
        self.cursor = Some(from.into());
        self.report.opened(from);
        // Before anything else: what is to be sent again must not be trimmed meanwhile.
        self.save(Duration::ZERO).await?;
        Ok(self.cursor.clone())
    }

    /// Sends nothing more to the sink, also after a restart, until an operator decides.
    async fn stop_delivery(&mut self, reason: &str) -> Result<Step, RelayError> {
        self.outbox.note_foreign(self.sink.name(), reason, self.epoch).await?;
        self.forget();
        self.report.foreign(Some(reason));
        Ok(Step::Foreign)
    }

    /// What was known of database and sink may not be true any more.
    fn forget(&mut self) {
        (self.cursor, self.looked_at) = (None, None);
    }

    /// Writes the cursor if it moved and was last written `every` ago or longer.
    async fn save(&mut self, every: Duration) -> Result<(), RelayError> {
        let Some(cursor) = self.cursor.as_ref().map(|cursor| cursor.seq) else { return Ok(()) };
        if cursor != self.saved.0 && self.saved.1.elapsed() >= every {
            self.outbox.note_sink_cursor(self.sink.name(), cursor, self.epoch).await?;
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
        match self.cursor.as_ref().map(|cursor| cursor.seq) {
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

/// Why nothing is sent to a sink that is further than the database.
pub(super) fn beyond(cursor: u64, last: u64) -> String {
    format!("it was given everything up to {cursor}, and {last} is the newest number of this database")
}

pub(super) fn envelope(row: &OutboxRow) -> Envelope {
    Envelope {
        seq: row.seq,
        epoch: row.epoch.epoch.clone(),
        aggregate_type: row.aggregate_type.clone(),
        message_type: row.message_type.clone(),
        state: row.state.clone(),
        user_id: row.user_id,
        json: row.message.clone(),
    }
}
