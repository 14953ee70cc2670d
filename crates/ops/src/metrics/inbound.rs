use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::number::as_f64;
use super::recent::WEBHOOKS;
use super::{INBOUND, INBOUND_HINTS, INBOUND_OPEN, INBOUND_SECONDS};

/// Results of a delivery: stored, stored before, or the reason why it is refused or not stored.
const OUTCOMES: [&str; 9] =
    ["encoding", "failed", "malformed", "mismatch", "missing", "repeated", "stale", "stored", "too_large"];

pub(super) fn describe() {
    describe_counter!(
        INBOUND,
        "webhook deliveries of providers, by endpoint and outcome (encoding, failed, malformed, mismatch, missing, repeated, \
         stale, stored, too_large)"
    );
    describe_histogram!(
        INBOUND_SECONDS,
        "time from a webhook delivery's last byte to its answer, by endpoint"
    );
    describe_counter!(
        INBOUND_HINTS,
        "transactions and logs that providers reported, by endpoint and what the chain says (confirmed, unconfirmed, uncovered)"
    );
    describe_gauge!(
        INBOUND_OPEN,
        "reported transactions and logs that the chain has not confirmed yet, by chain"
    );
}

/// Sets the counters of an endpoint to zero.
pub fn inbound_starts(endpoint: &str) {
    for outcome in OUTCOMES {
        counter!(INBOUND, "endpoint" => endpoint.to_owned(), "outcome" => outcome).increment(0);
    }
    for outcome in ["confirmed", "unconfirmed", "uncovered"] {
        counter!(INBOUND_HINTS, "endpoint" => endpoint.to_owned(), "outcome" => outcome).increment(0);
    }
}

/// Records an answered delivery.
pub fn inbound_delivery(endpoint: &str, outcome: &'static str, took: Duration) {
    counter!(INBOUND, "endpoint" => endpoint.to_owned(), "outcome" => outcome).increment(1);
    histogram!(INBOUND_SECONDS, "endpoint" => endpoint.to_owned()).record(took);
    WEBHOOKS.add(took.as_secs_f64() * 1_000.0);
}

/// Counts a provider's report that was compared with the chain.
pub fn inbound_hint(endpoint: &str, outcome: &'static str) {
    counter!(INBOUND_HINTS, "endpoint" => endpoint.to_owned(), "outcome" => outcome).increment(1);
}

/// Sets the number of open reports about a chain.
pub fn inbound_open(chain: &str, hints: u64) {
    gauge!(INBOUND_OPEN, "chain" => chain.to_owned()).set(as_f64(hints));
}
