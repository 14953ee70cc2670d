//! The way back: from a contradiction to the common ancestor.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::IndexerError;
use super::session::Session;
use chainflume_core::canon::{Heads, Verdict, judge};
use chainflume_core::domain::{B256, BlockId};
use chainflume_node::{Shown, Standing};
use chainflume_ops::health::DeepReorg;
use chainflume_ops::metrics;
use chainflume_store::Rewind;

/// Between the two reads that make a reorg: long enough for a load balancer to send us to another backend,
/// short enough not to be noticed.
const SECOND_READ_AFTER: Duration = Duration::from_millis(50);

/// Most headers that are read to see that a new branch follows the common block. What is held near the head has no gaps.
const LINKS: u64 = 64;

/// What came of looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Nothing we hold is contradicted.
    Agrees,
    /// Something is, but not twice in the same way.
    Unsure,
    /// What was orphaned is undone.
    Rewound,
}

impl Session<'_> {
    /// Compares what we hold at and below `top` with the node, and undoes what two reads contradict. The second read comes
    /// from a node that shows with it which chain it is on: nothing is undone, and no chain stopped, for another chain's blocks.
    pub(super) async fn settle(
        &mut self,
        top: u64,
        stop: &CancellationToken,
    ) -> Result<Settled, IndexerError> {
        let Some(first) = stop.run_until_cancelled(self.look(top)).await.transpose()? else {
            return Ok(Settled::Agrees);
        };
        if first == Verdict::Agrees {
            self.doubted_since = None;
            return Ok(Settled::Agrees);
        }
        tokio::time::sleep(SECOND_READ_AFTER).await;
        let second = stop.run_until_cancelled(self.look_again(top)).await.transpose()?.flatten();
        if second.as_ref() != Some(&first) {
            return Ok(Settled::Unsure);
        }
        match first {
            Verdict::Rewind(to) => self.rewind(to).await.map(|()| Settled::Rewound),
            Verdict::TooDeep { ours, theirs } if self.may_come_round(ours, theirs).await? => {
                Ok(Settled::Unsure)
            }
            Verdict::TooDeep { ours, theirs } => Err(IndexerError::TooDeep { ours, theirs }),
            Verdict::Agrees | Verdict::Look(_) => Ok(Settled::Agrees),
        }
    }

    /// Whether a node that has another block where ours is final has not come so far that this height is final to itself:
    /// a backend that lags may be on a branch it is about to leave. It is given as long as a backend may lag.
    async fn may_come_round(&mut self, ours: BlockId, theirs: B256) -> Result<bool, IndexerError> {
        let Standing { head, finalized, block } = self.node.standing(ours.number).await?;
        let heads = Heads { latest: head, safe: None, finalized, aged: None };
        let said_again = block.is_some_and(|block| block.hash == theirs);
        if said_again && self.chain.policy.final_number(&heads) >= ours.number {
            return Ok(false);
        }
        let since = *self.doubted_since.get_or_insert_with(Instant::now);
        Ok(since.elapsed() < self.chain.policy.backend_lag)
    }

    /// As [`Self::settle`], when a block contradicted ours at `at`: then agreement is a contradiction too.
    pub(super) async fn settle_break(
        &mut self,
        at: u64,
        stop: &CancellationToken,
    ) -> Result<(), IndexerError> {
        match self.settle(at, stop).await? {
            Settled::Rewound => Ok(()),
            Settled::Agrees | Settled::Unsure if stop.is_cancelled() => Ok(()),
            Settled::Agrees | Settled::Unsure => Err(IndexerError::Moved(format!(
                "a block contradicted ours at {at}, and that is still canonical"
            ))),
        }
    }

    /// Asks the node for one height after the other until the verdict is clear.
    async fn look(&self, top: u64) -> Result<Verdict, IndexerError> {
        let held = self.view().held();
        let mut seen = BTreeMap::new();
        loop {
            match judge(&held, self.view().final_number(), top, &seen) {
                Verdict::Look(heights) => {
                    let blocks = self.node.blocks(&heights).await?;
                    let hashes = blocks.into_iter().map(|block| block.map(|block| block.hash));
                    seen.extend(heights.into_iter().zip(hashes));
                }
                verdict => return Ok(verdict),
            }
        }
    }

    /// As [`Self::look`], by a node that shows its chain with each answer. `None` where the new branch does not follow what
    /// is common, so that its blocks come from several backends or the chain has just moved.
    async fn look_again(&self, top: u64) -> Result<Option<Verdict>, IndexerError> {
        let (held, final_number) = (self.view().held(), self.view().final_number());
        let (mut seen, mut genesis) = (BTreeMap::new(), true);
        let verdict = loop {
            match judge(&held, final_number, top, &seen) {
                Verdict::Look(heights) => {
                    let Shown { blocks, genesis: shown } = self.node.show(&heights).await?;
                    genesis &= shown;
                    let hashes = blocks.into_iter().map(|block| block.map(|block| block.hash));
                    seen.extend(heights.into_iter().zip(hashes));
                }
                verdict => break verdict,
            }
        };
        match &verdict {
            Verdict::Rewind(to) if held.get(&to.number) == Some(&to.hash) => {
                let other =
                    |(number, hash): (&u64, &B256)| seen.get(number).is_some_and(|s| *s != Some(*hash));
                let lowest = held.range(to.number + 1..).find(|held| other(*held));
                let lowest = lowest.map_or(to.number, |(number, _)| *number);
                Ok(self.follows(*to, lowest).await?.then_some(verdict))
            }
            // What shares no block with what we hold is mostly another chain, and the chain id alone does not tell.
            Verdict::Rewind(_) | Verdict::TooDeep { .. } if !genesis && self.node.has_shown_genesis() => {
                Err(self.node.hides_genesis().into())
            }
            _ => Ok(Some(verdict)),
        }
    }

    /// Whether the node's blocks above `common` lead from it up to height `to`, which only this chain's can. A gap that is
    /// wider than a look is left to what the node has shown of its chain.
    async fn follows(&self, common: BlockId, to: u64) -> Result<bool, IndexerError> {
        if to - common.number > LINKS {
            return Ok(true);
        }
        let heights: Vec<u64> = (common.number + 1..=to).collect();
        let mut below = common.hash;
        for block in self.node.show(&heights).await?.blocks {
            match block {
                Some(block) if block.parent_hash == below => below = block.hash,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn rewind(&mut self, to: BlockId) -> Result<(), IndexerError> {
        // What was written ahead holds locks that indexes wait for.
        self.attempt.reading = None;
        self.build_indexes().await?;
        let started = Instant::now();
        let rewound =
            self.store().rewind(&Rewind { expected: self.view().all(), to, by_operator: false }).await?;
        metrics::committed(&self.chain.settings.name, "rewind", started.elapsed());
        metrics::pending_retracted(&self.chain.settings.name, rewound.retracted);
        if rewound.depth == 0 {
            tracing::info!(
                chain = %self.chain.settings.name, ancestor = %to, retracted = rewound.retracted,
                "chain reorganised above what is confirmed, pending events taken back"
            );
        } else {
            metrics::reorg(&self.chain.settings.name, rewound.depth, rewound.events);
            tracing::warn!(
                chain = %self.chain.settings.name, ancestor = %to, depth = rewound.depth, events = rewound.events,
                retracted = rewound.retracted, "chain reorganised, orphaned events undone"
            );
        }
        self.say_reorg(to, rewound.depth);
        self.forget();
        Ok(())
    }

    /// What was announced as confirmed and was taken back is for a person to know.
    fn say_reorg(&self, to: BlockId, undone: u64) {
        self.chain.board.chain(&self.chain.settings.name, |chain| {
            let depth =
                chain.confirmed.map_or(0, |confirmed| confirmed.saturating_sub(to.number)).min(undone);
            if depth > 0 {
                chain.deep_reorg = Some(DeepReorg { depth, at: Instant::now() });
            }
        });
    }
}
