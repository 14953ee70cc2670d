//! Compares the answers of one provider with those of the others.

use std::sync::Arc;
use std::time::Instant;

use alloy_primitives::B256;
use futures_util::future::join_all;

use super::Pool;
use crate::error::ChainError;
use crate::node::evidence::CheckedBlock;
use crate::node::headers_with_logs::HeaderWithLogs;
use crate::node::{BlockWithLogs, Node};
use crate::rpc::probing;
use crate::settings::ProviderRole;
use chainflume_core::domain::{BlockId, LogFilter};
use chainflume_ops::metrics;

/// A provider that contradicts final blocks is not used for this many `return_after`: an hour by default.
const DISTRUSTED_FOR: u32 = 60;

impl Pool {
    /// The logs of a block near the head by its hash, compared with its header. Where the header indicates logs that
    /// the node did not return, the logs of another provider and the receipts of the block are read. Where the header
    /// proves that the block has no wanted logs, none are requested.
    ///
    /// # Errors
    /// Why the node cannot be asked, or that its answer is wrong.
    pub async fn with_logs(
        &self,
        node: &Arc<Node>,
        filter: &LogFilter,
        near: HeaderWithLogs,
    ) -> Result<BlockWithLogs, ChainError> {
        self.shared.group.note_filter(filter);
        if let Some(block) = node.proven_empty(filter, &near).await {
            return Ok(block);
        }
        let compared = node.compared(filter, near).await;
        if node.trust.has_failing_check() && !self.another_passes(node) {
            node.give_up_failing_checks();
        }
        let CheckedBlock { block: answered, mismatch } = compared?;
        let Some(mismatch) = mismatch else { return Ok(answered) };
        metrics::evidence_doubted(&self.shared.settings.name);
        // The other provider may lack the block, or the same logs. The time is limited, since the block waits.
        let limit = self.shared.settings.failover.probe_timeout;
        if let Some(other) = self.another(node)
            && let Ok(second) = probing(limit, other.with_logs(filter, answered.block)).await
            && let Some(second) = node.more_complete(&answered, &mismatch, second)
        {
            return Ok(second);
        }
        node.resolved(filter, answered, &mismatch).await
    }

    /// Whether another provider works whose logs and headers agree.
    fn another_passes(&self, than: &Arc<Node>) -> bool {
        let (facts, members) = (self.shared.facts(ProviderRole::Live), &self.shared.members);
        let other = |index: &usize| !Arc::ptr_eq(&members[*index].node, than);
        let passes = |index: usize| {
            facts[index].fit && !facts[index].failing && !members[index].node.trust.keeps_failing()
        };
        (0..facts.len()).filter(other).any(passes)
    }

    /// Settles which block 0 is the chain's: the `stored` one, or the one that all available providers return.
    ///
    /// # Errors
    /// [`ChainError::GenesisDiffers`] where providers disagree and nothing is stored, [`ChainError::WrongGenesis`]
    /// where the provider of the newest blocks has another block 0.
    pub async fn settle_genesis(&self, stored: Option<B256>) -> Result<Option<B256>, ChainError> {
        let (genesis, members) = (&self.shared.group.genesis, &self.shared.members);
        if genesis.settled().is_none() {
            if stored.is_none() && self.has_several() {
                // A provider that fails now is compared when it works again.
                let limit = self.shared.settings.failover.probe_timeout;
                let there = members.iter().filter(|member| !member.node.rpc.health.snapshot().failing);
                join_all(there.map(|member| probing(limit, member.node.check_chain()))).await;
            }
            genesis.agree_on(stored)?;
        }
        let mut wrong = None;
        for (index, member) in members.iter().enumerate() {
            if let Err(error) = member.node.check_genesis()
                && index == self.shared.in_use().live
            {
                wrong = Some(error);
            }
        }
        wrong.map_or_else(|| Ok(genesis.settled()), Err)
    }

    /// Whether a provider of the newest blocks has this block now. A provider that has it may be used again.
    pub async fn agrees_on(&self, ours: BlockId) -> bool {
        let limit = self.shared.settings.request_timeout;
        let live = self.shared.members.iter().filter(|member| member.does(ProviderRole::Live));
        let looks = live.map(async |member| {
            let shown = probing(limit, member.node.identified_blocks(&[ours.number])).await;
            let agrees =
                shown.is_ok_and(|shown| shown.blocks.iter().flatten().any(|block| block.hash == ours.hash));
            if agrees {
                member.findings().distrusted_until = None;
            }
            agrees
        });
        let agrees = join_all(looks).await.contains(&true);
        if agrees {
            self.shared.group.alarm.notify_one();
        }
        agrees
    }

    /// Takes this provider out of use, because it contradicts final blocks. Returns whether a provider is left that
    /// does not.
    pub fn distrust(&self, node: &Arc<Node>) -> bool {
        let until = Instant::now() + self.shared.settings.failover.return_after * DISTRUSTED_FOR;
        let mut left = false;
        for member in self.shared.members.iter().filter(|member| member.does(ProviderRole::Live)) {
            if Arc::ptr_eq(&member.node, node) {
                member.findings().distrusted_until = Some(until);
            } else {
                left |= !member.is_distrusted();
            }
        }
        self.shared.group.alarm.notify_one();
        left
    }
}
