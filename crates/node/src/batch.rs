use std::collections::BTreeMap;

use alloy_primitives::B256;

use chainflume_core::domain::{BlockRange, BlockRef, Logs};

/// The logs of a range with all their block times, after every check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The blocks that were requested.
    pub range: BlockRange,
    /// Hash of the block below the range, as its first block names it.
    pub parent_hash: B256,
    /// The last block of the range.
    pub last: BlockRef,
    /// In chain order.
    pub logs: Logs,
    /// Height to block time in seconds, for every block that has a log.
    pub times: BTreeMap<u64, u64>,
}

/// Bytes of one entry of the map, with its share of the tree's nodes.
const TIME_ENTRY_BYTES: usize = 24;

impl Batch {
    /// Its approximate memory use, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.logs.bytes() + self.times.len() * TIME_ENTRY_BYTES
    }

    /// Whether `next` follows this batch directly, on the same branch.
    pub(super) fn is_followed_by(&self, next: &Self) -> bool {
        self.range.to().checked_add(1) == Some(next.range.from()) && self.last.hash == next.parent_hash
    }

    /// Appends `next`, which must follow this batch.
    pub(super) fn join(&mut self, mut next: Self) {
        self.range = BlockRange::new(self.range.from(), next.range.to()).expect("the next range lies above");
        self.last = next.last;
        self.logs.append(next.logs);
        self.times.append(&mut next.times);
    }
}
