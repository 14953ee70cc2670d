use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::problem::Fault;
use super::provider::{Provider, RATES, failover, providers};
use super::reader::{Found, Text};
use super::section::Section;
use super::units::{self, GIB, KIB, MIB};
use super::words::{self, word};
use chainflume_core::canon::{Confirmations, PublishMode};
use chainflume_index::AuditSettings;
use chainflume_node::{Compression, FailoverSettings, HistorySettings, LogVerification, RateLimitSettings};

/// `[[chain]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Name in messages, metrics and `[[source]]`.
    pub name: String,
    /// The chain id its node must have (EIP-155).
    pub chain_id: u64,
    /// Whom to ask; at least one.
    pub providers: Vec<Provider>,
    /// When another of them is asked.
    pub failover: FailoverSettings,
    /// How the logs of new blocks are checked.
    pub verify: LogVerification,
    /// When a block is confirmed.
    pub confirmations: Confirmations,
    /// Blocks below the head that may still change.
    pub reorg_window: u64,
    /// How long a backend of a node may lack what another one has.
    pub backend_lag: Duration,
    /// The same in blocks.
    pub backend_lag_blocks: u64,
    /// Whether events are published before they are confirmed.
    pub publish: PublishMode,
    /// Usual time from one block to the next.
    pub block_time: Duration,
    /// How often the head is asked for while the WebSocket does not work.
    pub poll_interval: Duration,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// An open WebSocket that has sent nothing for this long counts as dead.
    pub ws_silence: Duration,
    /// Whether a node may compress its answers.
    pub compression: Compression,
    /// Largest answer read, in bytes.
    pub max_response_bytes: usize,
    /// A node whose newest block is older has not synced; zero for any age.
    pub max_head_age: Duration,
    /// How history is read.
    pub history: HistorySettings,
    /// How often code and newest logs of the contracts are looked at; `None` for never.
    pub contract_check: Option<Duration>,
    /// How fast final blocks are read a second time; `None` for never.
    pub audit: Option<AuditSettings>,
    /// How fast the node is asked.
    pub pace: RateLimitSettings,
}

/// What is known of a chain, whole or not: names are compared even where other keys are wrong.
pub(super) struct ChainDraft {
    pub name: Option<Text>,
    pub chain_id: Option<Found<u64>>,
    pub chain: Option<Chain>,
}

/// Between two polls unless given: chains with several blocks a second are not asked several times a second.
const SHORTEST_POLL: Duration = Duration::from_secs(1);
/// Ids and heights are `bigint` in the database.
const MAX_ID: u64 = i64::MAX.unsigned_abs();

const REQUIRED: [(&str, &str); 2] = [
    ("name", "add name = \"…\", by which sources and metrics name the chain"),
    ("chain_id", "add chain_id = N, the chain's EIP-155 id: the node is checked against it"),
];

const VERIFY: [(&str, LogVerification); 3] = [
    ("off", LogVerification::Off),
    ("bloom", LogVerification::Bloom),
    ("receipts", LogVerification::Receipts),
];
const COMPRESSION: [(&str, Compression); 3] =
    [("auto", Compression::Auto), ("always", Compression::Always), ("never", Compression::Never)];
const PUBLISH: [(&str, PublishMode); 2] =
    [("confirmed", PublishMode::Confirmed), ("pending_and_confirmed", PublishMode::PendingAndConfirmed)];

