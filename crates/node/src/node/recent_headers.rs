use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::B256;

use chainflume_core::domain::BlockRef;

/// Recent headers, by height: where the hash of a block is known, its logs are fetched together with its header.
#[derive(Default)]
pub(crate) struct RecentHeaders(Mutex<BTreeMap<u64, BlockRef>>);

/// More than a step reads at once, twice.
const KEPT: usize = 64;

impl RecentHeaders {
    /// The blocks next to this one on its branch, each with the one below it first.
    pub(crate) fn links(&self, block: BlockRef) -> Vec<(BlockRef, BlockRef)> {
        let recent = self.lock();
        let at = |number: Option<u64>| recent.get(&number?).copied();
        let below = at(block.number.checked_sub(1)).filter(|below| below.hash == block.parent_hash);
        let above = at(block.number.checked_add(1)).filter(|above| above.parent_hash == block.hash);
        let below = below.map(|below| (below, block));
        below.into_iter().chain(above.map(|above| (block, above))).collect()
    }

    pub(crate) fn forget(&self, block: BlockRef) {
        self.lock().remove(&block.number);
    }

    pub(crate) fn keep(&self, block: BlockRef) {
        let (mut recent, number) = (self.lock(), block.number);
        recent.insert(number, block);
        if recent.len() > KEPT {
            // History is read from below, the head from above: what is furthest from this one goes.
            let far = recent.keys().copied().max_by_key(|other| other.abs_diff(number));
            far.and_then(|far| recent.remove(&far));
        }
    }

    /// The hash a block of this height had when it, or the one above it, was last read.
    pub(crate) fn hash(&self, number: u64) -> Option<B256> {
        let recent = self.lock();
        let own = recent.get(&number).map(|block| block.hash);
        own.or_else(|| Some(recent.get(&number.checked_add(1)?)?.parent_hash))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, BlockRef>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
