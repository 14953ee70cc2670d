use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::bloom::{AddressTopic, AnsweredItems, Mismatch};

/// Mismatches that were false positives of a bloom. A contract may emit events that no source follows, a topic may be
/// common on the chain, a bloom may be crowded. A mismatch that was refuted again and again is checked less and less
/// often, so that a busy chain costs few requests. One mismatch that was right resets all counts.
#[derive(Default)]
pub(crate) struct FalsePositives(Mutex<BTreeMap<Mismatch, FalsePositiveCount>>);

#[derive(Clone, Copy, Default)]
struct FalsePositiveCount {
    times: u32,
    /// Skipped checks since the last one.
    passed: u32,
}

/// The first false positives of a mismatch that do not make its checks rarer.
const CHECKED_AT_FIRST: u32 = 4;
/// After that every second mismatch is checked, then every fourth, and in the end one of 2^6.
const MAX_RARITY: u32 = 6;
/// Without evidence one of 2^7 is checked: on a busy chain most blocks have such a mismatch.
const RANDOM_RARITY: u32 = 7;
/// Maximum number of mismatches that are remembered, about a hundred bytes each. Above it all are forgotten.
const MAX_KEPT: usize = 4096;

impl FalsePositives {
    /// Whether one of these is to be checked now. One read checks all of them. If none is due, each is counted as
    /// skipped.
    pub(super) fn are_due(&self, found: &BTreeSet<Mismatch>) -> bool {
        let mut known = self.lock();
        let is_due = |mismatch: &Mismatch| known.get(mismatch).is_none_or(|known| known.is_due(mismatch));
        if found.iter().any(is_due) {
            return true;
        }
        for mismatch in found {
            known.entry(*mismatch).and_modify(|known| known.passed += 1);
        }
        false
    }

    /// Counts each of these as a false positive.
    pub(super) fn refuted(&self, found: &BTreeSet<Mismatch>) {
        let mut known = self.lock();
        if known.len() + found.len() > MAX_KEPT {
            known.clear();
        }
        for mismatch in found.iter().take(MAX_KEPT) {
            let known = known.entry(*mismatch).or_default();
            *known = FalsePositiveCount {
                times: known.times.saturating_add(1).min(CHECKED_AT_FIRST + RANDOM_RARITY),
                passed: 0,
            };
        }
    }

    /// Forgets all counts, after a mismatch that was right.
    pub(super) fn reset(&self) {
        self.lock().clear();
    }

    /// Makes checks more frequent for pairs that logs have: a pair that occurs is more likely to be missing than one
    /// that never occurs.
    pub(super) fn answered(&self, answered: &AnsweredItems) {
        let mut known = self.lock();
        if known.is_empty() {
            return;
        }
        let topics = answered.pairs.iter().map(|pair| AddressTopic { address: None, ..*pair });
        let values = answered.values.iter().map(|value| AddressTopic { address: None, topic0: Some(*value) });
        let topics = topics.filter(|pair| pair.topic0.is_some()).chain(values);
        let topics: BTreeSet<AddressTopic> = topics.collect();
        for pair in answered.pairs.iter().chain(&topics) {
            known.entry(Mismatch::Pair(*pair)).and_modify(|known| known.times /= 2);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Mismatch, FalsePositiveCount>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FalsePositiveCount {
    fn is_due(&self, mismatch: &Mismatch) -> bool {
        let most = if mismatch.has_evidence() { MAX_RARITY } else { RANDOM_RARITY };
        let seldom = (self.times + 1).saturating_sub(CHECKED_AT_FIRST).min(most);
        self.passed + 1 >= 1 << seldom
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn false_positives_are_checked_less_often_until_one_is_right() {
        let false_positives = FalsePositives::default();
        let more: BTreeSet<Mismatch> = [Mismatch::More].into();
        let asked = |blocks: u32| {
            let asks = (0..blocks).filter(|_| {
                let due = false_positives.are_due(&more);
                if due {
                    false_positives.refuted(&more);
                }
                due
            });
            asks.count()
        };
        assert_eq!(asked(3), 3);
        assert_eq!(asked(127), 7);
        assert_eq!(asked(6_400), 100);
        // A new mismatch has the old ones checked with it.
        let with_new: BTreeSet<Mismatch> = [Mismatch::More, Mismatch::Chance].into();
        assert!(false_positives.are_due(&with_new));
        false_positives.reset();
        assert_eq!(asked(3), 3);
    }

    #[test]
    fn answers_without_evidence_are_checked_in_one_block_of_128() {
        let (false_positives, blind) = (FalsePositives::default(), [Mismatch::Blind].into());
        let asked = |blocks: u32| {
            let due = (0..blocks)
                .filter(|_| false_positives.are_due(&blind))
                .inspect(|_| false_positives.refuted(&blind));
            due.count()
        };
        assert_eq!(asked(3), 3);
        assert_eq!(asked(255), 8);
        assert_eq!(asked(12_800), 100);
        false_positives.reset();
        assert_eq!(asked(3), 3);
    }

    /// A bloom with each bit set with this probability.
    fn random(fill: f64, seed: &mut u64) -> alloy_primitives::Bloom {
        let mut bloom = alloy_primitives::Bloom::ZERO;
        for bit in 0..2048 {
            // Knuth's multiplier and increment for 64 bits.
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if f64::from(u32::try_from(*seed >> 32).expect("32 bits")) < fill * f64::from(u32::MAX) {
                bloom[bit / 8] |= 1 << (bit % 8);
            }
        }
        bloom
    }

    #[test]
    fn thousands_of_crowded_blocks_are_checked_one_in_thirty() {
        use crate::node::evidence::bloom::mismatches;
        use chainflume_core::domain::{Address, B256, LogFilter, Logs, TopicValues};
        let mut seed = 7;
        for (fill, addresses, topics) in
            [(0.55, 1, 1), (0.55, 3, 4), (0.55, 400, 3), (0.3, 40, 3), (0.1, 500, 2)]
        {
            let address = |n: u64| Address::left_padding_from(&n.to_be_bytes());
            let topic = |n: u64| B256::left_padding_from(&n.to_be_bytes());
            let filter = LogFilter {
                addresses: Some((1..=addresses).map(address).collect()),
                topic0: Some((1..=topics).map(topic).collect()),
                values: TopicValues::default(),
            };
            let (false_positives, nothing) = (FalsePositives::default(), AnsweredItems::of(&Logs::default()));
            let blocks = 2_000;
            let mut asked = 0;
            for _ in 0..blocks {
                let mut bloom = random(fill, &mut seed);
                // What is common on the chain is in each block.
                (1..=topics).for_each(|n| bloom.accrue_raw_log(Address::ZERO, &[topic(n)]));
                let pairs = mismatches(&bloom, &filter, &nothing);
                if !pairs.is_empty() && false_positives.are_due(&pairs) {
                    asked += 1;
                    false_positives.refuted(&pairs);
                }
            }
            println!("fill {fill}, {addresses} addresses: {asked} of {blocks}");
            assert!(asked * 30 <= blocks, "fill {fill}, {addresses} addresses: {asked} of {blocks}");
        }
    }
}
