use std::sync::Arc;

use super::filter::{BlockSelection, Filter};
use super::view::View;
use crate::block::Block;
use crate::call::RpcError;
use crate::faults::{BeyondHead, Lie};
use chainflume_core::domain::{BlockRange, Log};

/// `eth_getLogs`: the correct answer, then the node's limits, then the injected fault.
pub(super) fn get_logs(
    view: &View<'_>,
    filter: &Filter,
    timed: bool,
    lies: &[Lie],
) -> Result<Vec<Log>, RpcError> {
    let asked = asked(view, filter)?;
    let limits = &view.behaviour;
    if let Some(cap) = &limits.max_addresses {
        cap.check(filter.addresses.len() as u64, asked.range())?;
    }
    if let (Some(cap), LogQuery::Range(range)) = (&limits.max_range, &asked) {
        cap.check(range.width(), *range)?;
    }
    let most = limits.max_logs.as_ref().map_or(usize::MAX, |cap| {
        // One log more than allowed shows that the limit is exceeded, and bounds the work.
        usize::try_from(cap.max.saturating_add(1)).unwrap_or(usize::MAX)
    });
    let mut logs: Vec<Log> = match &asked {
        LogQuery::Block(block) => block.logs(timed).filter(|log| filter.admits(log)).take(most).collect(),
        LogQuery::Range(range) => known(view, *range)?
            .into_iter()
            .flat_map(|range| view.state.logs(range))
            .filter(|log| filter.admits(log))
            .take(most)
            .collect(),
    };
    if let Some(cap) = &limits.max_logs {
        cap.check(logs.len() as u64, asked.range())?;
    }
    lies.iter().for_each(|lie| lie.apply(&mut logs, asked.range().to()));
    Ok(logs)
}

enum LogQuery {
    Block(Arc<Block>),
    Range(BlockRange),
}

impl LogQuery {
    fn range(&self) -> BlockRange {
        match self {
            Self::Block(block) => BlockRange::single(block.link.number),
            Self::Range(range) => *range,
        }
    }
}

fn asked(view: &View<'_>, filter: &Filter) -> Result<LogQuery, RpcError> {
    match filter.blocks {
        BlockSelection::Hash(hash) => {
            view.by_hash(&hash).cloned().map(LogQuery::Block).ok_or_else(RpcError::unknown_block)
        }
        BlockSelection::Range(from, to) => {
            let range = BlockRange::new(view.number(from)?, view.number(to)?);
            range.map(LogQuery::Range).ok_or_else(|| RpcError::new(-32000, "invalid block range params"))
        }
    }
}

/// The part of `range` that the node has; `None` if it has none of it.
fn known(view: &View<'_>, range: BlockRange) -> Result<Option<BlockRange>, RpcError> {
    if range.to() > view.head && view.behaviour.beyond_head == BeyondHead::Refuse {
        return Err(RpcError::params("block range extends beyond current head block"));
    }
    Ok(BlockRange::new(range.from(), range.to().min(view.head)))
}
