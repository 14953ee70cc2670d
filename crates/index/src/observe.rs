//! The head of the chain: fetched, and compared with what is stored.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::error::IndexerError;
use super::reorg::Settled;
use super::session::Session;
use super::spine::Progress;
use chainflume_core::canon::{Confirmations, Group, Heads, Plan};
use chainflume_node::{ChainError, Tag, Work};

impl Session<'_> {
    /// Looks where the chain is, and if that gives nothing to read, whether what we hold is still part of it.
    pub(super) async fn observe(&mut self, stop: &CancellationToken) -> Result<Progress, IndexerError> {
        self.woken_at = Instant::now();
        let Some(heads) = stop.run_until_cancelled(self.ask_heads()).await.transpose()? else {
            return Ok(Progress::None);
        };
        let heads = self.with_age(heads).await?;
        self.observed.heads = Some(heads);
        self.say_heads(&heads);
        if let Some(tag) = self.chain.policy.missing_tag(&heads) {
            return Err(ChainError::NoTag { host: self.node.host().to_owned(), tag }.into());
        }
        if !self.links_next() {
            let top = self.view().highest().map_or(0, |highest| highest.min(heads.latest));
            match self.settle(top, stop).await? {
                Settled::Agrees => {}
                Settled::Rewound => return Ok(Progress::Made),
                Settled::Unsure => {
                    return Err(IndexerError::Moved("two reads of what we hold differ".to_owned()));
                }
            }
        }
        self.attempt.looked = true;
        // While there is something to read, a head says nothing about how that goes.
        let Plan { live, history, .. } = self.plan_now();
        if live.is_some() || history.is_some() {
            return Ok(Progress::None);
        }
        self.node.worked(Work::Live, None);
        Ok(Progress::Made)
    }

    /// Whether the newest block we hold is shown to be canonical by the parent link of the block read next, or of the
    /// head itself. Where it is not, because a source joins elsewhere, that has to be asked before anything is stored: what is
    /// stored under a new head makes blocks final, and orphans among what we hold must not become so.
    fn links_next(&self) -> bool {
        let Plan { live, pending, .. } = self.plan_now();
        let follows = |group: &Group| group.range.from().checked_sub(1) == self.view().highest();
        live.or(pending).as_ref().is_some_and(follows) || self.newest_links()
    }

    /// Tags move once in minutes, so they are not asked for with every head.
    pub(super) async fn ask_heads(&mut self) -> Result<Heads, IndexerError> {
        let expected = self.expected();
        let due = self.observed.tags_at.is_none_or(|at| at.elapsed() >= self.chain.settings.poll_interval);
        let tag = |tag, wanted| {
            let node = self.node.clone();
            async move { if wanted { node.tagged(tag).await } else { Ok(None) } }
        };
        let safe = due && self.chain.policy.confirmations == Confirmations::Safe;
        let ((head, near), safe, finalized) = tokio::try_join!(
            self.ask_head(expected.as_ref()),
            tag(Tag::Safe, safe),
            tag(Tag::Finalized, due)
        )?;
        self.keep_ahead(expected, near);
        if due {
            self.observed.tags_at = Some(Instant::now());
        }
        self.observed.newest = Some(head);
        // A tag never goes back; a node that forgets one for a moment proves nothing. One above the head was another chain's.
        let newest = |old: Option<u64>, new: Option<u64>| old.filter(|old| *old <= head.number).max(new);
        Ok(Heads {
            latest: head.number,
            safe: newest(self.observed.heads.and_then(|h| h.safe), safe.map(|b| b.number)),
            finalized: newest(self.observed.heads.and_then(|h| h.finalized), finalized.map(|b| b.number)),
            aged: self.observed.heads.and_then(|h| h.aged),
        })
    }
}
