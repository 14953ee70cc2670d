use std::sync::Arc;

use super::filter::{BlockSelection, Filter};
use super::view::View;
use crate::block::Block;
use crate::call::RpcError;
use crate::faults::Plan;
use chainflume_core::domain::{BlockRange, Log};

/// `eth_getLogs`: the correct answer, then the node's limits, then the injected fault.
pub(super) fn get_logs(
    view: &View<'_>,
    filter: &Filter,
    timed: bool,
    plan: &Plan,
) -> Result<Vec<Log>, RpcError> {
    let asked = asked(view, filter)?;
    let limits = &view.behaviour;
    limits.check_addresses(filter.addresses.len() as u64, asked.range())?;
    if let LogQuery::Range(range) = &asked {
        limits.check_range(*range)?;
    }
    let most = limits.most_logs();
    let mut logs: Vec<Log> = match &asked {
        LogQuery::Block(block) => block.logs(timed).filter(|log| filter.admits(log)).take(most).collect(),
        LogQuery::Range(range) => known(view, *range)?
            .into_iter()
            .flat_map(|range| view.state.logs(range))
            .filter(|log| filter.admits(log))
            .take(most)
            .collect(),
    };
    limits.check_logs(logs.len() as u64, asked.range())?;
    plan.falsify(&mut logs, asked.range().to());
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
    view.behaviour.check_end(range.to(), view.head)?;
    Ok(BlockRange::new(range.from(), range.to().min(view.head)))
}
