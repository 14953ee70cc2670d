use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;

use chainflume_core::domain::{BlockId, BlockRef};
use chainflume_store::{Checkpoint, StoreSnapshot};

/// A copy in memory of the stored state of a chain. After any error it is read again, because a commit whose reply
/// was lost may have happened.
#[derive(Debug, Default)]
pub(super) struct ChainSnapshot {
    /// Checkpoints of the configured sources, in the order of the configuration.
    own: Vec<Checkpoint>,
    /// Checkpoints of sources that are no longer configured; a rewind moves them too.
    others: Vec<Checkpoint>,
    blocks: BTreeMap<u64, B256>,
    final_number: u64,
    /// Number of rewinds so far. After another rewind, data that was read before it is invalid.
    reorgs: u64,
    /// Blocks above the tips: every block with pending events, and the newest block that was read for them.
    pending: BTreeMap<u64, PendingRef>,
    /// The next block to publish as pending, by source. It is not stored: after a start pending events are written
    /// again, which changes nothing.
    next_pending: Vec<u64>,
}

#[derive(Debug)]
struct PendingRef {
    hash: B256,
    /// Sources whose events are pending.
    sources: BTreeSet<usize>,
}

impl ChainSnapshot {
    /// Creates the copy, in the order of the configured `sources`.
    pub(super) fn new(held: StoreSnapshot, sources: &[&str]) -> Self {
        let mut by_name: BTreeMap<String, Checkpoint> =
            held.checkpoints.into_iter().map(|checkpoint| (checkpoint.source.clone(), checkpoint)).collect();
        let own = sources
            .iter()
            .map(|name| {
                by_name.remove(*name).unwrap_or_else(|| Checkpoint { source: (*name).to_owned(), at: None })
            })
            .collect();
        let mut pending = BTreeMap::<u64, PendingRef>::new();
        for published in held.pending {
            let source = sources.iter().position(|name| *name == published.source);
            let block = PendingRef { hash: published.block.hash, sources: BTreeSet::new() };
            pending.entry(published.block.number).or_insert(block).sources.extend(source);
        }
        Self {
            own,
            others: by_name.into_values().collect(),
            blocks: held.blocks.into_iter().map(|block| (block.number, block.hash)).collect(),
            final_number: held.final_number.unwrap_or(0),
            reorgs: held.reorgs,
            pending,
            next_pending: vec![0; sources.len()],
        }
    }

    /// The final block at the last commit.
    pub(super) fn final_number(&self) -> u64 {
        self.final_number
    }

    /// Number of rewinds when this was read.
    pub(super) fn reorgs(&self) -> u64 {
        self.reorgs
    }

    /// Records that a gap was stored, whose events are in these blocks.
    pub(super) fn gap_stored(&mut self, refs: &[BlockId]) {
        let above = refs.iter().filter(|block| block.number > self.final_number);
        self.blocks.extend(above.map(|block| (block.number, block.hash)));
    }

    /// Checkpoint of a source.
    pub(super) fn tip(&self, source: usize) -> Option<BlockId> {
        self.own[source].at
    }

    /// Height of the newest stored or pending block, also of a source that is no longer configured.
    pub(super) fn highest(&self) -> Option<u64> {
        // This is called with each head, so it copies nothing.
        let tips = self.own.iter().chain(&self.others).filter_map(|checkpoint| checkpoint.at);
        let tip = tips.map(|tip| tip.number).max();
        let pending = self.pending_refs().next_back().map(|(number, _)| number);
        let block = self.blocks.last_key_value().map(|(number, _)| *number);
        tip.max(pending).max(block)
    }

    /// The checkpoints that the store must have for these sources.
    pub(super) fn expected(&self, sources: &[usize]) -> Vec<Checkpoint> {
        sources.iter().map(|source| self.own[*source].clone()).collect()
    }

    /// All checkpoints of the chain.
    pub(super) fn all(&self) -> Vec<Checkpoint> {
        self.own.iter().chain(&self.others).cloned().collect()
    }

    /// Every block that a comparison with the node uses: the reorg window, all checkpoints and pending blocks.
    pub(super) fn held(&self) -> BTreeMap<u64, B256> {
        let tips = self.own.iter().chain(&self.others).filter_map(|checkpoint| checkpoint.at);
        let mut held: BTreeMap<u64, B256> = tips.map(|tip| (tip.number, tip.hash)).collect();
        held.extend(self.pending_refs());
        held.extend(&self.blocks);
        held
    }

