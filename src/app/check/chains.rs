//! What only the node of a chain knows: whether it is the chain that is stored, and whether its sources can have events.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};

use super::super::preflight::NodeCheck;
use super::{CheckLine, CheckScope};
use crate::admin::{about, thousands};
use crate::config::{self, Confirmations};
use crate::roles::parts::{Loaded, translator};
use chainflume_core::domain::StartBlock;
use chainflume_index::{ContractFinding, check_contracts};
use chainflume_node::{ChainError, EndpointLimits, Node};
use chainflume_store::KnownBlocks;

/// What is stored, where that could be read.
#[derive(Default)]
pub(super) struct StoredFacts {
    /// Of each chain.
    pub blocks: Vec<KnownBlocks>,
    /// Number of events by source.
    pub events: BTreeMap<String, u64>,
    /// The first block of each source, where it is decided.
    pub starts: BTreeMap<String, u64>,
    /// The newest stored block of each chain, by chain id.
    pub tips: BTreeMap<u64, u64>,
    /// The limits of its endpoints that the daemon has saved.
    pub limits: BTreeMap<String, EndpointLimits>,
}

/// Where sources begin that begin with the latest block.
pub(super) fn latest_starts(loaded: &Loaded, stored: &StoredFacts) -> Vec<CheckLine> {
    let line = |source: &config::Source| {
        let text = match stored.starts.get(&source.name) {
            Some(block) => format!("start_block = \"latest\" is block {block}"),
            None => {
                "start_block = \"latest\" is decided by the first head of a node that has synced".to_owned()
            }
        };
        CheckLine::right(format!("source {}: {text}", source.name))
    };
    let sources = loaded.config.chains.iter().flat_map(|chain| loaded.config.sources_of(&chain.name));
    sources.filter(|source| source.start_block == StartBlock::Latest).map(line).collect()
}

/// What was found of the chains.
#[derive(Default)]
pub(super) struct ChainFindings {
    /// For the report.
    pub lines: Vec<CheckLine>,
    /// Whether the node of a chain contradicts what is stored.
    pub contradicts: bool,
}

/// A node that answered, with the head that it returned.
struct NodeAtHead {
    node: Node,
    head: u64,
}

/// Asks the first node of each chain that answered. Before a start the contracts are left to the daemon: it looks at them itself, and its
/// start does not wait for that.
pub(super) async fn look(
    loaded: &Loaded,
    nodes: &[NodeCheck],
    scope: CheckScope,
    stored: &StoredFacts,
) -> ChainFindings {
    let looks = loaded.config.chains.iter().map(async |chain| {
        let fit = nodes.iter().filter(|check| check.chain == chain.name && check.error().is_none());
        let first = fit.min_by_key(|check| check.priority)?;
        let head = *first.outcome.as_ref().ok()?;
        let settings = chain.node.clone();
        let provider = settings.providers.iter().find(|candidate| candidate.label == first.provider)?;
        let node = Node::new(&settings, provider).ok()?;
        if let Some(limits) = stored.limits.get(node.fingerprint()) {
            node.use_limits(limits);
        }
        let at = NodeAtHead { node, head };
        let mut found = look_at(loaded, chain, &at, stored).await;
        if scope == CheckScope::Everything && !found.contradicts {
            found.lines.extend(contract_lines(loaded, chain, &at, stored).await);
        }
        Some(found)
    });
    let mut all = ChainFindings::default();
    for found in join_all(looks).await.into_iter().flatten() {
        all.contradicts |= found.contradicts;
        all.lines.extend(found.lines);
    }
    all
}

async fn look_at(
    loaded: &Loaded,
    chain: &config::Chain,
    at: &NodeAtHead,
    stored: &StoredFacts,
) -> ChainFindings {
    let head = at.head;
    let mut found = ChainFindings::default();
    let place = format!("chain {}", chain.name);
    match contradiction(loaded, chain.chain_id, at, stored).await {
        Ok(Some(text)) => {
            found.contradicts = true;
            found.lines.push(CheckLine::wrong(format!("{place}: {text}")));
            return found;
        }
        Ok(None) => {}
        Err(error) => {
            found
                .lines
                .push(CheckLine::warning(format!("{place}: stored blocks cannot be compared: {error}")));
        }
    }
    let behind = stored.tips.get(&chain.chain_id).filter(|tip| **tip > head).map(|tip| {
        format!(
            "{place}: the head of the node is block {}, {} blocks below the newest stored block: the node lags, or its chain was made \
             anew; wait, or use another node",
            thousands(head),
            thousands(*tip - head)
        )
    });
    let waits = waits(loaded, chain, head);
    found.lines.extend(behind.into_iter().chain(waits).map(CheckLine::warning));
    found
}

