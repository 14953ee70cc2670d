//! Every metric. Names follow Prometheus: base units, `_total` for counters. This file has the names; each family has its meanings,
//! and the functions that write it.

mod application;
mod audits;
mod chains;
mod database;
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

pub use application::{
    activity_changed, application_committed, application_events, application_paused, application_starts,
    application_waiting,
};
pub use audits::{audit, audit_difference, audit_repaired};
pub use chains::{
    chain, chain_starts, chain_state, committed, consecutive_errors, dead_letter, events, ignored,
    live_latency, node_behind, pending, pending_retracted, range_width, reorg, source, source_starts,
    step_error, unknown_users, ws_connected, ws_lost,
};
pub use database::{database, views_missing};
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
    sink_disabled, sink_error, sink_foreign, sink_held, sink_lost, sink_starts,
};
pub use past::{clock_ahead, contract_findings, source_past};
pub use providers::{
    ProviderLabels, ProviderSample, block_excluded, bloom_contradicted, evidence_doubted, evidence_founded,
    evidence_off, provider, provider_switched, rpc_bytes, rpc_concurrency, rpc_credits, rpc_request,
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