    /// The hash that the parent of block `next` must have; `None` where it is not known.
    pub(super) fn parent_of(&self, next: u64, sources: &[usize]) -> Option<B256> {
        let below = next.checked_sub(1)?;
        let tip = |source: &usize| self.own[*source].at.filter(|tip| tip.number == below);
        let tip = sources.iter().find_map(tip).map(|tip| tip.hash);
        tip.or_else(|| self.blocks.get(&below).copied()).or_else(|| self.pending_hash_at(below))
    }

    /// The height at which these successive blocks contradict blocks that are stored, or published as pending, for
    /// these sources.
    pub(super) fn contradicted(&self, blocks: &[BlockRef], sources: &[usize]) -> Option<u64> {
        let first = blocks.first()?;
        match self.parent_of(first.number, sources) {
            Some(parent) if parent != first.parent_hash => first.number.checked_sub(1),
            _ => {
                let other =
                    |block: &&BlockRef| self.pending_hash_at(block.number).is_some_and(|h| h != block.hash);
                blocks.iter().find(other).map(|block| block.number)
            }
        }
    }

    /// The next block to publish as pending for a source; 0 before the first.
    pub(super) fn next_pending(&self, source: usize) -> u64 {
        self.next_pending[source]
    }

    /// The newest block that was read to be published as pending.
    pub(super) fn newest_pending(&self) -> Option<BlockId> {
        self.pending_refs().next_back().map(|(number, hash)| BlockId { number, hash })
    }

    fn pending_hash_at(&self, number: u64) -> Option<B256> {
        self.pending.get(&number).filter(|_| number > self.final_number).map(|published| published.hash)
    }

    /// Pending blocks above the final block. A pending block below it is not compared: a chain must not stop because
    /// of an event that is only pending. The store retracts the event if another block is confirmed there.
    fn pending_refs(&self) -> impl DoubleEndedIterator<Item = (u64, B256)> {
        let above = self.final_number.saturating_add(1);
        self.pending.range(above..).map(|(number, published)| (*number, published.hash))
    }

    /// Records `blocks` that were published as pending for these sources, with events in the heights `pending`.
    pub(super) fn add_pending(&mut self, sources: &[usize], blocks: &[BlockId], pending: &BTreeSet<u64>) {
        for block in blocks {
            let published = PendingRef { hash: block.hash, sources: BTreeSet::new() };
            let published = self.pending.entry(block.number).or_insert(published);
            if pending.contains(&block.number) {
                published.sources.extend(sources);
            }
        }
        if let Some(last) = blocks.last() {
            sources.iter().for_each(|source| self.next_pending[*source] = last.number.saturating_add(1));
        }
        self.forget_confirmed_pending(0);
    }

    /// Keeps blocks with pending events, and the newest block if it is above `confirmed`.
    fn forget_confirmed_pending(&mut self, confirmed: u64) {
        let newest = self.pending.last_key_value().map(|(number, _)| *number).filter(|n| *n > confirmed);
        self.pending.retain(|number, published| !published.sources.is_empty() || Some(*number) == newest);
    }

    /// Records that the sources have advanced to `to`.
    pub(super) fn advanced(&mut self, sources: &[usize], to: BlockId, refs: &[BlockId], final_number: u64) {
        for source in sources {
            self.own[*source].at = Some(to);
        }
        for (_, published) in self.pending.range_mut(..=to.number) {
            published.sources.retain(|source| !sources.contains(source));
        }
        self.forget_confirmed_pending(to.number);
        self.blocks.extend(refs.iter().map(|block| (block.number, block.hash)));
        self.settled(final_number);
    }

