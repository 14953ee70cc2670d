use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::judge::{Cursor, Ownership, judge};
use super::report::DeliveryReport;
use super::turn::{self, NextStep, SinkDelivery, Steps};
use super::{CommitSignal, RelayError};
use crate::sink::{Sink, SinkError};
use chainflume_core::domain::Envelope;
use chainflume_db::Epoch;
use chainflume_ops::health::Board;
use chainflume_outbox::{Outbox, OutboxRow, Position};

/// The parts of a relay.
pub struct RelayParts<S> {
    /// The sink.
    pub sink: S,
    /// The database, migrated.
    pub outbox: Outbox,
    /// The health board.
    pub board: Board,
    /// Wakes the relay.
    pub wake: CommitSignal,
}

/// Delivers messages to one sink, in the order of their numbers.
///
/// The stored cursor follows the deliveries and never precedes them. So a fault causes repeats, which the sink refuses,
/// and never a gap.
pub struct Relay<S> {
    sink: S,
    outbox: Outbox,
    wake: CommitSignal,
    report: DeliveryReport,
    /// Everything up to here is delivered. `None` until the first read, while the sink is foreign, and after a database
    /// error: the database may have been restored to an earlier state.
    cursor: Option<Position>,
    /// Whether the sink has no stored cursor: it is owed no earlier messages.
    is_new: bool,
    /// The stored cursor, and the time of that write.
    saved: (u64, Instant),
    /// The lease of this turn, if the sink has one.
    epoch: Option<Epoch>,
    /// The time of the last check of the sink's streams. `None` after any error: another server may answer now.
    looked_at: Option<Instant>,
}

/// Messages per batch. The limit keeps memory use and the time of one answer small.
const BATCH: u32 = 500;
/// Maximum delay after a lost notification.
pub(super) const POLL: Duration = Duration::from_secs(1);
/// Minimum pause between two writes of the cursor; the sink refuses the repeats after a crash.
const SAVE_EVERY: Duration = Duration::from_millis(250);
/// Pause between two checks of an idle sink: a sink that loses messages while none are sent is refilled within this
/// time.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamStep {
    Delivered,
    Nothing,
    /// The sink holds messages that this database never sent: operator action required.
    Foreign,
}

impl<S: Sink> Relay<S> {
    /// Creates the relay without reading or sending anything.
    pub fn new(parts: RelayParts<S>) -> Self {
        let RelayParts { sink, outbox, board, wake } = parts;
        let report = DeliveryReport::new(board, sink.name());
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

    /// Runs without a lease, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        turn::run(&mut self, None, stop).await;
    }

