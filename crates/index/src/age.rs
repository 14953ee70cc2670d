//! The age of blocks: a block that a lagging backend may still lack is never read by range.

use super::error::IndexerError;
use super::session::IndexSession;
use chainflume_core::canon::{AgeBoundary, AgeVerdict, BlockTime, DepthPolicy, Heads};
use chainflume_core::domain::BlockRef;
use chainflume_node::Node;

impl IndexSession<'_> {
    /// The highest block that may be read by range.
    pub(super) fn aged(&self) -> u64 {
        self.observed.heads.map_or(0, |heads| self.chain.policy.live_from(&heads).saturating_sub(1))
    }

    /// These heads with the highest old block, if a source is so far behind that it matters. An old block stays old,
    /// so the boundary is computed again only after the chain has grown for a while.
    pub(super) async fn with_age(&self, heads: Heads) -> Result<Heads, IndexerError> {
        let Some(head) = self.observed.newest.filter(|head| head.number == heads.latest) else {
            return Ok(heads);
        };
        let pasts = self.followed_sources.with_gaps().filter_map(|(_, compared)| compared.gaps.first());
        let lowest = self.next_blocks().into_iter().chain(pasts.map(|gap| gap.range.from())).min();
        if lowest.is_none_or(|next| !self.chain.policy.wants_age(&heads, next)) {
            return Ok(heads);
        }
        let number = old_enough(&self.node, &self.chain.policy, head).await?;
        let number = heads.aged.map_or(number, |aged| aged.number.max(number));
        Ok(Heads { aged: Some(AgeBoundary { number, under: head.number }), ..heads })
    }
}

/// The highest block that is old enough, under this head, to be read by range.
///
/// # Errors
/// Why a request failed, or that the node lacks a block far below its head.
pub(super) async fn old_enough(
    node: &Node,
    policy: &DepthPolicy,
    head: BlockRef,
) -> Result<u64, IndexerError> {
    let head = BlockTime { number: head.number, time: head.timestamp };
    let mut seen = None;
    loop {
        match policy.age(head, seen) {
            AgeVerdict::Old(number) => return Ok(number),
            AgeVerdict::Look(number) => {
                let lacks = || {
                    let host = node.host();
                    IndexerError::Moved(format!("{host} lacks block {number}, which is far below its head"))
                };
                let block = node.block(number).await?.ok_or_else(lacks)?;
                seen = Some(BlockTime { number, time: block.timestamp });
            }
        }
    }
}