pub(super) fn read(section: &Section<'_>) -> ChainDraft {
    section.require(&REQUIRED);
    let name = section.parsed("name", |text| words::name(text, true));
    let chain_id = section.number("chain_id", 1..=MAX_ID);
    let providers = providers(section);
    let failover = failover(&section.table("failover"));
    let verify = section
        .parsed("verify", |text| word(text, &VERIFY))
        .map_or(LogVerification::Bloom, |found| found.value);
    let confirmations = confirmations(section).unwrap_or(Confirmations::Blocks(2));
    let reorg_window = reorg_window(section, confirmations);
    let backend_lag = millis(section, "backend_lag", 0..=3_600_000);
    let backend_lag_blocks = section.number("backend_lag_blocks", 0..=100_000).map(|blocks| blocks.value);
    let publish = section.parsed("publish", |text| word(text, &PUBLISH)).map(|publish| publish.value);
    let block_time = millis(section, "block_time", 10..=600_000).unwrap_or(Duration::from_secs(12));
    let poll_interval = millis(section, "poll_interval", 50..=3_600_000);
    let request_timeout = millis(section, "request_timeout", 100..=600_000);
    let ws_silence = ws_silence(section, block_time);
    let contract_check = millis(section, "contract_check", 0..=86_400_000).unwrap_or(Duration::from_hours(1));
    let compression =
        section.parsed("compression", |text| word(text, &COMPRESSION)).map(|compression| compression.value);
    let max_response_bytes = section.size("max_response_bytes", 64 * KIB..=GIB);
    let max_head_age = max_head_age(section, chain_id.as_ref().map(|id| id.value));
    let history = history(&section.table("history"));
    let audit = audit(&section.table("audit"));
    let pace = pace(&section.table("pace"));
    section.finish();
    let whole = |(name, chain_id, providers): (&Text, &Found<u64>, Vec<Provider>)| Chain {
        name: name.value.clone(),
        chain_id: chain_id.value,
        providers,
        failover,
        verify,
        confirmations,
        reorg_window,
        backend_lag: backend_lag.unwrap_or(Duration::from_secs(60)),
        backend_lag_blocks: backend_lag_blocks.unwrap_or(128),
        publish: publish.unwrap_or_default(),
        block_time,
        poll_interval: poll_interval.unwrap_or(block_time.max(SHORTEST_POLL)),
        request_timeout: request_timeout.unwrap_or(Duration::from_secs(10)),
        ws_silence,
        compression: compression.unwrap_or(Compression::Auto),
        max_response_bytes: max_response_bytes.unwrap_or(64 << 20),
        max_head_age,
        history,
        contract_check: Some(contract_check).filter(|every| !every.is_zero()),
        audit,
        pace,
    };
    let chain =
        name.as_ref().zip(chain_id.as_ref()).zip(providers).map(|((name, id), all)| whole((name, id, all)));
    ChainDraft { name, chain_id, chain }
}

fn confirmations(section: &Section<'_>) -> Option<Confirmations> {
    const DEPTHS: RangeInclusive<u64> = 0..=10_000;
    const TAGS: [(&str, Confirmations); 2] =
        [("safe", Confirmations::Safe), ("finalized", Confirmations::Finalized)];
    let (spot, value) = section.get("confirmations")?;
    if !matches!(value, DeValue::String(_)) {
        return section.reader.number(spot, value, &DEPTHS).map(|depth| Confirmations::Blocks(depth.value));
    }
    let depth_or_tag = |text: &str| match text.parse::<u64>() {
        Ok(depth) => units::within(depth, &DEPTHS, u64::to_string).map(Confirmations::Blocks),
        Err(_) => word(text, &TAGS)
            .map_err(|fault| Fault::new(fault.what, "write a number of blocks, \"safe\" or \"finalized\"")),
    };
    section.reader.text(spot, value)?.parse(section.reader, depth_or_tag).map(|found| found.value)
}

fn reorg_window(section: &Section<'_>, confirmations: Confirmations) -> u64 {
    let window = section.number("reorg_window", 1..=100_000).map_or(64, |window| window.value);
    if matches!(confirmations, Confirmations::Blocks(depth) if window <= depth) {
        let what = "is not above confirmations, so that no confirmed block could be undone";
        section.report("reorg_window", Fault::new(what, "give more than confirmations; the default is 64"));
    }
    window
}

/// Three blocks missed, and never less than 10 s: chains with several blocks a second pause now and then.
fn ws_silence(section: &Section<'_>, block_time: Duration) -> Duration {
    let given = millis(section, "ws_silence", 100..=3_600_000);
    if given.is_some_and(|given| given <= block_time) {
        let what = "is not above block_time, so that every block would come too late";
        section.report("ws_silence", Fault::new(what, "give about three times block_time, or leave it out"));
    }
    given.unwrap_or((block_time * 3).max(Duration::from_secs(10)))
}

