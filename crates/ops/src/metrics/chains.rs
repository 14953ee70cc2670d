//! Metrics of chains and their sources. Names are in [`super`].

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::StepErrorKind;
use super::{
    BLOCK_TO_COMMIT, CHAIN_STATE, COMMIT_SECONDS, COMMITS, CONFIRMED, CONSECUTIVE_ERRORS, DATABASE_ERRORS,
    DEAD_LETTERS, EVENTS, FINAL, HEAD, HEAD_TO_COMMIT, IGNORED, LAG, NODE_BEHIND, ORPHANED, PENDING,
    PENDING_RETRACTED, RANGE_WIDTH, REORG_DEPTH, REORGS, SINCE_COMMIT, SINCE_HEAD, STEP_ERRORS, TIP,
    UNKNOWN_USERS, WS_CONNECTED, WS_LOST, as_f64,
};
use super::{providers, views_missing};

pub(super) fn describe() {
    describe_gauge!(RANGE_WIDTH, "blocks that one request for history spans now, by chain");
    describe_gauge!(WS_CONNECTED, "1 while the websocket announces heads, by chain");
    describe_counter!(WS_LOST, "times the websocket was lost or could not be opened, by chain");
    describe_counter!(EVENTS, "events committed, by source and type");
    describe_counter!(IGNORED, "logs in answers of nodes that belong to no source, by chain");
    describe_counter!(DEAD_LETTERS, "logs and deliveries kept as dead letters, by source or sink and kind");
    describe_counter!(UNKNOWN_USERS, "stakes of wallets without a user while users.create_missing is false");
    describe_counter!(COMMITS, "transactions committed, by chain and kind (live, history, pending, rewind)");
    describe_histogram!(COMMIT_SECONDS, "time of a transaction, begin to commit, by chain and kind");
    describe_histogram!(BLOCK_TO_COMMIT, "time from a block's timestamp to its commit while live, by chain");
    describe_histogram!(
        HEAD_TO_COMMIT,
        "time from the wake-up that found a block confirmed to its commit while live, by chain"
    );
    describe_counter!(REORGS, "reorgs undone, by chain");
    describe_histogram!(REORG_DEPTH, "blocks undone by a reorg, by chain");
    describe_counter!(ORPHANED, "events undone by reorgs, by chain");
    describe_counter!(PENDING, "events published before they were confirmed, by chain");
    describe_counter!(
        PENDING_RETRACTED,
        "events published as pending and retracted before they were confirmed, by chain"
    );
    describe_counter!(STEP_ERRORS, "steps that failed and are retried, by chain and kind of error");
    describe_counter!(DATABASE_ERRORS, "database errors, by chain");
    describe_gauge!(HEAD, "newest block the node knows, by chain");
    describe_gauge!(CONFIRMED, "highest confirmed block, by chain");
    describe_gauge!(FINAL, "highest final block, by chain");
    describe_gauge!(CHAIN_STATE, "1 for the state the chain is in, by chain and state");
    describe_gauge!(CONSECUTIVE_ERRORS, "errors since the last success, by chain");
    describe_gauge!(TIP, "newest block stored, by chain and source");
    describe_gauge!(LAG, "confirmed blocks not stored yet, by chain and source, computed at the scrape");
    describe_gauge!(
        SINCE_COMMIT,
        "seconds since the last commit, or since the start while there is none, by chain and source, computed at the scrape"
    );
    describe_gauge!(SINCE_HEAD, "seconds since the head last moved, by chain, computed at the scrape");
    describe_gauge!(NODE_BEHIND, "blocks by which the node of a chain is below what is stored, by chain");
}

/// Sets the counters of a chain to zero. A counter that appears with its first increase hides that increase from
/// `increase()`, on which alerts are built.
pub fn chain_starts(chain: &str) {
    ws_connected(chain, false);
    views_missing(chain, 0);
    providers::start(chain);
    for name in
        [WS_LOST, IGNORED, UNKNOWN_USERS, REORGS, ORPHANED, PENDING, PENDING_RETRACTED, DATABASE_ERRORS]
    {
        counter!(name, "chain" => chain.to_owned()).increment(0);
    }
    for kind in ["live", "history", "pending", "rewind"] {
        counter!(COMMITS, "chain" => chain.to_owned(), "kind" => kind).increment(0);
    }
}

/// As [`chain_starts`], for a source.
pub fn source_starts(source: &str, event_types: impl Iterator<Item = String>) {
    event_types.for_each(|event_type| events(source, &event_type, 0));
    for kind in ["decode", "mapping"] {
        counter!(DEAD_LETTERS, "source" => source.to_owned(), "kind" => kind).increment(0);
    }
}

/// Sets the width of history requests.
pub fn range_width(chain: &str, blocks: u64) {
    gauge!(RANGE_WIDTH, "chain" => chain.to_owned()).set(as_f64(blocks));
}

