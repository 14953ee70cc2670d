//! Reorgs: from a contradiction to the rewind.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::IndexerError;
use super::session::IndexSession;
use chainflume_core::canon::{Heads, ReorgVerdict, judge};
use chainflume_core::domain::{B256, BlockId};
use chainflume_node::{IdentifiedBlocks, NodeStatus};
use chainflume_ops::health::DeepReorg;
use chainflume_ops::metrics;
use chainflume_store::Rewind;

/// Pause between the two reads that confirm a reorg: long enough for a load balancer to choose another backend, short
/// enough not to be noticed.
const SECOND_READ_DELAY: Duration = Duration::from_millis(50);

/// Maximum number of headers that are read to check that a new branch follows the common block. The stored blocks
/// near the head have no gaps.
const MAX_LINKS: u64 = 64;

/// The result of a comparison with the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReorgCheck {
    /// The node agrees with everything stored.
    Unchanged,
    /// The node differs, but two reads did not return the same difference.
    Unconfirmed,
    /// Orphaned blocks were undone.
    Rewound,
}

impl IndexSession<'_> {
    /// Compares the stored blocks at and below `top` with the node, and undoes those that two equal reads contradict.
    /// The second read proves which chain it is from, so that blocks of another chain undo nothing and stop nothing.
    pub(super) async fn check_for_reorg(
        &mut self,
        top: u64,
        stop: &CancellationToken,
    ) -> Result<ReorgCheck, IndexerError> {
        let Some(first) = stop.run_until_cancelled(self.compare_with_node(top)).await.transpose()? else {
            return Ok(ReorgCheck::Unchanged);
        };
        if first == ReorgVerdict::Agrees {
            self.differs_since = None;
            return Ok(ReorgCheck::Unchanged);
        }
        tokio::time::sleep(SECOND_READ_DELAY).await;
        let second = stop.run_until_cancelled(self.confirm(top)).await.transpose()?.flatten();
        if second.as_ref() != Some(&first) {
            return Ok(ReorgCheck::Unconfirmed);
        }
        match first {
            ReorgVerdict::Rewind(to) => self.rewind(to).await.map(|()| ReorgCheck::Rewound),
            ReorgVerdict::TooDeep { ours, theirs } if self.may_catch_up(ours, theirs).await? => {
                Ok(ReorgCheck::Unconfirmed)
            }
            ReorgVerdict::TooDeep { ours, theirs } => Err(IndexerError::TooDeep { ours, theirs }),
            ReorgVerdict::Agrees | ReorgVerdict::Look(_) => Ok(ReorgCheck::Unchanged),
        }
    }

    /// Whether a node that contradicts a final block may only lag: the height is not final for the node itself, and
    /// it may be on a branch that it will leave. It may for as long as a backend may lag.
    async fn may_catch_up(&mut self, ours: BlockId, theirs: B256) -> Result<bool, IndexerError> {
        let NodeStatus { head, finalized, block } = self.node.status_at(ours.number).await?;
        let heads = Heads { latest: head, safe: None, finalized, aged: None };
        let is_repeated = block.is_some_and(|block| block.hash == theirs);
        if is_repeated && self.chain.policy.final_number(&heads) >= ours.number {
            return Ok(false);
        }
        let since = *self.differs_since.get_or_insert_with(Instant::now);
        Ok(since.elapsed() < self.chain.policy.backend_lag)
    }

    /// As [`Self::check_for_reorg`], after a block contradicted the stored block `at`. Then agreement is an error.
    pub(super) async fn check_contradiction(
        &mut self,
        at: u64,
        stop: &CancellationToken,
    ) -> Result<(), IndexerError> {
        match self.check_for_reorg(at, stop).await? {
            ReorgCheck::Rewound => Ok(()),
            ReorgCheck::Unchanged | ReorgCheck::Unconfirmed if stop.is_cancelled() => Ok(()),
            ReorgCheck::Unchanged | ReorgCheck::Unconfirmed => Err(IndexerError::Moved(format!(
                "a block contradicts the stored block {at}, which the node still has"
            ))),
        }
    }

    /// Reads blocks of the node until the verdict is clear.
    async fn compare_with_node(&self, top: u64) -> Result<ReorgVerdict, IndexerError> {
        let held = self.snapshot().held();
        let mut seen = BTreeMap::new();
        loop {
            match judge(&held, self.snapshot().final_number(), top, &seen) {
                ReorgVerdict::Look(heights) => {
                    let blocks = self.node.blocks(&heights).await?;
                    let hashes = blocks.into_iter().map(|block| block.map(|block| block.hash));
                    seen.extend(heights.into_iter().zip(hashes));
                }
                verdict => return Ok(verdict),
            }
        }
    }

    /// As [`Self::compare_with_node`], from a node that proves its chain with each answer. `None` where the new
    /// branch does not follow the common block: its blocks came from several backends, or the chain has just changed.
    async fn confirm(&self, top: u64) -> Result<Option<ReorgVerdict>, IndexerError> {
        let (held, final_number) = (self.snapshot().held(), self.snapshot().final_number());
        let (mut seen, mut genesis) = (BTreeMap::new(), true);
        let verdict = loop {
            match judge(&held, final_number, top, &seen) {
                ReorgVerdict::Look(heights) => {
                    let IdentifiedBlocks { blocks, genesis: shown } =
                        self.node.identified_blocks(&heights).await?;
                    genesis &= shown;
                    let hashes = blocks.into_iter().map(|block| block.map(|block| block.hash));
                    seen.extend(heights.into_iter().zip(hashes));
                }
                verdict => break verdict,
            }
        };
        match &verdict {
            ReorgVerdict::Rewind(to) if held.get(&to.number) == Some(&to.hash) => {
                let other =
                    |(number, hash): (&u64, &B256)| seen.get(number).is_some_and(|s| *s != Some(*hash));
                let lowest = held.range(to.number + 1..).find(|held| other(*held));
                let lowest = lowest.map_or(to.number, |(number, _)| *number);
                Ok(self.follows(*to, lowest).await?.then_some(verdict))
            }
            // A branch that shares no block with the stored one is usually another chain, and the chain id alone does
            // not prove this chain.
            ReorgVerdict::Rewind(_) | ReorgVerdict::TooDeep { .. }
                if !genesis && self.node.has_returned_genesis() =>
            {
                Err(self.node.genesis_missing().into())
            }
            _ => Ok(Some(verdict)),
        }
    }

    /// Whether the node's blocks link from `common` up to height `to`, which only blocks of this chain can. More than
    /// [`MAX_LINKS`] blocks are not checked: then the node's proof of its chain is enough.
    async fn follows(&self, common: BlockId, to: u64) -> Result<bool, IndexerError> {
        if to - common.number > MAX_LINKS {
            return Ok(true);
        }
        let heights: Vec<u64> = (common.number + 1..=to).collect();
        let mut below = common.hash;
        for block in self.node.identified_blocks(&heights).await?.blocks {
            match block {
                Some(block) if block.parent_hash == below => below = block.hash,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn rewind(&mut self, to: BlockId) -> Result<(), IndexerError> {
        // Rows that were written ahead hold locks that block the build.
        self.attempt.history_read = None;
        self.build_indexes().await?;
        let started = Instant::now();
        let rewound =
            self.store().rewind(&Rewind { expected: self.snapshot().all(), to, by_operator: false }).await?;
        metrics::committed(&self.chain.settings.name, "rewind", started.elapsed());
        metrics::pending_retracted(&self.chain.settings.name, rewound.retracted);
        if rewound.depth == 0 {
            tracing::info!(
                chain = %self.chain.settings.name, ancestor = %to, retracted = rewound.retracted,
                "reorg above the confirmed blocks: pending events retracted"
            );
        } else {
            metrics::reorg(&self.chain.settings.name, rewound.depth, rewound.events);
            tracing::warn!(
                chain = %self.chain.settings.name, ancestor = %to, depth = rewound.depth, events = rewound.events,
                retracted = rewound.retracted, "reorg: orphaned events undone"
            );
        }
        self.report_reorg(to, rewound.depth);
        self.forget();
        Ok(())
    }

    /// Reports a reorg of confirmed blocks, which an operator should know about.
    fn report_reorg(&self, to: BlockId, undone: u64) {
        self.chain.board.chain(&self.chain.settings.name, |chain| {
            let depth =
                chain.heads.confirmed.map_or(0, |confirmed| confirmed.saturating_sub(to.number)).min(undone);
            if depth > 0 {
                chain.deep_reorg = Some(DeepReorg { depth, at: Instant::now() });
            }
        });
    }
}
