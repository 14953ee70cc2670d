use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::number::as_f64;

const RPC_REQUESTS: &str = "chainflume_rpc_requests_total";
const RPC_SECONDS: &str = "chainflume_rpc_request_duration_seconds";
const RPC_CREDITS: &str = "chainflume_rpc_compute_units_total";
const RPC_CONCURRENCY: &str = "chainflume_rpc_concurrency_limit";
const RPC_BYTES: &str = "chainflume_rpc_in_flight_bytes";
const PROVIDER_IN_USE: &str = "chainflume_provider_in_use";
const PROVIDER_HEALTHY: &str = "chainflume_provider_healthy";
const PROVIDER_BEHIND: &str = "chainflume_provider_lag_blocks";
const PROVIDER_LATENCY: &str = "chainflume_provider_latency_seconds";
const PROVIDER_SWITCHES: &str = "chainflume_provider_switches_total";
const EVIDENCE_DOUBTED: &str = "chainflume_evidence_doubted_total";
const EVIDENCE_FOUNDED: &str = "chainflume_evidence_founded_total";
const BLOCKS_EXCLUDED: &str = "chainflume_blocks_excluded_total";
const BLOOM_CONTRADICTED: &str = "chainflume_bloom_contradictions_total";
const EVIDENCE_OFF: &str = "chainflume_evidence_off";

pub(super) fn describe() {
    describe_counter!(
        RPC_REQUESTS,
        "JSON-RPC requests by chain, provider, method and outcome (ok or the kind of error)"
    );
    describe_histogram!(RPC_SECONDS, "time of a JSON-RPC request, by chain, provider and method");
    describe_counter!(
        RPC_CREDITS,
        "compute units spent by the configured table, by chain, provider and method"
    );
    describe_gauge!(RPC_CONCURRENCY, "requests that may be in flight at once now, by chain and provider");
    describe_gauge!(
        RPC_BYTES,
        "bytes of answers that are read now, beyond the first MiB of each, by chain and provider"
    );
    describe_gauge!(
        PROVIDER_IN_USE,
        "1 for the provider the newest blocks are read from, by chain and provider"
    );
    describe_gauge!(PROVIDER_HEALTHY, "1 while a provider could be used, by chain and provider");
    describe_gauge!(
        PROVIDER_BEHIND,
        "blocks the other providers have and this one lacks, by chain and provider"
    );
    describe_gauge!(PROVIDER_LATENCY, "usual time of an answer, by chain and provider");
    describe_counter!(
        PROVIDER_SWITCHES,
        "changes of the provider by chain, role (live or history) and reason (failing, behind, slow, return)"
    );
    describe_counter!(
        EVIDENCE_DOUBTED,
        "blocks read a second time because the header's bloom filter indicates logs that the answer lacks, by chain"
    );
    describe_counter!(
        EVIDENCE_FOUNDED,
        "blocks for which a provider omitted logs that another answer contained, by chain and provider"
    );
    describe_counter!(
        BLOCKS_EXCLUDED,
        "blocks whose logs were not requested, since the header's bloom filter excludes all that is followed, by chain"
    );
    describe_counter!(
        BLOOM_CONTRADICTED,
        "answers with a log that the bloom filter of its block excludes, by chain"
    );
    describe_gauge!(
        EVIDENCE_OFF,
        "1 once a check of logs against headers was given up, by chain, provider and check"
    );
}

/// Sets the counters of a chain's providers to zero.
pub(super) fn start(chain: &str) {
    for role in ["live", "history"] {
        for reason in ["failing", "behind", "slow", "return"] {
            let labels =
                [("chain", chain.to_owned()), ("role", role.to_owned()), ("reason", reason.to_owned())];
            counter!(PROVIDER_SWITCHES, &labels).increment(0);
        }
    }
    for name in [EVIDENCE_DOUBTED, BLOCKS_EXCLUDED, BLOOM_CONTRADICTED] {
        counter!(name, "chain" => chain.to_owned()).increment(0);
    }
}

/// A provider, as the labels of a metric name it.
#[derive(Clone, Copy, Debug)]
pub struct ProviderLabels<'a> {
    /// The name of the chain.
    pub chain: &'a str,
    /// The host, or the name where several providers have one host.
    pub provider: &'a str,
}

