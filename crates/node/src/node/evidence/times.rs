use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::B256;

use chainflume_core::domain::BlockRef;

/// Pairs of blocks whose times contradict each other, with how often the node has repeated them.
#[derive(Default)]
pub(crate) struct TimeContradictions(Mutex<TimeState>);

#[derive(Default)]
struct TimeState {
    insisted: BTreeMap<(B256, B256), Repetition>,
    off: bool,
}

struct Repetition {
    since: Instant,
    times: u32,
}

/// Maximum number of pairs: as many as the readers of history can meet at once.
const MAX_KEPT: usize = 64;
/// How often, and for how long, a node must repeat a contradiction before the chain is assumed to have such times.
/// Until then another backend or another provider can answer.
const MIN_REPETITIONS: u32 = 5;
const MIN_REPETITION_TIME: Duration = Duration::from_secs(20);

/// A jump that no chain makes, in seconds: from 1970 to today, or a value of another field. A test chain may be set
/// forward by years.
const MAX_JUMP: u64 = 30 * 365 * 86_400;

/// The verdict about the times of two headers, one above the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeOrder {
    /// The times are plausible, or the check was given up.
    Plausible,
    /// The node has repeated the contradiction often and for long: the check is given up now.
    Insisted,
    /// One of them is wrong.
    Absurd,
}

/// Whether a chain may have these times, the second block above the first. Block 0 may have any time: Ethereum's is
/// 0.
pub(crate) fn are_plausible(below: &BlockRef, above: &BlockRef) -> bool {
    let apart = above.timestamp.checked_sub(below.timestamp);
    below.number == 0 || apart.is_some_and(|seconds| seconds <= MAX_JUMP)
}

impl TimeContradictions {
    pub(super) fn judge(&self, below: &BlockRef, above: &BlockRef) -> TimeOrder {
        self.judge_at(below, above, Instant::now())
    }

    fn judge_at(&self, below: &BlockRef, above: &BlockRef, now: Instant) -> TimeOrder {
        if are_plausible(below, above) {
            return TimeOrder::Plausible;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.off {
            return TimeOrder::Plausible;
        }
        if state.insisted.len() >= MAX_KEPT {
            state.insisted.clear();
        }
        let first = Repetition { since: now, times: 0 };
        let insisted = state.insisted.entry((below.hash, above.hash)).or_insert(first);
        insisted.times = insisted.times.saturating_add(1);
        let long = now.saturating_duration_since(insisted.since) >= MIN_REPETITION_TIME;
        if insisted.times < MIN_REPETITIONS || !long {
            return TimeOrder::Absurd;
        }
        *state = TimeState { off: true, ..TimeState::default() };
        TimeOrder::Insisted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u64, timestamp: u64) -> BlockRef {
        let hash = |number: u64| B256::left_padding_from(&number.to_be_bytes());
        BlockRef { number, hash: hash(number), parent_hash: hash(number.wrapping_sub(1)), timestamp }
    }

    #[test]
    fn times_go_on_and_leap_by_no_decades() {
        let now = 1_780_000_000;
        let plausible = |below, above| are_plausible(&block(7, below), &block(9, above));
        assert!(plausible(now, now) && plausible(now, now + 10 * 365 * 86_400));
        assert!(!plausible(now, now - 1) && !plausible(now, 0) && !plausible(now, now * 1000));
        assert!(are_plausible(&block(0, 0), &block(1, now)) && are_plausible(&block(0, now), &block(1, 7)));
    }

    #[test]
    fn what_a_node_insists_on_is_the_chains_own_oddity() {
        let (times, start) = (TimeContradictions::default(), Instant::now());
        let (below, above, other) = (block(7, 100), block(8, 90), block(9, 1));
        let at = |seconds| times.judge_at(&below, &above, start + Duration::from_secs(seconds));
        assert!((0..10).all(|_| at(1) == TimeOrder::Absurd));
        let of_others = times.judge_at(&above, &other, start + Duration::from_secs(29));
        assert_eq!(of_others, TimeOrder::Absurd);
        assert_eq!(at(30), TimeOrder::Insisted);
        assert_eq!(times.judge(&above, &other), TimeOrder::Plausible);
    }
}
