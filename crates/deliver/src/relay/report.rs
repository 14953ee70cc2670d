//! Health, metrics and log lines of a relay.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::RelayError;
use super::judge::Cursor;
use crate::sink::{Delivered, SinkError};
use chainflume_core::domain::causes;
use chainflume_ops::health::Board;
use chainflume_ops::metrics::{self, SinkErrorKind};
use chainflume_ops::telemetry::{ErrorStreak, ErrorText, LogLimiter};
use chainflume_outbox::{OutboxRow, SinkState};

/// The remedies for a sink that holds messages that this database never sent.
pub fn remedy(sink: &str) -> String {
    format!(
        "`chainflume sinks adopt {sink}` goes on after what it holds, `chainflume sinks reset {sink}` empties it and sends \
         everything that is kept again"
    )
}

/// Reports about one sink.
pub(super) struct DeliveryReport {
    board: Board,
    sink: String,
    troubles: ErrorStreak,
    lines: LogLimiter,
}

/// Why nothing is delivered.
struct DeliveryFailure {
    kind: SinkErrorKind,
    /// Whether a retry may succeed; else operator action is required.
    is_transient: bool,
    text: String,
}

impl DeliveryReport {
    pub(super) fn new(board: Board, sink: &str) -> Self {
        board.sink(sink, |_| {});
        metrics::sink_starts(sink);
        Self { board, sink: sink.to_owned(), troubles: ErrorStreak::default(), lines: LogLimiter::default() }
    }

    /// The loop has turned.
    pub(super) fn beat(&self) {
        self.board.sink(&self.sink, |sink| sink.alive_at = Instant::now());
    }

    /// Records that messages wait from now on, unless they waited before.
    pub(super) fn waiting(&self) {
        self.board.sink(&self.sink, |sink| {
            sink.waiting_since.get_or_insert_with(Instant::now);
        });
    }

    /// Delivery begins after `cursor`. Messages count as waiting until a step finds none: the sink may have lost some.
    pub(super) fn opened(&self, cursor: u64) {
        self.board.sink(&self.sink, |sink| {
            sink.delivered = Some(cursor);
            sink.waiting_since.get_or_insert_with(Instant::now);
        });
    }

    /// Everything up to `cursor` is delivered, and no messages wait.
    pub(super) fn drained(&self, cursor: u64) {
        self.board.sink(&self.sink, |sink| {
            sink.delivered = Some(cursor);
            sink.waiting_since = None;
        });
    }

    /// Everything up to `cursor` is delivered. Messages after it count as waiting from now on.
    pub(super) fn moved(&self, cursor: u64) {
        self.board.sink(&self.sink, |sink| {
            sink.delivered = Some(cursor);
            sink.waiting_since = Some(Instant::now());
        });
    }

