use std::collections::BTreeMap;

use alloy_primitives::B256;

use crate::domain::{BlockRange, BlockRef, Log};

/// The logs of a range, with the block times of all of them, ready to be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// All of these blocks were asked for.
    pub range: BlockRange,
    /// Hash of the block below the range, as its first block says.
    pub parent_hash: B256,
    /// The last block of the range.
    pub last: BlockRef,
    /// In chain order.
    pub logs: Vec<Log>,
    /// Height to block time in seconds, for every block that has a log.
    pub times: BTreeMap<u64, u64>,
}

impl Batch {
    /// Roughly what it takes in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.logs.iter().map(|log| size_of::<Log>() + log.data.len() + 48).sum::<usize>()
    }

    /// Whether `next` goes on where this one ends, on the same branch.
    pub(super) fn leads_to(&self, next: &Self) -> bool {
        self.range.to().checked_add(1) == Some(next.range.from()) && self.last.hash == next.parent_hash
    }

    /// Both as one, where this one leads to `next`.
    pub(super) fn join(&mut self, mut next: Self) {
        self.range = BlockRange::new(self.range.from(), next.range.to()).expect("the next range lies above");
        self.last = next.last;
        // No more than that: what a list keeps for growing would be a good part of what a commit takes.
        self.logs.reserve_exact(next.logs.len());
        self.logs.append(&mut next.logs);
        self.times.append(&mut next.times);
    }
}