impl ProviderLabels<'_> {
    fn owned(self) -> (String, String) {
        (self.chain.to_owned(), self.provider.to_owned())
    }
}

/// Records the end of a request to a provider.
pub fn rpc_request(labels: ProviderLabels<'_>, method: &'static str, outcome: &'static str, took: Duration) {
    let (chain, provider) = labels.owned();
    counter!(
        RPC_REQUESTS,
        "chain" => chain.clone(), "provider" => provider.clone(), "method" => method, "outcome" => outcome
    )
    .increment(1);
    histogram!(RPC_SECONDS, "chain" => chain, "provider" => provider, "method" => method).record(took);
}

/// Records the compute units of one call.
pub fn rpc_credits(labels: ProviderLabels<'_>, method: &'static str, units: u64) {
    let (chain, provider) = labels.owned();
    counter!(RPC_CREDITS, "chain" => chain, "provider" => provider, "method" => method).increment(units);
}

/// Sets the number of requests that may be in flight at once.
pub fn rpc_concurrency(labels: ProviderLabels<'_>, requests: f64) {
    let (chain, provider) = labels.owned();
    gauge!(RPC_CONCURRENCY, "chain" => chain, "provider" => provider).set(requests);
}

/// Bytes of answers that are read now, beyond the first mebibyte of each.
pub fn rpc_bytes(labels: ProviderLabels<'_>, bytes: u64) {
    let (chain, provider) = labels.owned();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    gauge!(RPC_BYTES, "chain" => chain, "provider" => provider).set(bytes as f64);
}

/// The state of a provider at the last probe.
#[derive(Clone, Copy, Debug)]
pub struct ProviderSample {
    /// Whether the newest blocks are read from it.
    pub in_use: bool,
    /// Whether it may be used.
    pub healthy: bool,
    /// Number of blocks that the other providers have and it lacks.
    pub behind: u64,
    /// Usual time of an answer; [`Duration::MAX`] while it is unknown.
    pub latency: Duration,
}

/// Sets the state of a provider.
pub fn provider(labels: ProviderLabels<'_>, sample: ProviderSample) {
    let ProviderSample { in_use, healthy, behind, latency } = sample;
    let (chain, provider) = labels.owned();
    let labels = [("chain", chain), ("provider", provider)];
    gauge!(PROVIDER_IN_USE, &labels).set(f64::from(u8::from(in_use)));
    gauge!(PROVIDER_HEALTHY, &labels).set(f64::from(u8::from(healthy)));
    gauge!(PROVIDER_BEHIND, &labels).set(as_f64(behind));
    if latency < Duration::MAX {
        gauge!(PROVIDER_LATENCY, &labels).set(latency.as_secs_f64());
    }
}

/// Counts a change of the provider.
pub fn provider_switched(chain: &str, role: &'static str, reason: &'static str) {
    counter!(PROVIDER_SWITCHES, "chain" => chain.to_owned(), "role" => role, "reason" => reason).increment(1);
}

/// Counts a second read after a suspicious answer.
pub fn evidence_doubted(chain: &str) {
    counter!(EVIDENCE_DOUBTED, "chain" => chain.to_owned()).increment(1);
}

/// Counts a suspicion that proved right.
pub fn evidence_founded(chain: &str, provider: &str) {
    counter!(EVIDENCE_FOUNDED, "chain" => chain.to_owned(), "provider" => provider.to_owned()).increment(1);
}

/// Counts a block whose logs were not requested.
pub fn block_excluded(chain: &str) {
    counter!(BLOCKS_EXCLUDED, "chain" => chain.to_owned()).increment(1);
}

/// Counts an answer with a log outside the bloom filter of its block.
pub fn bloom_contradicted(chain: &str) {
    counter!(BLOOM_CONTRADICTED, "chain" => chain.to_owned()).increment(1);
}

/// Sets whether a provider's logs are no longer compared with its headers in this way.
pub fn evidence_off(labels: ProviderLabels<'_>, check: &'static str, off: bool) {
    let (chain, provider) = labels.owned();
    gauge!(EVIDENCE_OFF, "chain" => chain, "provider" => provider, "check" => check)
        .set(f64::from(u8::from(off)));
}