    /// Part of a batch, read at `since`, is delivered.
    pub(super) fn delivered(&self, rows: &[OutboxRow], delivered: &Delivered, since: Instant) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let fresh = rows
            .iter()
            .filter(|row| row.seq <= delivered.upto && delivered.repeats.binary_search(&row.seq).is_err());
        for row in fresh {
            let age = Duration::from_micros(u64::try_from(row.age_micros).unwrap_or(0)) + since.elapsed();
            let seen = row.seen_micros.and_then(|at| u64::try_from(at).ok()).map(Duration::from_micros);
            let since_head = seen.map(|seen| now.saturating_sub(seen));
            metrics::published(&self.sink, &row.message_type, row.state.as_str(), age, since_head);
        }
        metrics::repeated(&self.sink, delivered.repeats.len() as u64);
    }

    /// The sink lost the messages after `from`.
    pub(super) fn lost(&self, from: u64, cursor: u64) {
        metrics::sink_lost(&self.sink);
        if let Some(suppressed) = self.lines.admit("lost messages") {
            let suppressed = suppressed.field();
            tracing::warn!(sink = %self.sink, from, cursor, suppressed, "the sink lost delivered messages; they are sent again");
        }
    }

    /// This many messages for the sink, between `cursor` and `first`, were trimmed before their delivery.
    pub(super) fn missed(&self, cursor: Cursor, first: u64, missed: u64) {
        if missed == 0 {
            return;
        }
        let after = cursor.seq;
        if cursor.is_new {
            tracing::info!(sink = %self.sink, first, "the sink begins with the oldest stored message");
            return;
        }
        metrics::missed(&self.sink, missed);
        tracing::error!(sink = %self.sink, after, first, missed, "messages were deleted before their delivery; delivery continues with the oldest stored message");
    }

    /// The database lacks messages that were delivered: it was restored to an older state, or lost commits.
    pub(super) fn went_back(&self, cursor: u64) {
        tracing::warn!(sink = %self.sink, cursor, "the database was restored or lost commits; its position of the sink is read again");
    }

    /// Whether the sink holds messages that this database never sent, and which.
    pub(super) fn foreign(&self, reason: Option<&str>) {
        let text = reason.map(|reason| format!("{reason}; {}", remedy(&self.sink)));
        let mut news = false;
        self.board.sink(&self.sink, |sink| {
            news = sink.foreign != text;
            sink.foreign.clone_from(&text);
            if text.is_some() {
                sink.waiting_since.get_or_insert_with(Instant::now);
            }
        });
        match text {
            Some(text) if news => {
                tracing::error!(sink = %self.sink, error = %text, "delivery stopped: operator action required")
            }
            None if news => tracing::info!(sink = %self.sink, "delivery resumed"),
            _ => {}
        }
    }

    /// The messages that wait for another try or behind one. With `max_held` of them, no new messages are read.
    pub(super) fn held(&self, state: &SinkState, max_held: u64) {
        self.board.sink(&self.sink, |sink| {
            (sink.held, sink.held_full) = (state.held, state.held >= max_held);
            sink.held_since = (state.held > 0).then(|| Instant::now().checked_sub(state.held_for)).flatten();
        });
    }

    /// Why the sink is disabled until an operator enables it; `None` while messages are sent.
    pub(super) fn disabled_for(&self, reason: Option<&str>) {
        self.board.sink(&self.sink, |sink| sink.disabled = reason.map(str::to_owned));
    }

    /// The stored result of the last try, reported after a start or after a database error. The error of the sink lasts
    /// until it accepts a message.
    pub(super) fn recall(&self, failures: u64, error: Option<&str>) {
        let mut ended = false;
        self.board.sink(&self.sink, |sink| {
            ended = sink.consecutive_errors > 0 && error.is_none();
            sink.consecutive_errors = error.map_or(0, |_| failures.max(1));
            sink.last_error = error.map(str::to_owned);
        });
        if ended && self.troubles.ended() {
            tracing::info!(sink = %self.sink, "the database answers again; delivery continues");
        }
    }

    /// A message is not retried any more.
    pub(super) fn given_up(&self, seq: u64, reason: &str) {
        metrics::dead_letter(&self.sink, "delivery");
        tracing::error!(sink = %self.sink, seq, reason, "delivery given up; see `chainflume dead-letters list`");
    }

    /// The endpoint wants no more messages.
    pub(super) fn disabled(&self, reason: &str) {
        tracing::error!(sink = %self.sink, reason, "sink disabled; `chainflume webhooks enable` sends to it again");
    }

    /// A message was not accepted, although the sink itself works.
    pub(super) fn refused(&self, error: &SinkError) {
        metrics::sink_error(&self.sink, error.kind());
        tracing::warn!(sink = %self.sink, %error, "a message was not accepted; it is retried");
    }

    /// A message was not accepted, and neither were the others.
    pub(super) fn refused_all(&self, error: &SinkError) {
        let (kind, is_transient) = (error.kind(), error.is_transient());
        self.fails(&DeliveryFailure { kind, is_transient, text: error.to_string() });
    }

    /// A step succeeded. Returns whether this ends a series of errors.
    pub(super) fn succeeded(&self) -> bool {
        let mut ended = false;
        self.board.sink(&self.sink, |sink| {
            ended = std::mem::take(&mut sink.consecutive_errors) > 0;
            sink.last_error = None;
        });
        if ended && self.troubles.ended() {
            tracing::info!(sink = %self.sink, "sink recovered");
        }
        ended
    }

    /// A step failed.
    pub(super) fn failed(&self, error: &RelayError) {
        let (kind, is_transient) = (error.kind(), error.is_transient());
        self.fails(&DeliveryFailure { kind, is_transient, text: causes(error) });
    }

    fn fails(&self, failure: &DeliveryFailure) {
        let DeliveryFailure { kind, is_transient, text } = failure;
        metrics::sink_error(&self.sink, *kind);
        let (mut errors, mut news) = (0, ErrorText::Same);
        self.board.sink(&self.sink, |sink| {
            sink.consecutive_errors += 1;
            // All stored messages wait. Their number is unknown while the outbox or the sink cannot be read.
            sink.waiting_since.get_or_insert_with(Instant::now);
            (errors, news) = (sink.consecutive_errors, ErrorText::after(sink.last_error.as_deref(), text));
            sink.last_error = Some(text.clone());
        });
        let Some(suppressed) = self.troubles.failed(kind.as_str(), errors, news) else { return };
        let (sink, suppressed) = (&self.sink, suppressed.field());
        if *is_transient {
            tracing::warn!(%sink, errors, suppressed, error = %text, "delivery failed; it is retried");
        } else {
            tracing::error!(%sink, errors, suppressed, error = %text, "delivery failed: operator action required; it is retried meanwhile");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_count_as_waiting_until_a_step_finds_none() {
        let board = Board::default();
        let report = DeliveryReport::new(board.clone(), "redis");
        let state =
            || board.sinks().remove("redis").map(|sink| (sink.delivered, sink.waiting_since.is_some()));
        report.opened(7);
        assert_eq!(state(), Some((Some(7), true)), "the sink may have lost messages up to the cursor");
        report.drained(7);
        assert_eq!(state(), Some((Some(7), false)));
    }
}
