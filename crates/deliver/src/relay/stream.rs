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
    /// Where messages go.
    pub sink: S,
    /// The database, migrated.
    pub outbox: Outbox,
    /// The health board.
    pub board: Board,
    /// When to look.
    pub wake: CommitSignal,
}

/// Carries messages to one sink, in the order of their numbers.
///
/// The cursor in the database follows what was delivered and never leads: whatever happens, messages are sent again
/// rather than left out, and the sink refuses repeats.
pub struct Relay<S> {
    sink: S,
    outbox: Outbox,
    wake: CommitSignal,
    report: DeliveryReport,
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

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamStep {
    Delivered,
    Nothing,
    /// The sink holds messages that this database never sent: operator action required.
    Foreign,
}

impl<S: Sink> Relay<S> {
    /// Nothing is read and nothing sent yet.
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

    /// One step: a look at the sink when it is due, then a batch.
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
            self.report.at(seq, true);
            return Ok(StreamStep::Nothing);
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

    /// Asks the sink what it holds, and goes back to where it lost something, or to what is still kept after that. `None` where
    /// it holds what this database never sent.
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
    async fn stop_delivery(&mut self, reason: &str) -> Result<StreamStep, RelayError> {
        self.outbox.note_foreign(self.sink.name(), reason, self.epoch).await?;
        self.forget();
        self.report.foreign(Some(reason));
        Ok(StreamStep::Foreign)
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

    /// How long to wait for the next commit: no longer than until the cursor is to be written.
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
        counterparty_user_id: row.counterparty_user_id,
        json: row.message.clone(),
    }
}
