use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::B256;

use chainflume_core::domain::BlockRef;

/// Recent headers by height. Where the hash of a block is known, its logs are fetched together with its header.
#[derive(Default)]
pub(crate) struct RecentHeaders(Mutex<BTreeMap<u64, BlockRef>>);

/// Maximum number of headers: more than twice what a step reads at once.
const MAX_KEPT: usize = 64;

impl RecentHeaders {
    /// The pairs of this block with its neighbours on the same branch, the lower block first.
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
        if recent.len() > MAX_KEPT {
            // The head and history are far apart: the header that is furthest from this one is dropped.
            let far = recent.keys().copied().max_by_key(|other| other.abs_diff(number));
            far.and_then(|far| recent.remove(&far));
        }
    }

    /// The hash of the block at this height, as that block or the block above it was last read.
    pub(crate) fn hash(&self, number: u64) -> Option<B256> {
        let recent = self.lock();
        let own = recent.get(&number).map(|block| block.hash);
        own.or_else(|| Some(recent.get(&number.checked_add(1)?)?.parent_hash))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, BlockRef>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
