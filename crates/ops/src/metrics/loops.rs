use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};

const FAILURES: &str = "chainflume_loop_failures_total";
const RUNNING: &str = "chainflume_loop_running";
const SINCE_TURN: &str = "chainflume_loop_seconds_since_turn";
const LINES_LOST: &str = "chainflume_log_lines_lost_total";

pub(super) fn describe() {
    describe_counter!(
        FAILURES,
        "times a loop of the daemon failed, by loop and how (panicked or returned; hung: the answer to a request of the admin address)"
    );
    describe_gauge!(
        RUNNING,
        "1 while a loop of the daemon runs and turns, 0 while it has failed or hangs, by loop"
    );
    describe_gauge!(
        SINCE_TURN,
        "seconds since a loop of the daemon last turned, by loop, computed at the scrape"
    );
    describe_counter!(
        LINES_LOST,
        "log lines that stderr did not take, by reason (full: too many wait; failed: the write failed)"
    );
}

pub(super) fn start() {
    for reason in ["full", "failed"] {
        counter!(LINES_LOST, "reason" => reason).increment(0);
    }
}

/// Sets the counters of a loop to zero.
pub fn loop_starts(name: &str) {
    for how in ["panicked", "returned"] {
        counter!(FAILURES, "loop" => name.to_owned(), "how" => how).increment(0);
    }
}

/// Counts a loop that ended on its own.
pub fn loop_ended(name: &str, how: &'static str) {
    counter!(FAILURES, "loop" => name.to_owned(), "how" => how).increment(1);
}

/// Sets whether a loop runs and turns, and the time since it last turned.
pub fn loop_runs(name: &str, well: bool, since_turn: Duration) {
    gauge!(RUNNING, "loop" => name.to_owned()).set(if well { 1.0 } else { 0.0 });
    gauge!(SINCE_TURN, "loop" => name.to_owned()).set(since_turn.as_secs_f64());
}

/// Counts a log line that stderr did not accept.
pub fn log_line_lost(reason: &'static str) {
    counter!(LINES_LOST, "reason" => reason).increment(1);
}
