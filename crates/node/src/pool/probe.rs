//! Checks a provider before it is used: it must answer the requests of the work.

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

/// Blocks of a range that are read where the switch is urgent.
const URGENT_BLOCKS: u64 = 16;
/// Blocks with logs of a range that are compared with their headers: one request.
const COMPARED_BLOCKS: usize = 12;

/// The work that the provider is to take over.
pub(super) struct TakeoverTask {
    pub work: Work,
    /// The read that failed last, of the provider that it replaces or of its own.
    pub unread: Option<FailedRead>,
    pub why: SwitchReason,
}

/// Checks everything that the work needs. The WebSocket is checked only if the switch is not urgent: polling can
/// replace it.
///
/// # Errors
/// The first check that failed, as a text for people.
pub(super) async fn all(
    node: &Node,
    provider: &ProviderSettings,
    settings: &ChainSettings,
    group: &ProviderGroup,
    task: TakeoverTask,
) -> Result<(), String> {
    let urgent = matches!(task.why, SwitchReason::Failing | SwitchReason::Behind);
    let limit = if urgent { settings.failover.probe_timeout } else { settings.request_timeout };
    let asks = async {
        node.check_chain().await.map_err(|error| error.to_string())?;
        let head = node.head().await.map_err(|error| error.to_string())?;
        check_essentials(node, settings, group, head).await.map_err(|error| error.to_string())?;
        let Some(mut unread) = task.unread else { return Ok(()) };
        if urgent && task.work == Work::History {
            unread.range = unread.range.split_at_width(URGENT_BLOCKS).0;
        }
        repeat_read(node, task.work, &unread).await.map_err(|error| error.to_string())
    };
    probing(limit, asks).await?;
    if urgent {
        return Ok(());
    }
    let opened = heads::check_websocket(settings, provider).await;
    opened.map_err(|reason| format!("its websocket does not work: {reason}"))
}

/// Checks the tag that confirms blocks, and the logs of a recent block by its hash.
///
/// # Errors
/// Why a request failed.
pub async fn check_essentials(
    node: &Node,
    settings: &ChainSettings,
    group: &ProviderGroup,
    head: BlockRef,
) -> Result<(), ChainError> {
    if let Some(tag) = settings.tag {
        node.check_tag(tag).await?;
    }
    // The filter of the work. Before the first request of the work, a filter for an unused address.
    let filter = group.filter().filter(|filter| !node.asks_in_parts(filter));
    let filter = filter.unwrap_or_else(|| LogFilter {
        addresses: Some([Address::ZERO].into()),
        topic0: None,
        values: TopicValues::default(),
    });
    // The block below the head, which other backends of the same gateway have as well.
    let recent = node.block(head.number.saturating_sub(1)).await?.unwrap_or(head);
    // Without the fallback to receipts: it helps to keep a node that has no logs, and is no reason to switch to one.
    let logs =
        node.logs_once(&filter, BlockSelector::Hash { number: recent.number, hash: recent.hash }).await;
    unless_too_much(logs.map(|_| ()))
}

/// Repeats a read that failed.
///
/// # Errors
/// Why it fails again.
pub(super) async fn repeat_read(node: &Node, work: Work, unread: &FailedRead) -> Result<(), ChainError> {
    let FailedRead { filter, range } = unread;
    let read = match work {
        Work::History => read_history(node, filter, *range).await,
        _ => read_near_head(node, filter, *range).await,
    };
    unless_too_much(read)
}

/// Reads one block of the range of history that is read now. A range may only be too wide, and then fewer blocks are
/// requested. A single block that fails is a failure of the work.
///
/// # Errors
/// Why the read fails.
pub(crate) async fn recheck_current_range(node: &Node) -> Result<(), ChainError> {
    let Some(unread) = node.failed.begun() else { return Ok(()) };
    let read = repeat_read(node, Work::History, &unread).await;
    if let Err(error) = &read {
        node.could_not_read(Work::History, &unread.filter, unread.range);
        node.work_failed(Work::History, Some(error));
    }
    read
}

/// Reads blocks near the head as the work does: each with its logs, compared with its header.
async fn read_near_head(node: &Node, filter: &LogFilter, range: BlockRange) -> Result<(), ChainError> {
    let numbers: Vec<u64> = (range.from()..=range.to()).collect();
    let blocks = node.headers_with_logs(filter, &numbers).await?;
    for compared in
        try_join_all(blocks.into_iter().map(|block| Box::pin(node.compared(filter, block)))).await?
    {
        let Some(mismatch) = compared.mismatch else { continue };
        let (block, count) = (compared.block.block, compared.block.logs.len());
        if node.resolved(filter, compared.block, &mismatch).await?.logs.len() != count {
            return Err(node.missing_logs_error(&block));
        }
    }
    Ok(())
}

/// Reads a range of history: the headers of its ends, its logs, and the headers of some blocks with logs, whose
/// hashes must agree.
async fn read_history(node: &Node, filter: &LogFilter, range: BlockRange) -> Result<(), ChainError> {
    let logs = node.logs_once(filter, BlockSelector::Range(range)).await?;
    let with_logs: Vec<BlockId> = logs.blocks().map(|block| block.id).collect();
    let some =
        with_logs.iter().step_by(with_logs.len().div_ceil(COMPARED_BLOCKS).max(1)).chain(with_logs.last());
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

/// A refusal because of the size of the request is no failure: the work would request less.
fn unless_too_much(read: Result<(), ChainError>) -> Result<(), ChainError> {
    match read {
        Err(error) if error.narrows().is_some() && !matches!(error, ChainError::Timeout { .. }) => Ok(()),
        Err(error) if error.splits_filter() => Ok(()),
        read => read,
    }
}
