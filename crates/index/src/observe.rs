//! The head of the chain: fetched, and compared with what is stored.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::error::IndexerError;
use super::reorg::ReorgCheck;
use super::session::IndexSession;
use super::spine::StepProgress;
use chainflume_core::canon::{Confirmations, Heads, ReadPlan, SourceGroup, TagVerdict};
use chainflume_node::{BlockTag, ChainError, Work};

impl IndexSession<'_> {
    /// Fetches the head. Compares the stored blocks with the node, unless a parent link proves them.
    pub(super) async fn observe(&mut self, stop: &CancellationToken) -> Result<StepProgress, IndexerError> {
        self.woken_at = Instant::now();
        let Some(heads) = stop.run_until_cancelled(self.fetch_heads()).await.transpose()? else {
            return Ok(StepProgress::None);
        };
        let heads = self.with_age(heads).await?;
        self.observed.heads = Some(heads);
        self.report_heads(&heads);
        if self.decide_by_first_head().await? {
            self.forget();
            return Ok(StepProgress::None);
        }
        if let Some(tag) = self.chain.policy.missing_tag(&heads) {
            return Err(ChainError::NoTag { host: self.node.host().to_owned(), tag }.into());
        }
        if !self.is_complete() && !self.is_linked() {
            let top = self.snapshot().highest().map_or(0, |highest| highest.min(heads.latest));
            match self.check_for_reorg(top, stop).await? {
                ReorgCheck::Unchanged => self.raise_final_over_ends().await?,
                ReorgCheck::Rewound => return Ok(StepProgress::Made),
                ReorgCheck::Unconfirmed => {
                    return Err(IndexerError::Moved("two reads of the stored blocks differ".to_owned()));
                }
            }
        }
        self.attempt.compared = true;
        // While there are blocks to read, a head alone is no success.
        let ReadPlan { live, history, .. } = self.current_plan();
        if live.is_some() || history.is_some() {
            return Ok(StepProgress::None);
        }
        self.node.worked(Work::Live, None);
        Ok(StepProgress::Made)
    }

    /// Raises the final block above the last blocks (`end_block`) that sources have stored. If no other source is
    /// followed, no other step raises it.
    async fn raise_final_over_ends(&mut self) -> Result<(), IndexerError> {
        let (stored, now) = (self.snapshot().final_number(), self.final_number());
        let sources = self.chain.translator.sources().iter().enumerate();
        let ended = sources.filter_map(|(index, source)| {
            let tip = self.snapshot().tip(index)?;
            (tip.number >= source.end_block? && tip.number > stored && tip.number <= now).then_some(tip)
        });
        let Some(tip) = ended.max_by_key(|tip| tip.number) else { return Ok(()) };
        if self.node.block(tip.number).await?.map(|block| block.id()) == Some(tip) {
            self.store().settle(now, self.snapshot().reorgs()).await?;
            self.snapshot_mut().settled(now);
            self.report_sources(None);
        }
        Ok(())
    }

    /// Whether a parent link will prove that the newest stored block is canonical: that of the block that is read
    /// next, or that of the head. If not, because a source continues at another height, the stored blocks must be
    /// compared with the node before anything is stored. A commit under a new head makes blocks final, and an
    /// orphaned block must not become final.
    fn is_linked(&self) -> bool {
        let ReadPlan { live, pending, .. } = self.current_plan();
        let follows = |group: &SourceGroup| group.range.from().checked_sub(1) == self.snapshot().highest();
        live.or(pending).as_ref().is_some_and(follows) || self.head_links()
    }

    /// Fetches the head, and the tags when they are due. Tags move once in minutes, so they are not fetched with
    /// every head.
    pub(super) async fn fetch_heads(&mut self) -> Result<Heads, IndexerError> {
        let prefetch = self.plan_prefetch();
        let due = self.observed.tags_at.is_none_or(|at| at.elapsed() >= self.chain.settings.poll_interval);
        let tag = |tag, wanted| {
            let node = self.node.clone();
            async move { if wanted { node.tagged(tag).await } else { Ok(None) } }
        };
        let safe_is_due = due && self.chain.policy.confirmations == Confirmations::Safe;
        let ((head, prefetched), safe, finalized) = tokio::try_join!(
            self.fetch_head(prefetch.as_ref()),
            tag(BlockTag::Safe, safe_is_due),
            tag(BlockTag::Finalized, due)
        )?;
        self.keep_prefetched(prefetch, prefetched);
        if due {
            self.observed.tags_at = Some(Instant::now());
        }
        self.observed.newest = Some(head);
        if due {
            self.judge_tag(BlockTag::Finalized, head.number, finalized.map(|block| block.number)).await?;
        }
        if safe_is_due {
            self.judge_tag(BlockTag::Safe, head.number, safe.map(|block| block.number)).await?;
        }
        Ok(Heads {
            latest: head.number,
            safe: self.observed.safe.accepted(head.number),
            finalized: self.observed.finalized.accepted(head.number),
            aged: self.observed.heads.and_then(|h| h.aged),
        })
    }

    /// Judges the answer of a node about a tag, and asks again if the verdict is [`TagVerdict::AskAgain`].
    async fn judge_tag(
        &mut self,
        tag: BlockTag,
        head: u64,
        mut tagged: Option<u64>,
    ) -> Result<(), ChainError> {
        for _ in 0..2 {
            match self.observed.tag(tag).judge(head, tagged) {
                TagVerdict::Settled => return Ok(()),
                TagVerdict::AskAgain => {
                    tagged = self.node.tagged(tag).await?.map(|block| block.number);
                }
                TagVerdict::Jumped(to) => {
                    let (chain, host, tag) = (&self.chain.settings.name, self.node.host(), tag.as_str());
                    tracing::info!(%chain, host, tag, to, head, "the node moved a tag much nearer to its head; the tag is used if the next answer repeats it");
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
