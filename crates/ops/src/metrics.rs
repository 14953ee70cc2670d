//! Every metric. Names follow Prometheus: base units, `_total` for counters.

mod application;
mod error_kind;
mod follow;
mod inbound;
mod install;
mod leases;
mod loops;
mod number;
mod outbox;
mod outgoing;
mod past;
mod providers;
mod push;
mod recent;
mod triggers;

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

pub use application::{
    activity_changed, application_committed, application_events, application_paused, application_starts,
    application_waiting,
};
pub use error_kind::{SinkErrorKind, StepErrorKind};
pub use follow::{follow_change, follow_starts, followed};
pub use inbound::{inbound_delivery, inbound_hint, inbound_open, inbound_starts};
pub use install::install;
pub use leases::{lease, lease_error, lease_starts, lease_taken};
pub use loops::{log_line_lost, loop_ended, loop_runs, loop_starts};
use number::as_f64;
pub use outbox::{outbox, outbox_indexed, outbox_trimmed};
pub use outgoing::{
    alert, alerts_start, dead_letters_trimmed, delivery, incident, missed, published, repeated, sink,
    sink_error, sink_foreign, sink_held, sink_lost, sink_starts,
};
pub use past::{clock_ahead, contract_findings, source_past};
pub use providers::{
    ProviderSample, block_excluded, bloom_contradicted, evidence_doubted, evidence_founded, evidence_off,
    provider, provider_switched, rpc_bytes, rpc_concurrency, rpc_credits, rpc_request,
};
pub use push::{
    DeliveryMeter, push_codes, push_connected, push_dropped, push_keys_fetched, push_lag, push_refused,
    push_resumed, push_resuming, push_rooms, push_starts,
};
pub use recent::{RecentReport, recent};
pub use triggers::{limit_crossed, limit_starts, reaction, reaction_starts, schedule_runs, schedule_starts};