    /// Raises the final block.
    pub(super) fn settled(&mut self, final_number: u64) {
        self.final_number = self.final_number.max(final_number);
        // As in the store, the newest block at or below the final one stays, to notice a change of final blocks.
        let anchor = self.blocks.range(..=self.final_number).next_back().map(|(number, _)| *number);
        let lowest = self.blocks.first_key_value().map(|(number, _)| *number);
        if let Some(anchor) = anchor.filter(|anchor| Some(*anchor) != lowest) {
            self.blocks = self.blocks.split_off(&anchor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainflume_store::PendingBlock;

    fn block(number: u64) -> BlockId {
        BlockId { number, hash: B256::with_last_byte(u8::try_from(number).expect("small")) }
    }

    fn snapshot() -> ChainSnapshot {
        let checkpoint = |source: &str, at| Checkpoint { source: source.to_owned(), at };
        let held = StoreSnapshot {
            checkpoints: vec![checkpoint("gone", Some(block(3))), checkpoint("b", Some(block(9)))],
            blocks: vec![block(8), block(9)],
            final_number: Some(8),
            reorgs: 0,
            pending: vec![PendingBlock { source: "b".to_owned(), block: block(11) }],
        };
        ChainSnapshot::new(held, &["a", "b"])
    }

    #[test]
    fn sources_keep_their_order_and_others_are_kept_apart() {
        let snapshot = snapshot();
        assert_eq!((snapshot.tip(0), snapshot.tip(1)), (None, Some(block(9))));
        assert_eq!(snapshot.all().iter().map(|c| c.source.as_str()).collect::<Vec<_>>(), ["a", "b", "gone"]);
        assert_eq!(snapshot.held().keys().copied().collect::<Vec<_>>(), [3, 8, 9, 11]);
        assert_eq!(snapshot.highest(), Some(11));
    }

    fn link(number: u64, parent: B256) -> BlockRef {
        BlockRef { number, hash: block(number).hash, parent_hash: parent, timestamp: 0 }
    }

    #[test]
    fn published_blocks_are_held_until_they_are_confirmed() {
        let mut snapshot = snapshot();
        let published = |snapshot: &ChainSnapshot| {
            (snapshot.newest_pending(), snapshot.pending_refs().map(|(n, _)| n).collect::<Vec<_>>())
        };
        snapshot.add_pending(&[1], &[block(10), block(11), block(12)], &[11].into());
        assert_eq!(published(&snapshot), (Some(block(12)), vec![11, 12]));
        snapshot.add_pending(&[1], &[block(13)], &[].into());
        assert_eq!(
            (published(&snapshot), snapshot.next_pending(0), snapshot.next_pending(1)),
            ((Some(block(13)), vec![11, 13]), 0, 14)
        );
        snapshot.advanced(&[0], block(11), &[block(11)], 8);
        assert_eq!(published(&snapshot), (Some(block(13)), vec![11, 13]), "the other source waits for it");
        snapshot.advanced(&[1], block(11), &[block(10), block(11)], 8);
        assert_eq!(published(&snapshot), (Some(block(13)), vec![13]));
        snapshot.advanced(&[1], block(13), &[block(12), block(13)], 8);
        assert_eq!(published(&snapshot), (None, vec![]));
    }

    #[test]
    fn another_parent_or_published_block_is_a_contradiction() {
        let mut snapshot = snapshot();
        snapshot.add_pending(&[1], &[block(10), block(11)], &[10, 11].into());
        let (ten, eleven) = (block(10).hash, block(11).hash);
        assert_eq!(snapshot.contradicted(&[link(12, eleven)], &[1]), None);
        assert_eq!(snapshot.contradicted(&[link(12, ten)], &[1]), Some(11));
        let other = BlockRef { hash: ten, ..link(11, ten) };
        assert_eq!(snapshot.contradicted(&[link(10, block(9).hash), other], &[1]), Some(11));
        snapshot.final_number = 11;
        assert_eq!(
            snapshot.contradicted(&[link(12, ten)], &[1]),
            None,
            "a final block is not compared with published blocks"
        );
    }

    #[test]
    fn an_advance_forgets_what_lies_below_final_but_for_one_block() {
        let mut snapshot = snapshot();
        snapshot.advanced(&[1], block(11), &[block(10), block(11)], 10);
        assert_eq!(snapshot.blocks.keys().copied().collect::<Vec<_>>(), [10, 11]);
        assert_eq!(snapshot.parent_of(12, &[1]), Some(block(11).hash));
        assert_eq!(snapshot.parent_of(12, &[0]), Some(block(11).hash));
        assert_eq!(snapshot.parent_of(5, &[0]), None);
    }
}
