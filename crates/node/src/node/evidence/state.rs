use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::B256;

use super::false_positives::FalsePositives;
use super::times::TimeContradictions;
use chainflume_ops::telemetry::LogLimiter;

/// What checks have found about the headers and logs of one provider.
#[derive(Default)]
pub(crate) struct EvidenceState {
    pub(super) bloom: EvidenceCheck,
    pub(super) receipts: EvidenceCheck,
    /// The receipts root as the answer to a mismatch. No operator has configured this check, so no warning is logged
    /// where it cannot be made.
    pub(super) proof: EvidenceCheck,
    /// Blocks with a mismatch and no stronger evidence, and the tries of each.
    pub(super) tries: Mutex<BTreeMap<B256, u32>>,
    /// Mismatches that were false positives.
    pub(super) false_positives: FalsePositives,
    pub(super) times: TimeContradictions,
    /// Limits the log lines about logs that a node leaves out to one a minute.
    pub(super) lines: LogLimiter,
}

/// A configured check of logs, which can be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogCheck {
    /// Against the bloom filter of the header.
    Bloom,
    /// Against the root of the receipts.
    Receipts,
}

impl LogCheck {
    pub(super) const ALL: [Self; 2] = [Self::Bloom, Self::Receipts];

    /// The word in metrics and log lines.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Bloom => "bloom",
            Self::Receipts => "receipts",
        }
    }
}

/// The state of one way to compare logs with headers.
#[derive(Default)]
pub(super) struct EvidenceCheck(Mutex<CheckState>);

#[derive(Default)]
struct CheckState {
    failures: u32,
    last: Option<(Instant, String)>,
    off: bool,
}

/// Failures without a pass in between after which a check counts as failing: the cause lies in the provider, the
/// chain or the check.
const MAX_FAILURES: u32 = 3;
/// Blocks that are read together fail together. Failures within this time count as one.
const SAME_MOMENT: Duration = Duration::from_millis(200);

/// Maximum number of blocks whose tries are counted: twice as many as are read at once.
const MAX_TRIED_BLOCKS: usize = 32;

impl EvidenceState {
    /// Counts a try for this block. Returns whether it was the last one.
    pub(super) fn count_try(&self, block: B256) -> bool {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= MAX_TRIED_BLOCKS && !tries.contains_key(&block) {
            tries.clear();
        }
        let tried = tries.entry(block).or_default();
        *tried += 1;
        let enough = *tried >= MAX_FAILURES;
        if enough {
            tries.remove(&block);
        }
        enough
    }

    /// Each check with whether it was given up.
    pub(crate) fn given_up(&self) -> [(LogCheck, bool); 2] {
        LogCheck::ALL.map(|check| (check, !self.check(check).is_on()))
    }

    pub(super) fn check(&self, check: LogCheck) -> &EvidenceCheck {
        match check {
            LogCheck::Bloom => &self.bloom,
            LogCheck::Receipts => &self.receipts,
        }
    }

    /// Whether a check keeps failing, turned off or not.
    pub(crate) fn keeps_failing(&self) -> bool {
        LogCheck::ALL.iter().any(|check| self.check(*check).keeps_failing())
    }

    /// Whether a check that is still on keeps failing.
    pub(crate) fn has_failing_check(&self) -> bool {
        LogCheck::ALL
            .iter()
            .map(|check| self.check(*check))
            .any(|check| check.is_on() && check.keeps_failing())
    }
}

impl EvidenceCheck {
    pub(super) fn is_on(&self) -> bool {
        !self.lock().off
    }

    pub(super) fn keeps_failing(&self) -> bool {
        self.lock().failures >= MAX_FAILURES
    }

    pub(super) fn passed(&self) {
        self.lock().failures = 0;
    }

    pub(super) fn failed(&self, reason: &str) {
        self.failed_at(reason, Instant::now());
    }

    fn failed_at(&self, reason: &str, now: Instant) {
        let mut state = self.lock();
        if state.last.as_ref().is_none_or(|(at, _)| now.duration_since(*at) >= SAME_MOMENT) {
            state.failures = state.failures.saturating_add(1);
            state.last = Some((now, reason.to_owned()));
        }
    }

    pub(super) fn last_reason(&self) -> String {
        self.lock().last.as_ref().map(|(_, reason)| reason.clone()).unwrap_or_default()
    }

    /// Turns the check off. Returns whether it was on.
    pub(super) fn give_up(&self) -> bool {
        !std::mem::replace(&mut self.lock().off, true)
    }

    fn lock(&self) -> MutexGuard<'_, CheckState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_separate_failures_without_a_pass_wear_out_a_check() {
        let (check, start) = (EvidenceCheck::default(), Instant::now());
        let fails = |moments: std::ops::Range<u32>| {
            for moment in moments {
                // Ten blocks of one step.
                (0..10).for_each(|_| check.failed_at("no", start + SAME_MOMENT * moment));
            }
            check.keeps_failing()
        };
        assert!(!fails(0..2));
        check.passed();
        assert!(!fails(2..4));
        assert!(fails(4..5));
        assert_eq!(
            (check.is_on(), check.give_up(), check.give_up(), check.is_on()),
            (true, true, false, false)
        );
        assert_eq!(check.last_reason(), "no");
    }
}