const RANGE_WIDTH: &str = "chainflume_history_range_blocks";
const WS_CONNECTED: &str = "chainflume_websocket_connected";
const WS_LOST: &str = "chainflume_websocket_lost_total";
const EVENTS: &str = "chainflume_events_total";
const IGNORED: &str = "chainflume_logs_ignored_total";
const DEAD_LETTERS: &str = "chainflume_dead_letters_total";
const UNKNOWN_USERS: &str = "chainflume_unknown_users_total";
const COMMITS: &str = "chainflume_commits_total";
const COMMIT_SECONDS: &str = "chainflume_commit_duration_seconds";
const BLOCK_TO_COMMIT: &str = "chainflume_block_to_commit_seconds";
const HEAD_TO_COMMIT: &str = "chainflume_head_to_commit_seconds";
const REORGS: &str = "chainflume_reorgs_total";
const REORG_DEPTH: &str = "chainflume_reorg_depth_blocks";
const ORPHANED: &str = "chainflume_events_orphaned_total";
const PENDING: &str = "chainflume_events_pending_total";
const PENDING_RETRACTED: &str = "chainflume_events_pending_retracted_total";
const STEP_ERRORS: &str = "chainflume_errors_total";
const DATABASE_ERRORS: &str = "chainflume_database_errors_total";
const HEAD: &str = "chainflume_head_block";
const CONFIRMED: &str = "chainflume_confirmed_block";
const FINAL: &str = "chainflume_final_block";
const CHAIN_STATE: &str = "chainflume_chain_state";
const CONSECUTIVE_ERRORS: &str = "chainflume_consecutive_errors";
const TIP: &str = "chainflume_tip_block";
const LAG: &str = "chainflume_lag_blocks";
const SOURCE_BLOCKED: &str = "chainflume_source_blocked";
const UNREAD: &str = "chainflume_unread_blocks";
const CLOCK_AHEAD: &str = "chainflume_clock_ahead_seconds";
const CONTRACT_FINDINGS: &str = "chainflume_contract_findings";
const SINCE_COMMIT: &str = "chainflume_seconds_since_commit";
const SINCE_HEAD: &str = "chainflume_seconds_since_head";
const DATABASE_WRITABLE: &str = "chainflume_database_writable";
const VIEWS_MISSING: &str = "chainflume_views_missing";
const NEGATIVE_BALANCES: &str = "chainflume_negative_balances";
const DEAD_LETTERS_TRIMMED: &str = "chainflume_dead_letters_trimmed_total";
const OPEN_DEAD_LETTERS: &str = "chainflume_dead_letters_open";
const SINK_LAG: &str = "chainflume_sink_lag_messages";
const SINK_STUCK: &str = "chainflume_sink_stuck_seconds";
const SINK_ERRORS: &str = "chainflume_sink_errors_total";
const SINK_CONSECUTIVE_ERRORS: &str = "chainflume_sink_consecutive_errors";
const SINK_LOST: &str = "chainflume_sink_lost_total";
const PUBLISHED: &str = "chainflume_messages_published_total";
const REPEATED: &str = "chainflume_messages_repeated_total";
const MISSED: &str = "chainflume_messages_missed_total";
const COMMIT_TO_PUBLISH: &str = "chainflume_commit_to_publish_seconds";
const HEAD_TO_PUBLISH: &str = "chainflume_head_to_publish_seconds";
const LEASE_HELD: &str = "chainflume_lease_held";
const LEASE_EPOCH: &str = "chainflume_lease_epoch";
const LEASE_TAKEN: &str = "chainflume_lease_taken_total";
const LEASE_ERRORS: &str = "chainflume_lease_errors_total";
const AUDITED: &str = "chainflume_audit_verified_block";
const AUDIT_DIFFERENCES: &str = "chainflume_audit_differences";
const AUDIT_FOUND: &str = "chainflume_audit_differences_found_total";
const AUDIT_REPAIRED: &str = "chainflume_audit_repaired_total";
const NODE_BEHIND: &str = "chainflume_node_behind_blocks";
const SINK_HELD: &str = "chainflume_sink_held_messages";
const SINK_HELD_OLDEST: &str = "chainflume_sink_held_oldest_seconds";
const SINK_DISABLED: &str = "chainflume_sink_disabled";
const SINK_FOREIGN: &str = "chainflume_sink_foreign";
const DELIVERIES: &str = "chainflume_deliveries_total";
const DELIVERY_SECONDS: &str = "chainflume_delivery_duration_seconds";
const INCIDENT: &str = "chainflume_incident";
const INCIDENTS: &str = "chainflume_incidents_total";
const ALERTS: &str = "chainflume_alerts_total";
const PUSH_CONNECTIONS: &str = "chainflume_push_connections";
const PUSH_ROOMS: &str = "chainflume_push_rooms";
const PUSH_DELIVERED: &str = "chainflume_push_delivered_total";
const PUSH_BYTES: &str = "chainflume_push_bytes_total";
const PUSH_LATENCY: &str = "chainflume_push_latency_seconds";
const PUSH_DROPPED: &str = "chainflume_push_dropped_total";
const PUSH_RESUMED: &str = "chainflume_push_resumed_total";
const PUSH_LAG: &str = "chainflume_push_lag_messages";
const PUSH_REFUSED: &str = "chainflume_push_refused_total";
const PUSH_KEYS: &str = "chainflume_push_key_fetches_total";
const APPLICATION_EVENTS: &str = "chainflume_application_events_total";
const APPLICATION_COMMITS: &str = "chainflume_application_commits_total";
const APPLICATION_PAUSES: &str = "chainflume_application_pauses_total";
const APPLICATION_WAITING: &str = "chainflume_application_events_waiting";
const ACTIVITY_CHANGES: &str = "chainflume_activity_changes_total";
const FOLLOWED: &str = "chainflume_follow_transactions";
const FOLLOW_CHANGES: &str = "chainflume_follow_changes_total";
const INBOUND: &str = "chainflume_inbound_deliveries_total";
const INBOUND_SECONDS: &str = "chainflume_inbound_duration_seconds";
const INBOUND_HINTS: &str = "chainflume_inbound_hints_total";
const INBOUND_OPEN: &str = "chainflume_inbound_hints_open";
const BUILD_INFO: &str = "chainflume_build_info";

fn describe() {
    describe_gauge!(RANGE_WIDTH, "blocks one history question spans now, by chain");
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
    describe_counter!(STEP_ERRORS, "steps that failed and are tried again, by chain and kind of error");
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
    describe_gauge!(DATABASE_WRITABLE, "1 while the database takes writes");
    describe_gauge!(VIEWS_MISSING, "typed views that could not be made or brought up to date, by chain");
    describe_gauge!(
        NEGATIVE_BALANCES,
        "token balances below zero: rebasing tokens, wrapped ones without `mints` and `burns`, or a start block after the first transfer"
    );
    describe_gauge!(
        AUDITED,
        "highest block up to which stored events were compared again, by chain and source"
    );
    describe_gauge!(AUDIT_DIFFERENCES, "stored events that differ from the chain, by chain and source");
    describe_counter!(AUDIT_FOUND, "ranges in which an audit found differences, by chain and source");
    describe_counter!(AUDIT_REPAIRED, "stored events that the audit repaired by proof, by chain and source");
    describe_gauge!(NODE_BEHIND, "blocks by which the node of a chain is below what is stored, by chain");
    describe_counter!(
        DEAD_LETTERS_TRIMMED,
        "open dead letters deleted because a source with address = \"any\" had more than retention.letters_of_any, by source"
    );
    describe_gauge!(OPEN_DEAD_LETTERS, "open dead letters: neither retried with success nor dropped");
    describe_gauge!(BUILD_INFO, "1, with the version");
}

