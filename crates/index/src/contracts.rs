//! Checks the contracts of each source at an interval: whether there is code, and whether their newest logs fit the
//! ABI. With a wrong address or ABI no events come, which looks like a quiet contract.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::saved_limits::use_saved_limits;
use super::translate::TranslatedSource;
use chainflume_core::decode::{AbiFit, SourceAbi, abi_fit};
use chainflume_core::domain::{Address, AddressSet, BlockRange, causes};
use chainflume_node::{ChainError, ChainSettings, Node};
use chainflume_ops::health::{Board, ChainState, Heartbeat, SourceHealth, SourceIdle};
use chainflume_store::Store;

/// Contracts of a source that are checked, the lowest addresses: enough for every usual source, few enough for one
/// request.
const MAX_CONTRACTS: usize = 20;
/// Time from a start to the first check: until then the loop that indexes has the node to itself.
const FIRST_CHECK_AFTER: Duration = Duration::from_mins(1);
/// Timeout of the check of one source: a few requests, each with a `request_timeout` of 10 s by default.
const CHECK_TIMEOUT: Duration = Duration::from_mins(1);

/// A fact about the contracts of a source that an operator should check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContractFinding {
    /// No code at the address.
    NoCode {
        /// Where.
        contract: Address,
        /// At which block.
        block: u64,
    },
    /// There are logs, and none of them is an event of the source.
    NoneFits {
        /// The blocks that were searched.
        blocks: BlockRange,
        /// The logs that were found.
        fit: AbiFit,
    },
}

impl ContractFinding {
    /// Whether the finding matters for a source that has stored events or none. A source with stored events has the
    /// right ABI, and its other events are only rare. A log that should fit and does not fit always matters.
    pub fn matters(&self, has_events: bool) -> bool {
        match self {
            Self::NoCode { .. } => true,
            Self::NoneFits { fit, .. } => !has_events || fit.misfit.is_some(),
        }
    }
}

impl fmt::Display for ContractFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCode { contract, block } => {
                write!(f, "{contract} has no code at block {block}: is the address right, and on this chain?")
            }
            Self::NoneFits { blocks, fit: AbiFit { logs, misfit: Some(reason), .. } } => {
                write!(f, "{logs} logs in blocks {blocks}, none fits the ABI: {reason}")
            }
            Self::NoneFits { blocks, fit } => write!(
                f,
                "{} logs in blocks {blocks}, none is an event of this source: compare the types of all arguments in the ABI \
                 with the contract, or is the address of another contract?",
                fit.logs
            ),
        }
    }
}

/// Checks the contracts of one source. For a source that listens to all contracts nothing is checked.
///
/// # Errors
/// Why a request failed.
pub async fn check_contracts(
    node: &Node,
    abi: &SourceAbi,
    head: u64,
) -> Result<Vec<ContractFinding>, ChainError> {
    let AddressSet::Only(contracts) = &abi.addresses else { return Ok(Vec::new()) };
    let contracts: BTreeSet<Address> = contracts.iter().take(MAX_CONTRACTS).copied().collect();
    let all: Vec<Address> = contracts.iter().copied().collect();
    let without = node.without_code(&all).await?;
    let mut found: Vec<ContractFinding> =
        without.into_iter().map(|contract| ContractFinding::NoCode { contract, block: head }).collect();
    let (blocks, logs) = node.newest_logs(&contracts, head).await?;
    let fit = abi_fit(abi, &logs);
    if fit.logs > 0 && fit.events == 0 {
        found.push(ContractFinding::NoneFits { blocks, fit });
    }
    Ok(found)
}

/// Checks the contracts of a chain's sources at an interval.
pub struct ContractWatch {
    /// The providers of the chain.
    pub settings: ChainSettings,
    /// Its sources.
    pub sources: Vec<TranslatedSource>,
    /// The number of stored events of each source is read from it.
    pub store: Store,
    /// Findings are reported to it.
    pub board: Board,
    /// Time from one check to the next.
    pub every: Duration,
}

impl ContractWatch {
    /// Checks until `stop`.
    pub async fn run(self, stop: CancellationToken, heartbeat: Heartbeat) {
        let mut pause = self.every.min(FIRST_CHECK_AFTER);
        while heartbeat.pause(pause, &stop).await {
            pause = self.every;
            let chains = self.board.chains();
            // The leader of the chain checks.
            if chains.get(&self.settings.name).is_none_or(|chain| chain.state == ChainState::Standby) {
                continue;
            }
            match stop.run_until_cancelled(self.check(&heartbeat)).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    let chain = &self.settings.name;
                    tracing::debug!(%chain, error, "contracts cannot be checked; the check is retried");
                }
            }
        }
    }

    async fn check(&self, heartbeat: &Heartbeat) -> Result<(), String> {
        let stored = self.store.status().await.map_err(|error| causes(&error))?;
        let events: BTreeMap<&str, u64> =
            stored.iter().map(|source| (source.source.as_str(), source.events)).collect();
        let (node, head) = self.node().await.map_err(|error| causes(&error))?;
        let chain = self.board.chains().remove(&self.settings.name);
        let is_complete = |name: &str| {
            let sources = chain.iter().flat_map(|chain| &chain.sources);
            let is_complete =
                |source: &&SourceHealth| matches!(source.idle, Some(SourceIdle::Complete { .. }));
            sources.filter(is_complete).any(|source| source.name == name)
        };
        // A complete source is not checked any more.
        let read = self.sources.iter().filter(|source| !is_complete(&source.name));
        for TranslatedSource { name, abi, .. } in read {
            heartbeat.beat();
            let look = tokio::time::timeout(CHECK_TIMEOUT, check_contracts(&node, abi, head)).await;
            let look = look
                .map_or_else(|_| Err("no answer in time".to_owned()), |look| look.map_err(|e| causes(&e)));
            let found = match look {
                Ok(found) => found,
                Err(error) => {
                    // The node may answer for the contracts of another source.
                    tracing::debug!(chain = %self.settings.name, source = %name, error, "contracts of a source cannot be checked");
                    continue;
                }
            };
            let has_events = events.get(name.as_str()).is_some_and(|events| *events > 0);
            let found = found.iter().filter(|finding| finding.matters(has_events));
            let lines: Vec<String> = found.map(ToString::to_string).collect();
            if self.board.set_contracts(&self.settings.name, name, lines.clone()) {
                for finding in lines {
                    tracing::warn!(chain = %self.settings.name, source = %name, finding, "contracts of a source look wrong");
                }
            }
        }
        Ok(())
    }

    /// The first provider that answers, and its head.
    async fn node(&self) -> Result<(Node, u64), ChainError> {
        let mut last = None;
        for provider in &self.settings.providers {
            let node = Node::new(&self.settings, provider)?;
            match node.head().await {
                Ok(head) => {
                    use_saved_limits(&self.store, &node, None).await;
                    return Ok((node, head.number));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("a chain has a provider"))
    }
}
