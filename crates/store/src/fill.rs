//! The past of what a source was not filled by: read later than its blocks, and from then on as good as read in time.

use chainflume_core::domain::{BlockId, FollowedEvent};

use super::backfill::{Publishing, add, check_range};
use super::{Backfill, ChainStore, Compared, blocks, events, followed};
use chainflume_db::{StoreError, transaction};

/// What was read of the blocks of a backfill: of these things everything.
#[derive(Clone, Debug)]
pub struct Read {
    /// What was listened for.
    pub items: Vec<FollowedEvent>,
    /// Blocks whose hash is known, for the reorg window: each above the final block that has an event.
    pub refs: Vec<BlockId>,
    /// Whether its events are published as the source is configured. Events that are not published are never retracted.
    pub published: bool,
}

impl ChainStore {
    /// As [`ChainStore::backfill`], of blocks of which everything was read that is listened for: unless something differs,
    /// they count as filled from now on.
    ///
    /// # Errors
    /// As [`ChainStore::backfill`]; [`StoreError::Conflict`] when another block is stored at a height given here.
    pub async fn fill(&self, backfill: &Backfill, read: &Read) -> Result<Compared, StoreError> {
        let chain = &*self.chain;
        let ordered = events::in_order(chain, &backfill.events)?;
        check_range(chain, backfill, &ordered)?;
        let refs = blocks::by_number(&read.refs)?;
        let publishing = if read.published { Publishing::Yes } else { Publishing::No };
        let mut tx = transaction::begin(&self.pool, true).await?;
        let done = add(&mut tx, self, (backfill, ordered), publishing).await?;
        blocks::check(&mut tx, chain.id, &refs).await?;
        if !refs.is_empty() {
            blocks::keep(&mut tx, chain.id, &refs, 0).await?;
        }
        if done.differing.is_empty() {
            followed::extend(&mut tx, &backfill.source, (&read.items, backfill.range), !read.published)
                .await?;
        }
        tx.commit().await?;
        Ok(done)
    }

    /// Whether the past of what is added to a source is announced: not where the source is announced from the head.
    pub fn publishes_past(&self, source: &str) -> bool {
        !self.chain.from_head.contains(source)
    }
}
