//! Fills a gap: stores the earlier blocks of an event or a contract that a source follows only since later.

use chainflume_core::domain::{BlockId, FollowedEvent};

use super::backfill::{Publishing, add, check_range};
use super::{Backfill, ChainStore, Compared, blocks, events, followed};
use chainflume_db::{StoreError, transaction};

/// What was read in the blocks of a backfill: everything of these items.
#[derive(Clone, Debug)]
pub struct Read {
    /// The events and contracts that were read.
    pub items: Vec<FollowedEvent>,
    /// Blocks whose hash is known, for the reorg window: each above the final block that has an event.
    pub refs: Vec<BlockId>,
    /// Whether added events are published. Events that were not published are never retracted.
    pub published: bool,
}

impl ChainStore {
    /// As [`ChainStore::backfill`], and records that the items of `read` are complete in these blocks, unless something
    /// differs.
    ///
    /// # Errors
    /// As [`ChainStore::backfill`]; [`StoreError::Conflict`] when another block is stored at a height given here.
    pub async fn fill(&self, backfill: &Backfill, read: &Read) -> Result<Compared, StoreError> {
        let chain = &*self.chain;
        let ordered = events::in_order(chain, &backfill.events)?;
        check_range(chain, backfill, &ordered)?;
        let refs = blocks::by_number(&read.refs)?;
        let publishing = if read.published { Publishing::Yes } else { Publishing::No };
        let mut tx = transaction::begin(&self.pool).await?;
        let done = add(&mut tx, self, backfill, ordered, publishing).await?;
        blocks::check(&mut tx, chain.id, &refs).await?;
        if !refs.is_empty() {
            blocks::keep(&mut tx, chain.id, &refs, 0).await?;
        }
        if done.differing.is_empty() {
            let quiet = publishing == Publishing::No;
            followed::extend(&mut tx, &backfill.source, &read.items, backfill.range, quiet).await?;
        }
        tx.commit().await?;
        Ok(done)
    }

    /// Whether the past of an addition to a source is published: not if the source publishes from the head.
    pub fn publishes_past(&self, source: &str) -> bool {
        !self.chain.from_head.contains(source)
    }
}
