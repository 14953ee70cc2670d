use std::collections::BTreeMap;

use alloy_primitives::B256;

use crate::domain::BlockId;

/// Heights per request after a contradiction: most reorgs are shallow, and each height costs a call.
const LOOK_BATCH: usize = 16;

/// The result of comparing the stored blocks with the node's blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReorgVerdict {
    /// No stored block is contradicted.
    Agrees,
    /// Unknown: fetch the node's blocks at these heights, then judge again.
    Look(Vec<u64>),
    /// The branches differ above this block, the common ancestor.
    Rewind(BlockId),
    /// The chain contradicts a final block: the daemon undoes nothing without the operator.
    TooDeep {
        /// The stored final block.
        ours: BlockId,
        /// The node's hash at that height.
        theirs: B256,
    },
}

/// Compares the stored blocks (`stored`: number to hash) at and below `top` with the node's answers in `seen`. `None` in
/// `seen` is a height that the node does not have. `final_number` is the final height at the last commit.
///
/// `stored` has every block above `final_number` that holds a stored event. So the highest block that agrees serves as
/// well as the true common ancestor. If no block above `final_number` agrees, `final_number` is the ancestor, because
/// final blocks do not change. If the newest stored block at or below it differs, the verdict is
/// [`ReorgVerdict::TooDeep`].
///
/// A height that the node lacks proves nothing: a lower head is a lagging node, not a reorg.
pub fn judge(
    stored: &BTreeMap<u64, B256>,
    final_number: u64,
    top: u64,
    seen: &BTreeMap<u64, Option<B256>>,
) -> ReorgVerdict {
    let mut contradicted = false;
    for (number, ours) in stored.range(..=top).rev() {
        match seen.get(number) {
            None => return ReorgVerdict::Look(next_heights(stored, *number, contradicted)),
            Some(None) => return ReorgVerdict::Agrees,
            Some(Some(theirs)) if theirs == ours => {
                return match (contradicted, *number >= final_number) {
                    (false, _) => ReorgVerdict::Agrees,
                    (true, true) => ReorgVerdict::Rewind(BlockId { number: *number, hash: *ours }),
                    (true, false) => at_final(final_number, seen),
                };
            }
            Some(Some(theirs)) if *number <= final_number => {
                return ReorgVerdict::TooDeep {
                    ours: BlockId { number: *number, hash: *ours },
                    theirs: *theirs,
                };
            }
            Some(Some(_)) => contradicted = true,
        }
    }
    if contradicted { at_final(final_number, seen) } else { ReorgVerdict::Agrees }
}

fn next_heights(stored: &BTreeMap<u64, B256>, from: u64, contradicted: bool) -> Vec<u64> {
    let count = if contradicted { LOOK_BATCH } else { 1 };
    stored.range(..=from).rev().take(count).map(|(number, _)| *number).collect()
}

fn at_final(final_number: u64, seen: &BTreeMap<u64, Option<B256>>) -> ReorgVerdict {
    match seen.get(&final_number) {
        None => ReorgVerdict::Look(vec![final_number]),
        Some(None) => ReorgVerdict::Agrees,
        Some(Some(hash)) => ReorgVerdict::Rewind(BlockId { number: final_number, hash: *hash }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64, branch: u8) -> B256 {
        let mut bytes = [branch; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        B256::from(bytes)
    }

    fn stored(numbers: impl IntoIterator<Item = u64>) -> BTreeMap<u64, B256> {
        numbers.into_iter().map(|n| (n, hash(n, b'a'))).collect()
    }

    /// Compares with a branch that leaves the stored one after `common` and has `head` blocks.
    fn judged(
        stored: &BTreeMap<u64, B256>,
        final_number: u64,
        common: u64,
        head: u64,
    ) -> (ReorgVerdict, usize) {
        let mut seen = BTreeMap::new();
        let top = stored.last_key_value().map_or(0, |(n, _)| *n).min(head);
        for looks in 0.. {
            match judge(stored, final_number, top, &seen) {
                ReorgVerdict::Look(heights) => seen.extend(heights.into_iter().map(|n| {
                    let branch = if n <= common { b'a' } else { b'b' };
                    (n, (n <= head).then(|| hash(n, branch)))
                })),
                verdict => return (verdict, looks),
            }
        }
        unreachable!("the loop has no end")
    }

    fn rewind(number: u64, branch: u8) -> ReorgVerdict {
        ReorgVerdict::Rewind(BlockId { number, hash: hash(number, branch) })
    }

    #[test]
    fn agreement_takes_one_look() {
        assert_eq!(judged(&stored(36..=100), 36, 100, 102), (ReorgVerdict::Agrees, 1));
    }

    #[test]
    fn every_depth_above_final_finds_the_common_ancestor() {
        for common in 36..100 {
            assert_eq!(judged(&stored(36..=100), 36, common, 102).0, rewind(common, b'a'));
        }
        assert_eq!(judged(&stored(36..=100), 36, 99, 102).1, 2);
    }

    #[test]
    fn a_final_block_is_not_undone() {
        let verdict = judged(&stored(36..=100), 36, 35, 102).0;
        let ours = BlockId { number: 36, hash: hash(36, b'a') };
        assert_eq!(verdict, ReorgVerdict::TooDeep { ours, theirs: hash(36, b'b') });
    }

    #[test]
    fn a_lower_head_is_not_a_reorg_and_a_shorter_chain_is() {
        assert_eq!(judged(&stored(36..=100), 36, 100, 90).0, ReorgVerdict::Agrees);
        assert_eq!(judged(&stored(36..=100), 36, 80, 90).0, rewind(80, b'a'));
    }

    #[test]
    fn between_blocks_held_the_ancestor_is_the_highest_that_agrees() {
        assert_eq!(judged(&stored([36, 70, 90, 100]), 36, 85, 102).0, rewind(70, b'a'));
    }

    #[test]
    fn final_is_the_ancestor_where_nothing_above_it_agrees() {
        assert_eq!(judged(&stored([20, 90, 100]), 36, 50, 102).0, rewind(36, b'a'));
        assert_eq!(judged(&stored([90, 100]), 36, 50, 102).0, rewind(36, b'a'));
        assert_eq!(judged(&stored([5, 6]), 0, 3, 102).0, rewind(0, b'a'));
    }

    #[test]
    fn holding_nothing_contradicts_nothing() {
        assert_eq!(judged(&stored([]), 0, 0, 10).0, ReorgVerdict::Agrees);
    }
}