/// Sets whether the WebSocket announces heads.
pub fn ws_connected(chain: &str, connected: bool) {
    gauge!(WS_CONNECTED, "chain" => chain.to_owned()).set(if connected { 1.0 } else { 0.0 });
}

/// Counts a WebSocket that was lost or could not be opened.
pub fn ws_lost(chain: &str) {
    counter!(WS_LOST, "chain" => chain.to_owned()).increment(1);
}

/// Counts committed events of one type.
pub fn events(source: &str, event_type: &str, count: u64) {
    counter!(EVENTS, "source" => source.to_owned(), "type" => event_type.to_owned()).increment(count);
}

/// Counts logs of no source in answers.
pub fn ignored(chain: &str, count: u64) {
    counter!(IGNORED, "chain" => chain.to_owned()).increment(count);
}

/// Counts a log that became a dead letter.
pub fn dead_letter(source: &str, kind: &'static str) {
    counter!(DEAD_LETTERS, "source" => source.to_owned(), "kind" => kind).increment(1);
}

/// Counts stakes of wallets that are not users.
pub fn unknown_users(chain: &str, count: u64) {
    counter!(UNKNOWN_USERS, "chain" => chain.to_owned()).increment(count);
}

/// Counts a committed transaction.
pub fn committed(chain: &str, kind: &'static str, took: Duration) {
    counter!(COMMITS, "chain" => chain.to_owned(), "kind" => kind).increment(1);
    histogram!(COMMIT_SECONDS, "chain" => chain.to_owned(), "kind" => kind).record(took);
}

/// Records a committed live block: its age, and the time since the wake-up for it.
pub fn live_latency(chain: &str, since_block: Duration, since_wake: Duration) {
    histogram!(BLOCK_TO_COMMIT, "chain" => chain.to_owned()).record(since_block);
    histogram!(HEAD_TO_COMMIT, "chain" => chain.to_owned()).record(since_wake);
}

/// Records an undone reorg.
pub fn reorg(chain: &str, depth: u64, events: u64) {
    counter!(REORGS, "chain" => chain.to_owned()).increment(1);
    histogram!(REORG_DEPTH, "chain" => chain.to_owned()).record(as_f64(depth));
    counter!(ORPHANED, "chain" => chain.to_owned()).increment(events);
}

/// Counts events published as pending.
pub fn pending(chain: &str, events: u64) {
    counter!(PENDING, "chain" => chain.to_owned()).increment(events);
}

/// Counts pending events that were retracted.
pub fn pending_retracted(chain: &str, events: u64) {
    counter!(PENDING_RETRACTED, "chain" => chain.to_owned()).increment(events);
}

/// Counts a failed step.
pub fn step_error(chain: &str, kind: StepErrorKind) {
    counter!(STEP_ERRORS, "chain" => chain.to_owned(), "kind" => kind.as_str()).increment(1);
    if kind == StepErrorKind::Database {
        counter!(DATABASE_ERRORS, "chain" => chain.to_owned()).increment(1);
    }
}

/// Sets the number of blocks by which the node of a chain is below the stored blocks.
pub fn node_behind(chain: &str, blocks: u64) {
    gauge!(NODE_BEHIND, "chain" => chain.to_owned()).set(as_f64(blocks));
}

/// Sets head, confirmed and final block of a chain.
pub fn chain(name: &str, head: Option<u64>, confirmed: Option<u64>, final_number: u64, since_head: Duration) {
    // An unknown height is left out: a head of zero would make every source look far ahead of it.
    for (metric, number) in [(HEAD, head), (CONFIRMED, confirmed)] {
        if let Some(number) = number {
            gauge!(metric, "chain" => name.to_owned()).set(as_f64(number));
        }
    }
    gauge!(FINAL, "chain" => name.to_owned()).set(as_f64(final_number));
    gauge!(SINCE_HEAD, "chain" => name.to_owned()).set(since_head.as_secs_f64());
}

/// Sets whether a chain is in a state.
pub fn chain_state(name: &str, state: &'static str, is: bool) {
    gauge!(CHAIN_STATE, "chain" => name.to_owned(), "state" => state).set(if is { 1.0 } else { 0.0 });
}

/// Sets the number of errors in a row.
pub fn consecutive_errors(chain: &str, count: u64) {
    gauge!(CONSECUTIVE_ERRORS, "chain" => chain.to_owned()).set(as_f64(count));
}

/// Sets tip and lag of a source.
pub fn source(chain: &str, source: &str, tip: Option<u64>, lag: u64, since_commit: Duration) {
    let labels = [("chain", chain.to_owned()), ("source", source.to_owned())];
    gauge!(TIP, &labels).set(as_f64(tip.unwrap_or(0)));
    gauge!(LAG, &labels).set(as_f64(lag));
    gauge!(SINCE_COMMIT, &labels).set(since_commit.as_secs_f64());
}
