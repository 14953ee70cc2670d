use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::as_f64;

const PROVIDER_IN_USE: &str = "chainflume_provider_in_use";
const PROVIDER_HEALTHY: &str = "chainflume_provider_healthy";
const PROVIDER_BEHIND: &str = "chainflume_provider_lag_blocks";
const PROVIDER_LATENCY: &str = "chainflume_provider_latency_seconds";
const PROVIDER_SWITCHES: &str = "chainflume_provider_switches_total";
const EVIDENCE_DOUBTED: &str = "chainflume_evidence_doubted_total";
const EVIDENCE_OFF: &str = "chainflume_evidence_off";

pub(super) fn describe() {
    describe_gauge!(PROVIDER_IN_USE, "1 for the provider the newest blocks are read from, by chain and host");
    describe_gauge!(PROVIDER_HEALTHY, "1 while a provider could be used, by chain and host");
    describe_gauge!(PROVIDER_BEHIND, "blocks the other providers have and this one lacks, by chain and host");
    describe_gauge!(PROVIDER_LATENCY, "usual time of an answer, by chain and host");
    describe_counter!(
        PROVIDER_SWITCHES,
        "changes of the provider by chain, role (live or history) and reason (failing, behind, slow, return)"
    );
    describe_counter!(
        EVIDENCE_DOUBTED,
        "blocks without logs whose header speaks of some, asked about a second time, by chain"
    );
    describe_gauge!(EVIDENCE_OFF, "1 once a check of logs against headers was given up, by chain and check");
}

/// How one provider of several stands.
pub fn provider((chain, host): (&str, &str), in_use: bool, healthy: bool, behind: u64, latency: Duration) {
    let labels = [("chain", chain.to_owned()), ("host", host.to_owned())];
    gauge!(PROVIDER_IN_USE, &labels).set(f64::from(u8::from(in_use)));
    gauge!(PROVIDER_HEALTHY, &labels).set(f64::from(u8::from(healthy)));
    gauge!(PROVIDER_BEHIND, &labels).set(as_f64(behind));
    if latency < Duration::MAX {
        gauge!(PROVIDER_LATENCY, &labels).set(latency.as_secs_f64());
    }
}

/// Another provider is asked.
pub fn provider_switched(chain: &str, role: &'static str, reason: &'static str) {
    counter!(PROVIDER_SWITCHES, "chain" => chain.to_owned(), "role" => role, "reason" => reason).increment(1);
}

/// An empty answer was doubted.
pub fn evidence_doubted(chain: &str) {
    counter!(EVIDENCE_DOUBTED, "chain" => chain.to_owned()).increment(1);
}

/// A check was given up.
pub fn evidence_off(chain: &str, check: &'static str) {
    gauge!(EVIDENCE_OFF, "chain" => chain.to_owned(), "check" => check).set(1.0);
}