    /// One step: a check of the sink when it is due, then a batch.
    async fn deliver_next(&mut self) -> Result<StreamStep, RelayError> {
        let Some(mut cursor) = self.open().await? else { return Ok(StreamStep::Foreign) };
        if self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            let Some(looked) = self.check_sink(cursor).await? else { return Ok(StreamStep::Foreign) };
            cursor = looked;
        }
        let (seq, read_at) = (cursor.seq, Instant::now());
        let Some(rows) = self.outbox.read_after(cursor, BATCH).await? else {
            self.forget();
            self.report.went_back(seq);
            return Ok(StreamStep::Delivered);
        };
        let Some(first) = rows.first() else {
            self.save(SAVE_EVERY).await?;
            self.report.drained(seq);
            return Ok(StreamStep::Nothing);
        };
        self.report.waiting();
        self.report.missed(Cursor { seq, is_new: self.is_new }, first.seq, first.missed(seq));
        let batch: Vec<Arc<Envelope>> = rows.iter().map(|row| Arc::new(envelope(row))).collect();
        let delivered = match self.sink.deliver(&batch).await {
            Err(error @ SinkError::Foreign { .. }) => return self.stop_delivery(&error.to_string()).await,
            delivered => delivered?,
        };
        self.report.delivered(&rows, &delivered, read_at);
        let epoch = rows.iter().rfind(|row| row.seq <= delivered.upto).map(|row| row.epoch.epoch.clone());
        (self.cursor, self.is_new) = (Some(Position { seq: delivered.upto, epoch }), false);
        self.report.moved(delivered.upto);
        self.save(SAVE_EVERY).await?;
        Ok(StreamStep::Delivered)
    }

    /// The position to continue from; `None` while operator action is required.
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

    /// Checks the streams of the sink. After a loss, returns to the last delivered message, or to the oldest stored
    /// one. `None` if the sink holds messages that this database never sent.
    async fn check_sink(&mut self, cursor: Position) -> Result<Option<Position>, RelayError> {
        self.sink.follow(&self.outbox.aggregate_types().await?)?;
        let streams = self.sink.look().await?;
        let tops: Vec<u64> = streams.iter().map(|stream| stream.top).collect();
        let lineage = self.outbox.lineage(self.sink.name(), cursor.seq, &tops).await?;
        let held = match judge(&streams, &lineage, Cursor { seq: cursor.seq, is_new: self.is_new }) {
            Ownership::Ours(held) => held,
            Ownership::Foreign(reason) => {
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
            let cursor = Cursor { seq: held, is_new: self.is_new };
            self.report.missed(cursor, lineage.first, lineage.between(held, lineage.first));
        }
        self.looked_at = Some(Instant::now());
        if from == cursor.seq {
            return Ok(Some(cursor));
        }
        self.cursor = Some(from.into());
        self.report.opened(from);
        // First of all: messages to repeat must not be deleted meanwhile.
        self.save(Duration::ZERO).await?;
        Ok(self.cursor.clone())
    }

    /// Stops sending to the sink until an operator decides, also after a restart.
    async fn stop_delivery(&mut self, reason: &str) -> Result<StreamStep, RelayError> {
        self.outbox.note_foreign(self.sink.name(), reason, self.epoch).await?;
        self.forget();
        self.report.foreign(Some(reason));
        Ok(StreamStep::Foreign)
    }

    /// Forgets the state of database and sink, which may be out of date.
    fn forget(&mut self) {
        (self.cursor, self.looked_at) = (None, None);
    }

    /// Writes the cursor if it moved and its last write is `every` ago or longer.
    async fn save(&mut self, every: Duration) -> Result<(), RelayError> {
        let Some(cursor) = self.cursor.as_ref().map(|cursor| cursor.seq) else { return Ok(()) };
        if cursor != self.saved.0 && self.saved.1.elapsed() >= every {
            self.outbox.note_sink_cursor(self.sink.name(), cursor, self.epoch).await?;
            self.saved = (cursor, Instant::now());
        }
        Ok(())
    }

    /// How long to wait for the next commit: at most until the cursor is due to be written.
    fn time_to_save(&self) -> Duration {
        match self.cursor.as_ref().map(|cursor| cursor.seq) {
            Some(cursor) if cursor != self.saved.0 => SAVE_EVERY.saturating_sub(self.saved.1.elapsed()),
            _ => POLL,
        }
    }
}

impl<S: Sink> SinkDelivery for Relay<S> {
    fn sink(&self) -> &str {
        self.sink.name()
    }

    async fn run_turn(&mut self, epoch: Option<Epoch>, stop: CancellationToken) {
        turn::run(self, epoch, stop).await;
    }
}

impl<S: Sink> Steps for Relay<S> {
    fn name(&self) -> &str {
        self.sink.name()
    }

    fn begin(&mut self, epoch: Option<Epoch>) {
        (self.epoch, self.cursor, self.looked_at) = (epoch, None, None);
    }

    async fn step(&mut self, _stop: &CancellationToken) -> Result<NextStep, RelayError> {
        let step = self.deliver_next().await?;
        if step == StreamStep::Foreign {
            return Ok(NextStep::After(POLL));
        }
        self.report.succeeded();
        Ok(if step == StreamStep::Nothing { NextStep::AtCommit(self.time_to_save()) } else { NextStep::Now })
    }

    fn failed(&mut self, error: &RelayError) {
        self.looked_at = None;
        if matches!(error, RelayError::Store(_)) {
            self.cursor = None;
        }
    }

    async fn end(&mut self) -> Result<(), RelayError> {
        self.save(Duration::ZERO).await
    }

    fn report(&self) -> &DeliveryReport {
        &self.report
    }

    fn signal(&mut self) -> &mut CommitSignal {
        &mut self.wake
    }
}

/// Why delivery stopped for a sink that is ahead of the database.
pub(super) fn beyond(cursor: u64, last: u64) -> String {
    format!("messages up to {cursor} were delivered, but {last} is the newest number of this database")
}

pub(super) fn envelope(row: &OutboxRow) -> Envelope {
    Envelope {
        seq: row.seq,
        epoch: row.epoch.epoch.clone(),
        aggregate_type: row.aggregate_type.clone(),
        message_type: row.message_type.clone(),
        state: row.state,
        user_id: row.user_id,
        counterparty_user_id: row.counterparty_user_id,
        json: row.message.clone(),
    }
}
