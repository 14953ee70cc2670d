use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::bloom::{AddressTopic, AnsweredItems, DoubtSubject};

/// Doubts that proved unfounded. A contract may emit events that no source follows, a topic may be common on the chain, a bloom may be
/// crowded: what stronger evidence has refuted again and again is asked for ever more seldom, so that a busy chain costs a
/// bounded number of questions. One doubt that was right makes all of them good again.
#[derive(Default)]
pub(crate) struct DoubtHistory(Mutex<BTreeMap<DoubtSubject, RefutedDoubt>>);

#[derive(Clone, Copy, Default)]
struct RefutedDoubt {
    times: u32,
    /// How often it was let pass since.
    passed: u32,
}

/// So many unfounded doubts are checked at once: a new source or a new day has its own habits.
const FREE: u32 = 4;
/// After that every second, then fourth block that gives rise to it is looked at, at last one of 2^6.
const MOST_SELDOM: u32 = 6;
/// Where the bloom gives no reason, one of 2^7: on a busy chain that is most blocks.
const AT_RANDOM: u32 = 7;
/// Doubts that are remembered, some hundred bytes each. Beyond that all begin anew.
const KEPT: usize = 4096;

impl DoubtHistory {
    /// Returns whether one of these is to be checked now; if so, one question checks all of them. If not, each of them is
    /// counted as passed.
    pub(super) fn count_and_check(&self, doubted: &BTreeSet<DoubtSubject>) -> bool {
        let mut vain = self.lock();
        let is_due = |doubtful: &DoubtSubject| vain.get(doubtful).is_none_or(|vain| vain.is_due(doubtful));
        if doubted.iter().any(is_due) {
            return true;
        }
        for doubtful in doubted {
            vain.entry(*doubtful).and_modify(|vain| vain.passed += 1);
        }
        false
    }

    /// Nothing came of these.
    pub(super) fn in_vain(&self, doubted: &BTreeSet<DoubtSubject>) {
        let mut vain = self.lock();
        if vain.len() + doubted.len() > KEPT {
            vain.clear();
        }
        for doubtful in doubted.iter().take(KEPT) {
            let vain = vain.entry(*doubtful).or_default();
            *vain = RefutedDoubt { times: vain.times.saturating_add(1).min(FREE + AT_RANDOM), passed: 0 };
        }
    }

    /// One was right: what was refuted before may have been refuted by luck.
    pub(super) fn founded(&self) {
        self.lock().clear();
    }

    /// Logs of these came: a pair that occurs deserves more checks than one that never occurs.
    pub(super) fn answered(&self, answered: &AnsweredItems) {
        let mut vain = self.lock();
        if vain.is_empty() {
            return;
        }
        let topics = answered.pairs.iter().map(|pair| AddressTopic { address: None, ..*pair });
        let values = answered.values.iter().map(|value| AddressTopic { address: None, topic0: Some(*value) });
        let topics = topics.filter(|pair| pair.topic0.is_some()).chain(values);
        let topics: BTreeSet<AddressTopic> = topics.collect();
        for pair in answered.pairs.iter().chain(&topics) {
            vain.entry(DoubtSubject::Pair(*pair)).and_modify(|vain| vain.times /= 2);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DoubtSubject, RefutedDoubt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RefutedDoubt {
    fn is_due(&self, doubtful: &DoubtSubject) -> bool {
        let most = if doubtful.has_evidence() { MOST_SELDOM } else { AT_RANDOM };
        let seldom = (self.times + 1).saturating_sub(FREE).min(most);
        self.passed + 1 >= 1 << seldom
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuted_doubts_are_checked_less_often_until_one_is_right() {
        let doubts = DoubtHistory::default();
        let more: BTreeSet<DoubtSubject> = [DoubtSubject::More].into();
        let asked = |blocks: u32| {
            let asks = (0..blocks).filter(|_| {
                let due = doubts.count_and_check(&more);
                if due {
                    doubts.in_vain(&more);
                }
                due
            });
            asks.count()
        };
        assert_eq!(asked(3), 3);
        assert_eq!(asked(127), 7);
        assert_eq!(asked(6_400), 100);
        // A new suspicion takes the old ones along.
        let with_new: BTreeSet<DoubtSubject> = [DoubtSubject::More, DoubtSubject::Chance].into();
        assert!(doubts.count_and_check(&with_new));
        doubts.founded();
        assert_eq!(asked(3), 3);
    }

    #[test]
    fn answers_without_evidence_are_checked_in_one_block_of_128() {
        let (doubts, blind) = (DoubtHistory::default(), [DoubtSubject::Blind].into());
        let asked = |blocks: u32| {
            let due =
                (0..blocks).filter(|_| doubts.count_and_check(&blind)).inspect(|_| doubts.in_vain(&blind));
            due.count()
        };
        assert_eq!(asked(3), 3);
        assert_eq!(asked(255), 8);
        assert_eq!(asked(12_800), 100);
        doubts.founded();
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
        use crate::node::evidence::bloom::unanswered;
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
            let (doubts, nothing) = (DoubtHistory::default(), AnsweredItems::of(&Logs::default()));
            let blocks = 2_000;
            let mut asked = 0;
            for _ in 0..blocks {
                let mut bloom = random(fill, &mut seed);
                // What is common on the chain is in each block.
                (1..=topics).for_each(|n| bloom.accrue_raw_log(Address::ZERO, &[topic(n)]));
                let pairs = unanswered(&bloom, &filter, &nothing);
                if !pairs.is_empty() && doubts.count_and_check(&pairs) {
                    asked += 1;
                    doubts.in_vain(&pairs);
                }
            }
            println!("fill {fill}, {addresses} addresses: {asked} of {blocks}");
            assert!(asked * 30 <= blocks, "fill {fill}, {addresses} addresses: {asked} of {blocks}");
        }
    }
}