fn describe_messages() {
    outbox::describe();
    describe_gauge!(SINK_LAG, "messages a sink does not have yet, by sink");
    describe_gauge!(
        SINK_STUCK,
        "seconds for which messages have waited and none was delivered, by sink, computed at the scrape"
    );
    describe_counter!(SINK_ERRORS, "deliveries that failed and are tried again, by sink and kind of error");
    describe_gauge!(SINK_CONSECUTIVE_ERRORS, "errors since the last success, by sink");
    describe_counter!(SINK_LOST, "times a sink was found to have lost delivered messages, by sink");
    describe_gauge!(SINK_HELD, "messages that wait for another try, or behind one that does, by sink");
    describe_gauge!(
        SINK_HELD_OLDEST,
        "seconds for which the oldest message has waited for another try, by sink, computed at the scrape"
    );
    describe_gauge!(
        SINK_DISABLED,
        "1 while a sink is disabled and gets no messages until an operator enables it, by sink"
    );
    describe_gauge!(
        SINK_FOREIGN,
        "1 while delivery to a sink is stopped because it holds messages this database never sent (operator action required), by sink"
    );
    describe_counter!(DELIVERIES, "tries of webhooks, by sink and outcome (delivered or the kind of error)");
    describe_histogram!(DELIVERY_SECONDS, "time of a try of a webhook, by sink");
    describe_gauge!(INCIDENT, "1 while something is wrong, by kind and the chain or sink it is of");
    describe_counter!(INCIDENTS, "incidents that began, by kind");
    describe_counter!(ALERTS, "alerts for the webhook, by outcome (sent, failed, dropped)");
    describe_counter!(PUBLISHED, "messages delivered, by sink, type and state");
    describe_counter!(REPEATED, "messages a sink refused because it had them, by sink");
    describe_counter!(MISSED, "messages a sink missed because the outbox no longer kept them, by sink");
    describe_histogram!(COMMIT_TO_PUBLISH, "time from a message's transaction to its delivery, by sink");
    describe_histogram!(
        HEAD_TO_PUBLISH,
        "time from the head that made a message possible to its delivery, by sink"
    );
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

/// Sets the number of typed views that could not be made.
pub fn views_missing(chain: &str, views: u64) {
    gauge!(VIEWS_MISSING, "chain" => chain.to_owned()).set(as_f64(views));
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

/// Counts an audit that found stored events of a source to differ from the chain.
pub fn audit_difference(chain: &str, source: &str) {
    counter!(AUDIT_FOUND, "chain" => chain.to_owned(), "source" => source.to_owned()).increment(1);
}

/// Counts stored events of a source that the audit repaired.
pub fn audit_repaired(chain: &str, source: &str, count: u64) {
    counter!(AUDIT_REPAIRED, "chain" => chain.to_owned(), "source" => source.to_owned()).increment(count);
}

/// Sets the number of blocks by which the node of a chain is below the stored blocks.
pub fn node_behind(chain: &str, blocks: u64) {
    gauge!(NODE_BEHIND, "chain" => chain.to_owned()).set(as_f64(blocks));
}

/// Sets the progress of the audit of a source.
pub fn audit(chain: &str, source: &str, verified_to: Option<u64>, differences: u64) {
    let labels = [("chain", chain.to_owned()), ("source", source.to_owned())];
    gauge!(AUDIT_DIFFERENCES, &labels).set(as_f64(differences));
    counter!(AUDIT_FOUND, &labels).increment(0);
    counter!(AUDIT_REPAIRED, &labels).increment(0);
    if let Some(verified_to) = verified_to {
        gauge!(AUDITED, &labels).set(as_f64(verified_to));
    }
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

/// Sets the result of the last probe of the database.
pub fn database(writable: bool, counts: Option<(u64, u64)>) {
    gauge!(DATABASE_WRITABLE).set(if writable { 1.0 } else { 0.0 });
    if let Some((negative_balances, dead_letters)) = counts {
        gauge!(NEGATIVE_BALANCES).set(as_f64(negative_balances));
        gauge!(OPEN_DEAD_LETTERS).set(as_f64(dead_letters));
    }
}
