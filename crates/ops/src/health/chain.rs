use std::time::{Duration, Instant};

use serde::Serialize;

use super::SourceHealth;
use crate::metrics::StepErrorKind;

/// The state of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainState {
    /// Has not yet called its node or its database.
    Starting,
    /// Reads history.
    Syncing,
    /// All sources follow the head.
    Live,
    /// The last step failed; it is retried.
    Failing,
    /// Stopped for good: operator action required.
    Stopped,
    /// Another instance leads; this one waits for the lease.
    Standby,
}

impl ChainState {
    /// All states, for metrics.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Syncing, Self::Live, Self::Failing, Self::Stopped, Self::Standby];

    /// The word in metrics and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Syncing => "syncing",
            Self::Live => "live",
            Self::Failing => "failing",
            Self::Stopped => "stopped",
            Self::Standby => "standby",
        }
    }
}

/// A reorg deeper than the confirmations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeepReorg {
    /// Confirmed blocks undone.
    pub depth: u64,
    /// When it was detected.
    pub at: Instant,
}

/// One chain, as the spine last reported it.
#[derive(Clone, Debug)]
pub struct ChainHealth {
    /// When this process started the chain.
    pub since: Instant,
    /// Its state.
    pub state: ChainState,
    /// When the loop last turned. It turns even while node and database are unreachable.
    pub alive_at: Instant,
    /// Name of its lease, if it has one.
    pub lease: Option<String>,
    /// Its blocks, as its node knows them.
    pub heads: ChainHeads,
    /// Its errors since the last success.
    pub errors: ErrorRun,
    /// Its providers.
    pub node: NodeUse,
    /// What an operator should know and no error reports.
    pub notices: ChainNotices,
    /// The last reorg in this process that retracted published events.
    pub deep_reorg: Option<DeepReorg>,
    /// Its sources.
    pub sources: Vec<SourceHealth>,
}

/// The blocks of a chain, as its node knows them.
#[derive(Clone, Copy, Debug)]
pub struct ChainHeads {
    /// Newest block the node knows.
    pub latest: Option<u64>,
    /// Timestamp of the newest block, in seconds since the Unix epoch.
    pub latest_time: Option<u64>,
    /// When the newest block last changed.
    pub moved_at: Instant,
    /// Highest confirmed block.
    pub confirmed: Option<u64>,
    /// Highest final block.
    pub final_number: u64,
    /// Number of blocks by which the node is below the stored blocks; 0 within the accepted lag of a backend.
    pub node_behind: u64,
    /// Whether the WebSocket announces heads; otherwise the daemon polls.
    pub pushed: bool,
}

/// The errors of a chain since its last success.
#[derive(Clone, Debug, Default)]
pub struct ErrorRun {
    /// Their number.
    pub consecutive: u64,
    /// The last one, until a step succeeds.
    pub last: Option<String>,
    /// The kind of the last one, as in metrics.
    pub last_kind: Option<StepErrorKind>,
}

/// The providers of a chain and their use.
#[derive(Clone, Debug, Default)]
pub struct NodeUse {
    /// Host of the present node; no other part of its URL.
    pub provider: Option<String>,
    /// All providers, in the order of the configuration.
    pub providers: Vec<ProviderHealth>,
    /// Use of the JSON-RPC methods.
    pub rpc: Vec<MethodHealth>,
}

/// What an operator should know about a chain and no error reports.
#[derive(Clone, Debug, Default)]
pub struct ChainNotices {
    /// Why new sources publish nothing yet, if they wait for their node to sync.
    pub unpublished: Option<String>,
    /// Typed views that could not be made, each with its remedy; no other part depends on them.
    pub views: Vec<String>,
    /// Differences of sources that are stored and no longer configured.
    pub past_sources: Vec<String>,
}

/// The state of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderHealth {
    /// Its name, or its host.
    pub name: String,
    /// `any`, `live`, `history` or `audit`.
    pub role: &'static str,
    /// Whether the newest blocks are read from it.
    pub live: bool,
    /// Whether old blocks are read from it.
    pub history: bool,
    /// `well`, `failing`, `behind`, `wrong_chain`, `contradicts` or `incapable`.
    pub state: &'static str,
    /// Its newest block at the last probe; `None` if the chain has only one provider.
    pub head: Option<u64>,
    /// Number of blocks that the other providers have and this one lacks.
    pub behind: u64,
    /// Usual time of an answer.
    pub latency: Option<Duration>,
    /// Failed requests since the start.
    pub failures: u64,
    /// The last failure, until a request succeeds.
    pub last_error: Option<String>,
    /// Use of the JSON-RPC methods.
    pub rpc: Vec<MethodHealth>,
}

/// Use of one JSON-RPC method since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodHealth {
    /// Its name.
    pub method: &'static str,
    /// Calls.
    pub requests: u64,
    /// Calls without a usable answer.
    pub failed: u64,
    /// Compute units by the configured table.
    pub compute_units: u64,
}

impl ChainHealth {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            since: now,
            state: ChainState::Starting,
            alive_at: now,
            lease: None,
            heads: ChainHeads::unknown(now),
            errors: ErrorRun::default(),
            node: NodeUse::default(),
            notices: ChainNotices::default(),
            deep_reorg: None,
            sources: Vec::new(),
        }
    }

    /// A lease turn begins, of this instance or (as [`ChainState::Standby`]) of another one: resets the state of the
    /// last turn.
    pub fn turn(&mut self, state: ChainState) {
        let sources = std::mem::take(&mut self.sources);
        let node = NodeUse { providers: Vec::new(), ..std::mem::take(&mut self.node) };
        *self = Self {
            state,
            node,
            lease: self.lease.take(),
            sources: sources.into_iter().map(SourceHealth::anew).collect(),
            ..Self::new()
        };
    }

    /// The largest lag of its sources.
    pub fn lag(&self) -> u64 {
        self.sources.iter().map(|source| source.lag(self.heads.confirmed)).max().unwrap_or(0)
    }
}

impl ChainHeads {
    fn unknown(now: Instant) -> Self {
        Self {
            latest: None,
            latest_time: None,
            moved_at: now,
            confirmed: None,
            final_number: 0,
            node_behind: 0,
            pushed: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_turn_forgets_what_was_seen_and_keeps_who_leads() {
        let mut chain = ChainHealth::new();
        let source = |next| SourceHealth { next, tip: Some(1), ..SourceHealth::default() };
        chain.sources = vec![source(5), source(3), source(4)];
        chain.heads.confirmed = Some(9);
        assert_eq!(chain.lag(), 7, "of the source that lacks most");
        (chain.lease, chain.errors.consecutive) = (Some("leader".to_owned()), 3);
        chain.node.provider = Some("one".to_owned());
        chain.turn(ChainState::Standby);
        assert_eq!((chain.state, chain.lag(), chain.errors.consecutive), (ChainState::Standby, 0, 0));
        assert_eq!((chain.lease.as_deref(), chain.node.provider.as_deref()), (Some("leader"), Some("one")));
        let sources: Vec<_> = chain.sources.iter().map(|source| (source.next, source.tip)).collect();
        assert_eq!(sources, [(5, None), (3, None), (4, None)]);
    }
}
