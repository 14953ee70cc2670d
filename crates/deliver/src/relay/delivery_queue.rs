//! Delivers messages from the outbox to a receiver that answers each message over a public network: webhooks.
//!
//! A message that fails delays only messages about the same account and contract ([`DeliveryOrder`]). These wait in
//! `deliveries`, each key in its order, while the cursor moves on. When the schedule ends, the message becomes a dead
//! letter, and the next message with its key is tried. A message that the receiver refuses for its content becomes a
//! dead letter within seconds.
//!
//! An unreachable endpoint fails for every message. Rounds without a delivery are followed by the pauses of the
//! schedule, limited to five minutes, so that the daemon notices an endpoint that works again. Meanwhile the messages
//! stay in the outbox and are not copied to a second table. They also stay there while `max_held` messages wait.

mod round;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::judge::Cursor;
use super::report::DeliveryReport;
use super::stream::{POLL, beyond, envelope};
use super::turn::{self, NextStep, SinkDelivery, Steps};
use super::{CommitSignal, RelayError, RelayParts};
use crate::sink::{Delivered, Sink};
use chainflume_db::Epoch;
use chainflume_ops::metrics;
use chainflume_outbox::{Outbox, Position, SinkState};
use round::{DeliveryChunk, Outgoing, Round, Showing};
pub use round::{DeliveryOrder, Schedule};

/// How messages are delivered to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DeliverySettings {
    /// When a delivery is tried again.
    #[serde(skip)]
    pub schedule: Schedule,
    /// Types of messages to deliver, in full or with `*` for the rest: `stake.*`. Empty for all.
    #[serde(skip)]
    pub types: Vec<String>,
    /// Maximum number of parallel deliveries, of messages with different keys.
    #[serde(deserialize_with = "chainflume_core::settings::number::<1, 64, _, _>")]
    pub in_flight: usize,
    /// The messages that wait behind a failed delivery.
    pub order: DeliveryOrder,
    /// While this many messages wait for a try or behind one, no new messages are read from the outbox.
    #[serde(deserialize_with = "chainflume_core::settings::number::<100, 10_000_000, _, _>")]
    pub max_held: u64,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            types: Vec::new(),
            in_flight: 4,
            order: DeliveryOrder::default(),
            max_held: 10_000,
        }
    }
}

/// Delivers messages to one endpoint.
pub struct DeliveryQueue<S> {
    sink: S,
    outbox: Outbox,
    wake: CommitSignal,
    report: DeliveryReport,
    settings: DeliverySettings,
    /// Everything up to here is delivered or held. `None` until the first read, and again after a database error.
    cursor: Option<Position>,
    /// Whether the sink has no stored cursor yet.
    is_new: bool,
    /// The lease of this turn, if the sink has one.
    epoch: Option<Epoch>,
    /// Number of refused messages since the last delivery.
    refused: u64,
    /// Whether the report includes the stored last error of the sink.
    is_recalled: bool,
}

/// Number of messages per read.
const BATCH: u32 = 100;

/// Minimum pause between two reads of the database, even if messages are due earlier.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);

impl<S: Sink + Clone> DeliveryQueue<S> {
    /// Creates the queue without reading or sending anything.
    pub fn new(parts: RelayParts<S>, settings: DeliverySettings) -> Self {
        let RelayParts { sink, outbox, board, wake } = parts;
        let report = DeliveryReport::new(board, sink.name());
        Self {
            sink,
            outbox,
            wake,
            report,
            settings,
            cursor: None,
            is_new: false,
            epoch: None,
            refused: 0,
            is_recalled: false,
        }
    }

    /// One round: due retries first, since they are older, then new messages.
    async fn round(&mut self, stop: &CancellationToken) -> Result<NextStep, RelayError> {
        let state = self.outbox.sink_state(self.sink.name()).await?;
        self.report_state(&state);
        if state.foreign.is_some() {
            self.cursor = None;
            return Ok(NextStep::AtCommit(POLL));
        }
        let Some(cursor) = self.open().await? else { return Ok(NextStep::AtCommit(POLL)) };
        if state.disabled.is_some() {
            self.report.drained(cursor.seq);
            return Ok(NextStep::AtCommit(POLL));
        }
        if !state.paused.is_zero() {
            self.report.waiting();
            return Ok(NextStep::After(state.paused.min(POLL)));
        }
        let due = self.outbox.due_deliveries(self.sink.name(), BATCH).await?;
        if !due.is_empty() {
            let messages: Vec<Outgoing> = due.into_iter().map(Outgoing::from).collect();
            let round = self.send_all(&messages, BTreeSet::new(), Round::of_retries(), stop).await;
            return self.record(round, &state).await;
        }
        if state.held >= self.settings.max_held {
            if state.last > cursor.seq {
                self.report.waiting();
            } else {
                self.report.drained(cursor.seq);
            }
            return Ok(NextStep::After(state.due_in.unwrap_or(POLL).clamp(SHORTEST_WAIT, POLL)));
        }
        let seq = cursor.seq;
        let Some(rows) = self.outbox.read_after(cursor, BATCH).await? else {
            self.cursor = None;
            self.report.went_back(seq);
            return Ok(NextStep::Now);
        };
        let Some(first) = rows.first() else {
            self.report.drained(seq);
            return Ok(NextStep::AtCommit(state.due_in.unwrap_or(POLL).clamp(SHORTEST_WAIT, POLL)));
        };
        self.report.missed(Cursor { seq, is_new: self.is_new }, first.seq, first.missed(seq));
        let messages = round::wanted(rows, &self.settings.types, self.settings.order)?;
        let keys = messages.iter().filter_map(|message| message.about.as_ref());
        let keys = keys.flat_map(|about| [about.order_key.clone(), about.old_key.clone()]).collect();
        let held = self.outbox.held_keys(self.sink.name(), &keys).await?;
        let round = self.send_all(&messages, held, Round::of_new_messages(), stop).await;
        self.record(round, &state).await
    }

