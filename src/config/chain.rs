use std::time::Duration;

use serde::Deserialize;

use super::problem::Fault;
use super::provider::providers;
use super::reader::{Found, Text};
use super::section::Section;
use super::words;
use chainflume_core::canon::{Confirmations, DepthPolicy};
use chainflume_index::AuditSettings;
use chainflume_node::{
    BlockTag, ChainSettings, FailoverSettings, HistorySettings, MAX_RATE, RateLimitSettings,
};

/// `[[chain]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Name in messages, metrics and `[[source]]`.
    pub name: String,
    /// The chain id its node must have (EIP-155).
    pub chain_id: u64,
    /// How its nodes are asked.
    pub node: ChainSettings,
    /// When a block is confirmed, and how deep it may be undone.
    pub policy: DepthPolicy,
    /// Usual time from one block to the next.
    pub block_time: Duration,
    /// How often code and newest logs of the contracts are looked at; `None` for never.
    pub contract_check: Option<Duration>,
    /// How fast final blocks are read a second time; `None` for never.
    pub audit: Option<AuditSettings>,
}

/// The keys of a chain that no room has as its own.
#[derive(Deserialize)]
#[serde(default)]
struct ChainTimes {
    #[serde(deserialize_with = "chainflume_core::settings::duration::<10, 600_000, _>")]
    block_time: Duration,
    /// Zero for never.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<0, 86_400_000, _>")]
    contract_check: Duration,
}

impl Default for ChainTimes {
    fn default() -> Self {
        Self { block_time: Duration::from_secs(12), contract_check: Duration::from_hours(1) }
    }
}

/// Whether there is an audit.
#[derive(Deserialize)]
#[serde(default)]
struct AuditSwitch {
    enabled: bool,
}

impl Default for AuditSwitch {
    fn default() -> Self {
        Self { enabled: true }
    }
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

pub(super) fn read(section: &Section<'_>) -> ChainDraft {
    section.require(&REQUIRED);
    let name = section.parsed("name", words::dashed_name);
    let chain_id = section.number("chain_id", 1..=MAX_ID);
    let providers = providers(section, &pace(&section.table("pace")));
    let policy = policy(section);
    let ChainTimes { block_time, contract_check } = section.fill();
    let node = asked(section, block_time, chain_id.as_ref().map(|id| id.value));
    let failover = section.table("failover").fill_all::<FailoverSettings>();
    let node = ChainSettings {
        failover: FailoverSettings {
            probe_timeout: failover.probe_timeout.min(node.request_timeout),
            ..failover
        },
        history: history(&section.table("history")),
        tag: tag(policy.confirmations),
        ..node
    };
    let audit = audit(&section.table("audit"));
    section.finish();
    let whole = || {
        let (name, chain_id) = (name.as_ref()?.value.clone(), chain_id.as_ref()?.value);
        let node = ChainSettings { name: name.clone(), chain_id, providers: providers?, ..node };
        let contract_check = Some(contract_check).filter(|every| !every.is_zero());
        Some(Chain { name, chain_id, node, policy, block_time, contract_check, audit })
    };
    let chain = whole();
    ChainDraft { name, chain_id, chain }
}

fn policy(section: &Section<'_>) -> DepthPolicy {
    let read = section.fill::<DepthPolicy>();
    if matches!(read.confirmations, Confirmations::Blocks(depth) if read.reorg_window <= depth) {
        let what = "is not above confirmations, so that no confirmed block could be undone";
        section.report("reorg_window", Fault::new(what, "give more than confirmations; the default is 64"));
    }
    read
}

/// The tag that a provider must have.
fn tag(confirmations: Confirmations) -> Option<BlockTag> {
    match confirmations {
        Confirmations::Blocks(_) => None,
        Confirmations::Safe => Some(BlockTag::Safe),
        Confirmations::Finalized => Some(BlockTag::Finalized),
    }
}

/// How often and how long nodes are asked: what is absent follows from the speed of the chain.
fn asked(section: &Section<'_>, block_time: Duration, chain_id: Option<u64>) -> ChainSettings {
    let read = section.fill::<ChainSettings>();
    let given = ["poll_interval", "ws_silence", "max_head_age"].map(|key| section.is_given(key));
    let [has_poll_interval, has_ws_silence, has_max_head_age] = given;
    if has_ws_silence && read.ws_silence <= block_time {
        let what = "is not above block_time, so that every block would come too late";
        section.report("ws_silence", Fault::new(what, "give about three times block_time, or leave it out"));
    }
    // Three blocks missed, and never less than 10 s: chains with several blocks a second pause now and then.
    let silence = (block_time * 3).max(Duration::from_secs(10));
    let is_development = chain_id.is_some_and(|id| DEVELOPMENT_CHAINS.contains(&id));
    let age = if is_development { Duration::ZERO } else { read.max_head_age };
    ChainSettings {
        poll_interval: if has_poll_interval { read.poll_interval } else { block_time.max(SHORTEST_POLL) },
        ws_silence: if has_ws_silence { read.ws_silence } else { silence },
        max_head_age: if has_max_head_age { read.max_head_age } else { age },
        ..read
    }
}

/// The clocks of development chains are set to anything.
const DEVELOPMENT_CHAINS: [u64; 2] = [1_337, 31_337];

fn history(section: &Section<'_>) -> HistorySettings {
    let read = section.fill::<HistorySettings>();
    if section.is_given("initial_range") && read.initial_range > read.max_range {
        let remedy = "give at most max_range, which is 10000 by default";
        section.report("initial_range", Fault::new("is above max_range", remedy));
    }
    section.finish();
    // A smaller max_range alone is no contradiction.
    HistorySettings { initial_range: read.initial_range.min(read.max_range), ..read }
}

fn audit(section: &Section<'_>) -> Option<AuditSettings> {
    let (AuditSwitch { enabled }, read) = (section.fill(), section.fill());
    section.finish();
    enabled.then_some(read)
}

fn pace(section: &Section<'_>) -> RateLimitSettings {
    let mut read = section.fill::<RateLimitSettings>();
    read.compute_units.extend(section.table("compute_units").numbers(&(0..=MAX_RATE)));
    section.finish();
    read
}
