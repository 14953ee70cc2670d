//! Metrics of sinks, deliveries and incidents. Names and meanings are in [`super`].

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::SinkErrorKind;
use super::{
    ALERTS, COMMIT_TO_PUBLISH, DEAD_LETTERS_TRIMMED, DELIVERIES, DELIVERY_SECONDS, HEAD_TO_PUBLISH, INCIDENT,
    INCIDENTS, MISSED, PUBLISHED, REPEATED, SINK_CONSECUTIVE_ERRORS, SINK_DISABLED, SINK_ERRORS,
    SINK_FOREIGN, SINK_HELD, SINK_HELD_OLDEST, SINK_LAG, SINK_LOST, SINK_STUCK, as_f64,
};

pub(super) fn describe() {
    describe_gauge!(SINK_LAG, "messages a sink does not have yet, by sink");
    describe_gauge!(
        SINK_STUCK,
        "seconds for which messages have waited and none was delivered, by sink, computed at the scrape"
    );
    describe_counter!(SINK_ERRORS, "deliveries that failed and are retried, by sink and kind of error");
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
    describe_counter!(
        DEAD_LETTERS_TRIMMED,
        "open dead letters deleted because a source with address = \"any\" had more than retention.letters_of_any, by source"
    );
}

/// As [`super::chain_starts`], for a sink.
pub fn sink_starts(sink: &str) {
    for name in [SINK_LOST, REPEATED, MISSED] {
        counter!(name, "sink" => sink.to_owned()).increment(0);
    }
    for kind in SinkErrorKind::ALL {
        counter!(SINK_ERRORS, "sink" => sink.to_owned(), "kind" => kind.as_str()).increment(0);
    }
}

/// Counts deleted open dead letters of a source.
pub fn dead_letters_trimmed(source: &str, count: u64) {
    counter!(DEAD_LETTERS_TRIMMED, "source" => source.to_owned()).increment(count);
}

/// Sets the lag of a sink.
pub fn sink(name: &str, lag: u64, stuck: Duration, consecutive_errors: u64) {
    gauge!(SINK_LAG, "sink" => name.to_owned()).set(as_f64(lag));
    gauge!(SINK_STUCK, "sink" => name.to_owned()).set(stuck.as_secs_f64());
    gauge!(SINK_CONSECUTIVE_ERRORS, "sink" => name.to_owned()).set(as_f64(consecutive_errors));
}

/// Sets whether a sink holds messages that this database never sent.
pub fn sink_foreign(name: &str, foreign: bool) {
    gauge!(SINK_FOREIGN, "sink" => name.to_owned()).set(if foreign { 1.0 } else { 0.0 });
}

/// Sets the number of messages that wait for a retry to a sink, and the age of the oldest.
pub fn sink_held(name: &str, held: u64, oldest: Duration) {
    gauge!(SINK_HELD, "sink" => name.to_owned()).set(as_f64(held));
    gauge!(SINK_HELD_OLDEST, "sink" => name.to_owned()).set(oldest.as_secs_f64());
}

/// Sets whether a sink is disabled.
pub fn sink_disabled(name: &str, disabled: bool) {
    gauge!(SINK_DISABLED, "sink" => name.to_owned()).set(if disabled { 1.0 } else { 0.0 });
}

/// Records a try of a webhook.
pub fn delivery(sink: &str, outcome: &'static str, took: Duration) {
    counter!(DELIVERIES, "sink" => sink.to_owned(), "outcome" => outcome).increment(1);
    histogram!(DELIVERY_SECONDS, "sink" => sink.to_owned()).record(took);
}

/// Records the begin or the end of an incident of a chain or sink (empty for neither).
pub fn incident(kind: &'static str, of: &str, began: bool) {
    gauge!(INCIDENT, "kind" => kind, "of" => of.to_owned()).set(if began { 1.0 } else { 0.0 });
    counter!(INCIDENTS, "kind" => kind).increment(u64::from(began));
}

/// Sets the counters of alerts to zero, as [`chain_starts`] does.
pub fn alerts_start() {
    for outcome in ["sent", "failed", "dropped"] {
        counter!(ALERTS, "outcome" => outcome).increment(0);
    }
}

/// Counts an alert by its outcome.
pub fn alert(outcome: &'static str) {
    counter!(ALERTS, "outcome" => outcome).increment(1);
}

/// Counts a failed delivery.
pub fn sink_error(sink: &str, kind: SinkErrorKind) {
    counter!(SINK_ERRORS, "sink" => sink.to_owned(), "kind" => kind.as_str()).increment(1);
}

/// Counts a loss of messages in a sink.
pub fn sink_lost(sink: &str) {
    counter!(SINK_LOST, "sink" => sink.to_owned()).increment(1);
}

/// Counts a delivered message of a type and state, with the time since its transaction and since the head that caused
/// it.
pub fn published(
    sink: &str,
    message_type: &str,
    state: &str,
    since_commit: Duration,
    since_head: Option<Duration>,
) {
    let labels = [("sink", sink.to_owned()), ("type", message_type.to_owned()), ("state", state.to_owned())];
    counter!(PUBLISHED, &labels).increment(1);
    histogram!(COMMIT_TO_PUBLISH, "sink" => sink.to_owned()).record(since_commit);
    if let Some(since_head) = since_head {
        histogram!(HEAD_TO_PUBLISH, "sink" => sink.to_owned()).record(since_head);
    }
}

/// Counts messages that were delivered before.
pub fn repeated(sink: &str, count: u64) {
    counter!(REPEATED, "sink" => sink.to_owned()).increment(count);
}

/// Counts messages that were trimmed before their delivery.
pub fn missed(sink: &str, count: u64) {
    counter!(MISSED, "sink" => sink.to_owned()).increment(count);
}