    /// The stored state of the sink. Its last error is reported also by an instance that did not see it.
    fn report_state(&mut self, state: &SinkState) {
        self.report.held(state, self.settings.max_held);
        self.report.disabled_for(state.disabled.as_deref());
        self.report.foreign(state.foreign.as_deref());
        if !self.is_recalled {
            self.report.recall(state.failures, state.last_error.as_deref());
            self.is_recalled = true;
        }
    }

    /// Tries messages in order until the endpoint fails. A refused message delays the messages with its key. `held` has the keys that
    /// are delayed already.
    async fn send_all(
        &self,
        mut rest: &[Outgoing],
        mut held: BTreeSet<String>,
        mut round: Round,
        stop: &CancellationToken,
    ) -> Round {
        while !rest.is_empty() && !round.is_over() && !stop.is_cancelled() {
            let DeliveryChunk { taken, send, behind } =
                round::next_chunk(rest, &held, self.settings.in_flight);
            self.send(&send, &mut round).await;
            held.extend(round.blocked(&send).map(str::to_owned));
            round.took(&rest[..taken], behind);
            rest = &rest[taken..];
        }
        round
    }

    /// Sends these messages in parallel: their keys differ.
    async fn send(&self, messages: &[Outgoing], round: &mut Round) {
        if !messages.is_empty() {
            self.report.waiting();
        }
        let since = Instant::now();
        let sent = messages.iter().map(|Outgoing { row, .. }| {
            let mut sink = self.sink.clone();
            async move {
                let begun = Instant::now();
                let sent = sink.deliver(&[Arc::new(envelope(row))]).await;
                (sent, begun.elapsed())
            }
        });
        for (Outgoing { row, attempts, .. }, (sent, took)) in messages.iter().zip(join_all(sent).await) {
            let outcome = sent.as_ref().map_or_else(|error| error.kind().as_str(), |_| "delivered");
            metrics::delivery(self.sink.name(), outcome, took);
            match sent {
                Ok(_) => {
                    let delivered = Delivered { upto: row.seq, repeats: Vec::new() };
                    self.report.delivered(std::slice::from_ref(row), &delivered, since);
                    round.delivered.push(row.seq);
                }
                Err(error) => round.failed.push((row.seq, *attempts, error)),
            }
        }
    }

    async fn record(&mut self, round: Round, state: &SinkState) -> Result<NextStep, RelayError> {
        let outcome = round.result(&self.settings.schedule, state, self.refused);
        self.outbox.finish_round(self.sink.name(), &outcome, self.epoch).await?;
        if let Some(seq) = outcome.cursor {
            self.cursor = Some(Position { seq, epoch: round.epoch.clone() });
        }
        self.is_new = false;
        for (seq, reason) in &outcome.dead {
            self.report.given_up(*seq, reason);
        }
        let showing = round.showing();
        self.refused = match showing {
            Showing::Refuses => self.refused + round.failed.len() as u64,
            Showing::Nothing => self.refused,
            Showing::Accepts | Showing::Fails => 0,
        };
        let is_well = matches!(showing, Showing::Accepts | Showing::Nothing);
        for (.., error) in &round.failed {
            if is_well { self.report.refused(error) } else { self.report.refused_all(error) }
        }
        if let Some(reason) = outcome.pace.as_ref().and_then(|pace| pace.disabled.as_deref()) {
            self.report.disabled(reason);
        }
        // A round without a delivery proves nothing: the sink may want none of its message types.
        if showing == Showing::Accepts {
            self.report.succeeded();
        }
        if is_well {
            self.report.moved(self.cursor.as_ref().map_or(0, |cursor| cursor.seq));
        }
        Ok(NextStep::Now)
    }

    /// The position to continue from; `None` until an operator decides.
    async fn open(&mut self) -> Result<Option<Position>, RelayError> {
        if self.cursor.is_none() {
            let start = self.outbox.sink_start(self.sink.name()).await?;
            let cursor = start.cursor.unwrap_or(0);
            if cursor > start.last {
                let reason = beyond(cursor, start.last);
                self.outbox.note_foreign(self.sink.name(), &reason, self.epoch).await?;
                return Ok(None);
            }
            self.is_new = start.cursor.is_none();
            self.cursor = Some(cursor.into());
            self.report.opened(cursor);
        }
        Ok(self.cursor.clone())
    }
}

impl<S: Sink + Clone + Sync> SinkDelivery for DeliveryQueue<S> {
    fn sink(&self) -> &str {
        self.sink.name()
    }

    async fn run_turn(&mut self, epoch: Option<Epoch>, stop: CancellationToken) {
        turn::run(self, epoch, stop).await;
    }
}

impl<S: Sink + Clone + Sync> Steps for DeliveryQueue<S> {
    fn name(&self) -> &str {
        self.sink.name()
    }

    fn begin(&mut self, epoch: Option<Epoch>) {
        (self.epoch, self.cursor, self.is_recalled) = (epoch, None, false);
    }

    /// An instance that has lost its lease without knowing may send a repeat; the result is not stored.
    async fn step(&mut self, stop: &CancellationToken) -> Result<NextStep, RelayError> {
        self.round(stop).await
    }

    fn failed(&mut self, _error: &RelayError) {
        (self.cursor, self.is_recalled) = (None, false);
    }

    async fn end(&mut self) -> Result<(), RelayError> {
        Ok(())
    }

    fn report(&self) -> &DeliveryReport {
        &self.report
    }

    fn signal(&mut self) -> &mut CommitSignal {
        &mut self.wake
    }
}
