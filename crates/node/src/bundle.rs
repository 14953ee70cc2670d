use std::sync::{Mutex, MutexGuard, PoisonError};

/// Maximum number of `eth_getLogs` calls in a batch. With three calls for headers they fill a batch of 16.
const MAX_RANGES: u64 = 13;
/// Number of answers in a row before a larger size is tried again.
const ANSWERS_BEFORE_TRY: u64 = 64;

/// How many adjacent ranges one batch requests, where the node accepts no wider range. With one range for each
/// request, most calls of a quiet history would be for the headers of its ends.
#[derive(Debug)]
pub(super) struct BundleSize(Mutex<BundleState>);

#[derive(Debug)]
struct BundleState {
    now: u64,
    most: u64,
    /// Number of answers since the last failure.
    calm: u64,
}

impl Default for BundleSize {
    fn default() -> Self {
        Self(Mutex::new(BundleState { now: 1, most: MAX_RANGES, calm: 0 }))
    }
}

impl BundleSize {
    /// Ranges of the next request, where the node accepts this number of `calls` in a batch. Three of the calls are
    /// for headers.
    pub(super) fn now(&self, calls: usize) -> u64 {
        const HEADERS: u64 = 3;
        self.lock().now.min((calls as u64).saturating_sub(HEADERS)).max(1)
    }

    /// Records a request that was answered. `grows`: twice as many ranges would still be a quick and small answer.
    pub(super) fn answered(&self, calls: u64, grows: bool) {
        let mut state = self.lock();
        state.calm += 1;
        if state.calm >= ANSWERS_BEFORE_TRY {
            (state.calm, state.most) = (0, (state.most * 2).min(MAX_RANGES));
        }
        if grows {
            state.now = state.now.max(calls * 2).min(state.most);
        }
    }

    /// Records a request that failed: the next one has half as many ranges. `is_limit`: the node may have such a
    /// limit, so that more ranges are not tried for a while.
    pub(super) fn failed(&self, calls: u64, is_limit: bool) {
        let (fewer, mut state) = ((calls / 2).max(1), self.lock());
        let most = if is_limit { fewer.min(state.most) } else { state.most };
        *state = BundleState { now: fewer.min(most), most, calm: 0 };
    }

    fn lock(&self) -> MutexGuard<'_, BundleState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_grows_with_answers_and_is_halved_by_a_failure() {
        let bundle = BundleSize::default();
        let grown: Vec<u64> = (0..5)
            .map(|_| {
                bundle.answered(bundle.now(16), true);
                bundle.now(16)
            })
            .collect();
        assert_eq!(grown, [2, 4, 8, 13, 13]);
        assert_eq!((bundle.now(10), bundle.now(3), bundle.now(1)), (7, 1, 1));
        bundle.failed(13, false);
        bundle.answered(6, true);
        assert_eq!(bundle.now(16), 12);
        bundle.failed(13, true);
        (1..ANSWERS_BEFORE_TRY).for_each(|_| bundle.answered(bundle.now(16), true));
        assert_eq!(bundle.now(16), 6);
        bundle.answered(6, true);
        assert_eq!(bundle.now(16), 12);
        bundle.answered(1, false);
        assert_eq!(bundle.now(16), 12);
    }
}