/// What is suspicious about the contracts of the chain's sources, in their order, or why that cannot be seen. As many sources are
/// looked at together as the node answers requests at once; after an error no other is.
async fn contract_lines(
    loaded: &Loaded,
    chain: &config::Chain,
    at: &NodeAtHead,
    stored: &StoredFacts,
) -> Vec<CheckLine> {
    let NodeAtHead { node, head } = at;
    // A configuration that is checked has a translator.
    let sources = translator(&loaded.config, chain).map(|translator| translator.into_sources());
    let sources = sources.unwrap_or_default();
    let looks =
        sources.iter().map(|source| async move { (source, check_contracts(node, &source.abi, *head).await) });
    let mut looks = stream::iter(looks).buffered(node.max_concurrent());
    let mut lines = Vec::new();
    while let Some((source, found)) = looks.next().await {
        let has_events = stored.events.get(&source.name).is_some_and(|events| *events > 0);
        match found {
            Ok(found) => {
                let found = found.iter().filter(|finding| finding.matters(has_events));
                lines.extend(
                    found.map(|finding: &ContractFinding| format!("source {}: {finding}", source.name)),
                );
            }
            Err(error) => {
                let place = format!("chain {}: contracts of source {}", chain.name, source.name);
                lines.push(format!("{place} and of those after it cannot be looked at: {error}"));
                break;
            }
        }
    }
    lines.into_iter().map(CheckLine::warning).collect()
}

/// How the node contradicts block 0 or the newest final block that is stored, with what helps.
async fn contradiction(
    loaded: &Loaded,
    chain_id: u64,
    at: &NodeAtHead,
    stored: &StoredFacts,
) -> Result<Option<String>, ChainError> {
    let known = stored.blocks.iter().filter(|known| known.chain_id == chain_id);
    for stored in known.flat_map(|known| &known.blocks).filter(|block| block.number <= at.head) {
        let Some(found) = at.node.block(stored.number).await? else { continue };
        if found.hash != stored.hash {
            let remedy = match stored.number {
                0 => {
                    "which is another chain with the same chain id, or a new one: use the node of the stored chain, or for the new chain"
                }
                _ => {
                    "after a reorg below a final block, or on another branch or a new chain: use a node you trust, or run `chainflume \
                     rewind`, or for a new chain"
                }
            };
            let (number, ours, theirs, fresh) =
                (stored.number, stored.hash, found.hash, fresh_database(loaded));
            return Ok(Some(format!(
                "block {number} is {ours} in the database and {theirs} at the node, {remedy} {fresh}"
            )));
        }
    }
    Ok(None)
}

fn fresh_database(loaded: &Loaded) -> String {
    match loaded.config.database.url {
        Some(_) => "another database.url with an empty database".to_owned(),
        None => format!("another data_dir (stop the daemon and delete {})", loaded.config.data_dir.display()),
    }
}

/// What of the chain is still in the future.
fn waits(loaded: &Loaded, chain: &config::Chain, head: u64) -> Vec<String> {
    let mut lines = Vec::new();
    if let Confirmations::Blocks(depth) = chain.policy.confirmations
        && depth > head
    {
        lines.push(format!(
            "chain {}: `confirmations` is {} and the head is block {}: no block is confirmed for {}",
            chain.name,
            thousands(depth),
            thousands(head),
            about(depth - head, chain.block_time)
        ));
    }
    let later = |source: &config::Source| match source.start_block {
        StartBlock::Number(start) if start > head => Some(format!(
            "source {}: waits for block {}, {}: the head is block {}",
            source.name,
            thousands(start),
            about(start - head, chain.block_time),
            thousands(head)
        )),
        _ => None,
    };
    lines.extend(loaded.config.sources_of(&chain.name).filter_map(later));
    lines
}
