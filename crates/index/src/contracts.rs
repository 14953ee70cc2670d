//! Looks at the contracts of each source now and then: whether there is code, and whether their newest logs fit the ABI. A wrong
//! address or ABI asks the node for events that never come, which looks like a quiet contract.

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

/// Contracts of a source looked at, the lowest addresses: enough for every usual source, few enough for one question.
const CONTRACTS: usize = 20;
/// The first look after a start waits so long: until then the loop that indexes has the node for itself.
const FIRST_LOOK: Duration = Duration::from_mins(1);
/// How long a look at one source may take: some requests, each as long as `request_timeout` by default.
const LOOK_TIMEOUT: Duration = Duration::from_mins(1);

/// Something about the contracts of a source that an operator should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContractFinding {
    /// No code at the address.
    NoCode {
        /// Where.
        contract: Address,
        /// At which block.
        block: u64,
    },
    /// Logs, and none of them an event of the source.
    NoneFits {
        /// Where they were looked for.
        blocks: BlockRange,
        /// What was found there.
        fit: AbiFit,
    },
}

impl ContractFinding {
    /// Whether it matters for a source that has stored events, or has not: one that has events has the right ABI, and waits for
    /// a rare event. A log that should fit and does not matters all the same.
    pub fn counts(&self, has_events: bool) -> bool {
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

/// Looks at the contracts of one source. Nothing is found of a source that listens to every contract.
///
/// # Errors
/// Why the node cannot be asked.
pub async fn look_at_contracts(
    node: &Node,
    abi: &SourceAbi,
    head: u64,
) -> Result<Vec<ContractFinding>, ChainError> {
    let AddressSet::Only(contracts) = &abi.addresses else { return Ok(Vec::new()) };
    let contracts: BTreeSet<Address> = contracts.iter().take(CONTRACTS).copied().collect();
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

/// Looks at the contracts of a chain's sources again and again.
pub struct ContractWatch {
    /// How its node is asked.
    pub settings: ChainSettings,
    /// Its sources.
    pub sources: Vec<TranslatedSource>,
    /// Where their events are counted.
    pub store: Store,
    /// Where findings are shown.
    pub board: Board,
    /// From one look to the next.
    pub every: Duration,
}

impl ContractWatch {
    /// Looks until `stop`.
    pub async fn run(self, stop: CancellationToken, heartbeat: Heartbeat) {
        let mut pause = self.every.min(FIRST_LOOK);
        while stop.run_until_cancelled(heartbeat.wait(tokio::time::sleep(pause))).await.is_some() {
            pause = self.every;
            let chains = self.board.chains();
            // A standby's leader looks.
            if chains.get(&self.settings.name).is_none_or(|chain| chain.state == ChainState::Standby) {
                continue;
            }
            match stop.run_until_cancelled(self.look(&heartbeat)).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    let chain = &self.settings.name;
                    tracing::debug!(%chain, error, "contracts cannot be looked at; it is retried");
                }
            }
        }
    }

    async fn look(&self, heartbeat: &Heartbeat) -> Result<(), String> {
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
        // Of a source that is complete nothing is asked any more.
        let read = self.sources.iter().filter(|source| !is_complete(&source.name));
        for TranslatedSource { name, abi, .. } in read {
            heartbeat.beat();
            let look = tokio::time::timeout(LOOK_TIMEOUT, look_at_contracts(&node, abi, head)).await;
            let look = look
                .map_or_else(|_| Err("no answer in time".to_owned()), |look| look.map_err(|e| causes(&e)));
            let found = match look {
                Ok(found) => found,
                Err(error) => {
                    // The node may answer for the contracts of another source.
                    tracing::debug!(chain = %self.settings.name, source = %name, error, "contracts cannot be looked at");
                    continue;
                }
            };
            let has_events = events.get(name.as_str()).is_some_and(|events| *events > 0);
            let found = found.iter().filter(|finding| finding.counts(has_events));
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
