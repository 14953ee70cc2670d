//! Settings of failover, of the rate of requests and of history.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use chainflume_core::settings::{GIB, KIB, MIB};

/// When another provider is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FailoverSettings {
    /// How often the head of each provider is requested, where there are several.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<100, 3_600_000, _>")]
    pub probe_interval: Duration,
    /// How long a provider may take to answer a probe.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<100, 60_000, _>")]
    pub probe_timeout: Duration,
    /// Blocks a provider may lag behind the others.
    #[serde(deserialize_with = "chainflume_core::settings::number::<1, 100_000, _, _>")]
    pub max_lag: u64,
    /// How long a preferred provider must work before it is used again.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<100, 86_400_000, _>")]
    pub return_after: Duration,
}

impl Default for FailoverSettings {
    fn default() -> Self {
        Self {
            probe_interval: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(2),
            max_lag: 5,
            return_after: Duration::from_secs(60),
        }
    }
}

/// The highest rate of requests or compute units per second that may be configured.
pub const MAX_RATE: u64 = 1_000_000;

/// Limits of the rate of requests to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RateLimitSettings {
    /// Requests per second; each call of a batch counts. `None`: no limit here.
    #[serde(deserialize_with = "chainflume_core::settings::limit::<MAX_RATE, _>")]
    pub requests_per_second: Option<u64>,
    /// Compute units per second; `None`: no limit here.
    #[serde(deserialize_with = "chainflume_core::settings::limit::<MAX_RATE, _>")]
    pub compute_units_per_second: Option<u64>,
    /// Compute units of a call by method; `*` for all other methods.
    #[serde(skip)]
    pub compute_units: BTreeMap<String, u64>,
    /// Maximum number of concurrent requests. Refusals of the node lower the number in use, and answers raise it
    /// again.
    #[serde(deserialize_with = "chainflume_core::settings::number::<1, 1_000, _, _>")]
    pub max_concurrent: usize,
    /// Bytes of answers that may be in memory. One answer at a time may exceed it, up to `max_response_bytes`.
    #[serde(deserialize_with = "chainflume_core::settings::size::<{ 64 * KIB }, { 16 * GIB }, _>")]
    pub max_bytes_in_flight: usize,
}

/// The cost of a call at a large provider in 2026; others are similar. A method that is not in the table costs as
/// much as a header.
const COMPUTE_UNITS: [(&str, u64); 7] = [
    ("eth_chainId", 0),
    ("eth_getLogs", 60),
    ("eth_getBlockByNumber", 20),
    ("eth_getBlockByHash", 20),
    ("eth_getBlockReceipts", 20),
    ("eth_getTransactionReceipt", 20),
    ("*", 20),
];

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self {
            requests_per_second: None,
            compute_units_per_second: None,
            compute_units: COMPUTE_UNITS.map(|(method, units)| (method.to_owned(), units)).into(),
            max_concurrent: 16,
            max_bytes_in_flight: 128 << 20,
        }
    }
}

/// How history is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HistorySettings {
    /// Ranges requested at the same time.
    #[serde(deserialize_with = "chainflume_core::settings::number::<1, 64, _, _>")]
    pub ranges_in_flight: usize,
    /// Width of the first request, in blocks.
    #[serde(deserialize_with = "chainflume_core::settings::number::<1, 10_000_000, _, _>")]
    pub initial_range: u64,
    /// Width of the widest request, in blocks.
    #[serde(deserialize_with = "chainflume_core::settings::number::<1, 10_000_000, _, _>")]
    pub max_range: u64,
    /// Bytes of answers that may wait for the database. Above it no new range is requested.
    #[serde(deserialize_with = "chainflume_core::settings::size::<MIB, { 64 * GIB }, _>")]
    pub buffer_bytes: usize,
    /// Answers that wait are joined up to this number of logs; 0: each answer is a batch of its own.
    #[serde(deserialize_with = "chainflume_core::settings::number::<0, 1_000_000, _, _>")]
    pub commit_logs: usize,
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self {
            ranges_in_flight: 4,
            initial_range: 1_000,
            max_range: 10_000,
            buffer_bytes: 20 << 20,
            commit_logs: 12_000,
        }
    }
}

/// Buffer of a reader that runs beside live blocks: some thousand logs, which are compared in milliseconds. Ten
/// thousand logs took one of two processors for an eighth of a second.
const BESIDE_LIVE: usize = 1 << 20;
/// Width of the first request of such a reader, in blocks: busy blocks have hundreds of logs each.
const FIRST_BESIDE_LIVE: u64 = 8;

impl HistorySettings {
    /// These settings for a reader beside live blocks: small ranges, one at a time.
    #[must_use]
    pub fn beside_live(self) -> Self {
        let buffer_bytes = self.buffer_bytes.min(BESIDE_LIVE);
        let initial_range = self.initial_range.min(FIRST_BESIDE_LIVE);
        Self { ranges_in_flight: 1, initial_range, buffer_bytes, commit_logs: 0, ..self }
    }
}