/// The clocks of development chains are set to anything.
const DEVELOPMENT_CHAINS: [u64; 2] = [1_337, 31_337];

/// An hour: no public chain has paused for that long without a notice, and a node that syncs is days behind for most of the time.
fn max_head_age(section: &Section<'_>, chain_id: Option<u64>) -> Duration {
    let of_chain = match chain_id.is_some_and(|id| DEVELOPMENT_CHAINS.contains(&id)) {
        true => Duration::ZERO,
        false => Duration::from_secs(3_600),
    };
    millis(section, "max_head_age", 0..=31_536_000_000).unwrap_or(of_chain)
}

fn history(section: &Section<'_>) -> HistorySettings {
    let ranges_in_flight = section.number("ranges_in_flight", 1..=64).map_or(4, |ranges| ranges.value);
    let max_range = section.number("max_range", 1..=10_000_000).map_or(10_000, |range| range.value);
    let initial_range = section.number("initial_range", 1..=10_000_000).map(|range| range.value);
    if initial_range.is_some_and(|initial| initial > max_range) {
        let remedy = "give at most max_range, which is 10000 by default";
        section.report("initial_range", Fault::new("is above max_range", remedy));
    }
    let buffer_bytes = section.size("buffer_bytes", MIB..=64 * GIB);
    let commit_logs = section.number("commit_logs", 0..=1_000_000).map_or(12_000, |logs| logs.value);
    section.finish();
    HistorySettings {
        ranges_in_flight: usize::try_from(ranges_in_flight).unwrap_or(usize::MAX),
        // A smaller max_range alone is no contradiction.
        initial_range: initial_range.unwrap_or(1_000.min(max_range)),
        max_range,
        buffer_bytes: buffer_bytes.unwrap_or(20 << 20),
        commit_logs: usize::try_from(commit_logs).unwrap_or(usize::MAX),
    }
}

fn audit(section: &Section<'_>) -> Option<AuditSettings> {
    let enabled = section.flag("enabled").unwrap_or(true);
    let blocks = section.number("blocks", 1..=10_000_000).map_or(2_000, |blocks| blocks.value);
    let every = millis(section, "every", 10..=86_400_000).unwrap_or(Duration::from_secs(10));
    let repair = section.flag("repair").unwrap_or(true);
    section.finish();
    enabled.then_some(AuditSettings { blocks, every, repair })
}

/// What one call costs at a large provider in 2026; others count alike. What is not in the table costs as much as a header.
const COMPUTE_UNITS: [(&str, u64); 7] = [
    ("eth_chainId", 0),
    ("eth_getLogs", 60),
    ("eth_getBlockByNumber", 20),
    ("eth_getBlockByHash", 20),
    ("eth_getBlockReceipts", 20),
    ("eth_getTransactionReceipt", 20),
    ("*", 20),
];

fn pace(section: &Section<'_>) -> RateLimitSettings {
    let limit = |key| section.number(key, RATES).map(|rate| rate.value).filter(|rate| *rate > 0);
    let (requests_per_second, compute_units_per_second) =
        (limit("requests_per_second"), limit("compute_units_per_second"));
    let max_concurrent = section.number("max_concurrent", 1..=1000).map_or(16, |most| most.value);
    let max_bytes = section.size("max_bytes_in_flight", 64 * KIB..=16 * GIB);
    let mut compute_units: BTreeMap<String, u64> =
        COMPUTE_UNITS.iter().map(|(method, units)| ((*method).to_owned(), *units)).collect();
    compute_units.extend(section.table("compute_units").numbers(&RATES));
    section.finish();
    RateLimitSettings {
        requests_per_second,
        compute_units_per_second,
        compute_units,
        max_concurrent: usize::try_from(max_concurrent).unwrap_or(usize::MAX),
        max_bytes_in_flight: max_bytes.unwrap_or(128 << 20),
    }
}

fn millis(section: &Section<'_>, key: &'static str, bounds: RangeInclusive<u64>) -> Option<Duration> {
    let bounds = Duration::from_millis(*bounds.start())..=Duration::from_millis(*bounds.end());
    section.duration(key, bounds).map(|found| found.value)
}
