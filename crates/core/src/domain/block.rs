use std::fmt;

use alloy_primitives::B256;

/// A block as a point: number and hash identify one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId {
    /// Height, genesis is 0.
    pub number: u64,
    /// Hash of the header.
    pub hash: B256,
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number, self.hash)
    }
}

/// A block as a link of the chain: its number and hash, its parent's hash and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// Height, genesis is 0.
    pub number: u64,
    /// Hash of the header.
    pub hash: B256,
    /// Hash of the block below.
    pub parent_hash: B256,
    /// Timestamp of the header, in seconds since the Unix epoch.
    pub timestamp: u64,
}

impl BlockRef {
    /// The highest possible block: an event id has 40 bits for it, enough for 35 years of one block per millisecond.
    pub const HIGHEST: u64 = (1 << 40) - 1;
    /// The last second of the year 9999, the limit of RFC 3339 and so of messages. PostgreSQL's timestamps reach
    /// further. Milliseconds mistaken for seconds exceed it.
    pub const LAST_SECOND: u64 = 253_402_300_799;

    /// The point without the link.
    pub fn id(&self) -> BlockId {
        BlockId { number: self.number, hash: self.hash }
    }
}

/// Blocks `from..=to`, both ends included, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRange {
    from: u64,
    to: u64,
}

impl BlockRange {
    /// `None` when `from` is above `to`.
    pub fn new(from: u64, to: u64) -> Option<Self> {
        (from <= to).then_some(Self { from, to })
    }

    /// One block.
    pub fn single(number: u64) -> Self {
        Self { from: number, to: number }
    }

    /// First block.
    pub fn from(&self) -> u64 {
        self.from
    }

    /// Last block.
    pub fn to(&self) -> u64 {
        self.to
    }

    /// Number of blocks, at least 1. Saturates for the range of all blocks.
    pub fn width(&self) -> u64 {
        (self.to - self.from).saturating_add(1)
    }

    /// Whether `number` lies inside.
    pub fn contains(&self, number: u64) -> bool {
        (self.from..=self.to).contains(&number)
    }

    /// The first `width` blocks (at least one) and the rest.
    pub fn split_at_width(self, width: u64) -> (Self, Option<Self>) {
        let to = self.from.saturating_add(width.max(1) - 1).min(self.to);
        let rest = to.checked_add(1).and_then(|next| Self::new(next, self.to));
        (Self { from: self.from, to }, rest)
    }
}

impl fmt::Display for BlockRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::BlockRange;

    #[test]
    fn a_split_loses_no_block_and_repeats_none() {
        let range = BlockRange::new(5, 14).expect("5 <= 14");
        let (head, rest) = range.split_at_width(4);
        assert_eq!((head.from(), head.to()), (5, 8));
        assert_eq!(rest, BlockRange::new(9, 14));
        assert_eq!(range.split_at_width(0).0, BlockRange::single(5));
        assert_eq!(range.split_at_width(u64::MAX), (range, None));
    }

    #[test]
    fn the_last_block_of_all_splits_without_overflow() {
        let range = BlockRange::new(u64::MAX - 1, u64::MAX).expect("in order");
        assert_eq!(range.split_at_width(u64::MAX), (range, None));
    }
}
