//! What a provider has to show before anything depends on it: that it does what the work does.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use futures_util::future::try_join_all;

use super::choice::SwitchReason;
use crate::error::ChainError;
use crate::heads;
use crate::logs::{BlockSelector, LOGS};
use crate::node::failed_reads::FailedRead;
use crate::node::{HEADER, Node, ProviderGroup};
use crate::rpc::probing;
use crate::settings::Work;
use crate::settings::{ChainSettings, ProviderSettings};
use chainflume_core::domain::{BlockId, BlockRange, BlockRef, LogFilter, TopicValues};

/// Of a range of old blocks so many are read where there is no time for all of it.
const FEW: u64 = 16;
/// Of the blocks in a range that have logs so many are held against their headers: one request.
const SOME: usize = 12;

/// What it is to take over.
pub(super) struct TakeoverTask {
    pub work: Work,
    /// What could not be read last, by the one that it replaces or by itself.
    pub unread: Option<FailedRead>,
    pub why: SwitchReason,
}

/// Everything it may be asked for. Its WebSocket must work where nothing is urgent; in need polling will do.
///
/// # Errors
/// What it cannot do, for a person.
pub(super) async fn all(
    node: &Node,
    provider: &ProviderSettings,
    (settings, kin): (&ChainSettings, &ProviderGroup),
    task: TakeoverTask,
) -> Result<(), String> {
    let urgent = matches!(task.why, SwitchReason::Failing | SwitchReason::Behind);
    let limit = if urgent { settings.failover.probe_timeout } else { settings.request_timeout };
    let asks = async {
        node.check_chain().await.map_err(|error| error.to_string())?;
        let head = node.head().await.map_err(|error| error.to_string())?;
        essential(node, (settings, kin), head).await.map_err(|error| error.to_string())?;
        let Some(mut unread) = task.unread else { return Ok(()) };
        if urgent && task.work == Work::History {
            unread.range = unread.range.split_at_width(FEW).0;
        }
        again(node, task.work, &unread).await.map_err(|error| error.to_string())
    };
    probing(limit, asks).await?;
    if urgent {
        return Ok(());
    }
    let opened = heads::check_websocket(settings, provider).await;
    opened.map_err(|reason| format!("its websocket does not work: {reason}"))
}

/// The tag blocks are confirmed by, and the logs of a recent block by its hash.
///
/// # Errors
/// What it refuses.
pub async fn essential(
    node: &Node,
    (settings, kin): (&ChainSettings, &ProviderGroup),
    head: BlockRef,
) -> Result<(), ChainError> {
    if let Some(tag) = settings.tag {
        node.check_tag(tag).await?;
    }
    // What the work asks for; before it has asked, an unused address: the question is what counts.
    let filter = kin.filter().filter(|filter| !node.asks_in_parts(filter));
    let filter = filter.unwrap_or_else(|| LogFilter {
        addresses: Some([Address::ZERO].into()),
        topic0: None,
        values: TopicValues::default(),
    });
    // The block below, which a backend of the same gateway has as well.
    let recent = node.block(head.number.saturating_sub(1)).await?.unwrap_or(head);
    // By this question alone: receipts are a way to go on with a node that has no logs, and no reason to switch to it.
    let logs =
        node.logs_once(&filter, BlockSelector::Hash { number: recent.number, hash: recent.hash }).await;
    unless_too_much(logs.map(|_| ()))
}

/// What could not be read, once more.
///
/// # Errors
/// What is still wrong with it.
pub(super) async fn again(node: &Node, work: Work, unread: &FailedRead) -> Result<(), ChainError> {
    let FailedRead { filter, range } = unread;
    let read = match work {
        Work::History => old(node, filter, *range).await,
        _ => near(node, filter, *range).await,
    };
    unless_too_much(read)
}

/// A block of the range that is being read: where that takes too long for a range, fewer blocks are asked for; where it does for
/// one block, nothing can be read here. What comes of it counts for the work.
///
/// # Errors
/// What is wrong with it.
pub(crate) async fn reading(node: &Node) -> Result<(), ChainError> {
    let Some(unread) = node.failed.begun() else { return Ok(()) };
    let read = again(node, Work::History, &unread).await;
    if let Err(error) = &read {
        node.could_not_read(Work::History, &unread.filter, unread.range);
        node.work_failed(Work::History, Some(error));
    }
    read
}

/// Blocks near the head, as they are read there: each with its logs, held against its header.
async fn near(node: &Node, filter: &LogFilter, range: BlockRange) -> Result<(), ChainError> {
    let numbers: Vec<u64> = (range.from()..=range.to()).collect();
    let blocks = node.near(filter, &numbers).await?;
    for compared in
        try_join_all(blocks.into_iter().map(|block| Box::pin(node.compared(filter, block)))).await?
    {
        let Some(mismatch) = compared.mismatch else { continue };
        let (block, count) = (compared.block.block, compared.block.logs.len());
        if node.resolved(filter, compared.block, &mismatch).await?.logs.len() != count {
            return Err(node.contradicted(&block));
        }
    }
    Ok(())
}

/// A range of old blocks: its ends, its logs, and of some blocks that have logs whether they are those of the chain.
async fn old(node: &Node, filter: &LogFilter, range: BlockRange) -> Result<(), ChainError> {
    let logs = node.logs_once(filter, BlockSelector::Range(range)).await?;
    let with_logs: Vec<BlockId> = logs.blocks().map(|block| block.id).collect();
    let some = with_logs.iter().step_by(with_logs.len().div_ceil(SOME).max(1)).chain(with_logs.last());
    let mut hashes: BTreeMap<u64, Option<B256>> =
        [range.from(), range.to()].map(|number| (number, None)).into();
    hashes.extend(some.map(|block| (block.number, Some(block.hash))));
    let numbers: Vec<u64> = hashes.keys().copied().collect();
    for ((number, hash), block) in hashes.into_iter().zip(node.blocks(&numbers).await?) {
        let Some(block) = block else {
            return Err(node.rpc.bad(HEADER, format!("it has no block {number}")));
        };
        if hash.is_some_and(|hash| hash != block.hash) {
            return Err(node
                .rpc
                .bad(LOGS, format!("logs of block {number} by another hash than its header's")));
        }
    }
    Ok(())
}

/// One that answers less at once than was asked for can be asked for less.
fn unless_too_much(read: Result<(), ChainError>) -> Result<(), ChainError> {
    match read {
        Err(error) if error.narrows().is_some() && !matches!(error, ChainError::Timeout { .. }) => Ok(()),
        Err(error) if error.splits_filter() => Ok(()),
        read => read,
    }
}
