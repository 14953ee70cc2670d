use std::sync::atomic::{AtomicU64, Ordering};

/// Maximum number of calls in a request: enough to hide the latency. Some providers accept only a few.
const MAX_CALLS: u64 = 16;

/// Single calls between two tries of a batch, for a node that failed at batches without a reason.
const SINGLE_CALLS_BEFORE_TRY: u64 = 128;

/// The number of calls that a request may have.
pub(super) struct BatchLimit {
    /// The number now: halved by failures, doubled by answers.
    now: AtomicU64,
    /// The limit that a refusal named or showed.
    cap: AtomicU64,
    /// How often calls were made one by one.
    single: AtomicU64,
}

impl Default for BatchLimit {
    fn default() -> Self {
        Self { now: AtomicU64::new(MAX_CALLS), cap: AtomicU64::new(MAX_CALLS), single: AtomicU64::new(0) }
    }
}

impl BatchLimit {
    /// The limit that a refusal named or showed; `None` where there was no such refusal.
    pub(super) fn cap(&self) -> Option<u64> {
        Some(self.cap.load(Ordering::Relaxed)).filter(|cap| *cap < MAX_CALLS)
    }

    /// Restores what [`Self::cap`] returned in an earlier run.
    pub(super) fn set_cap(&self, cap: Option<u64>) {
        self.cap.store(cap.unwrap_or(MAX_CALLS).clamp(1, MAX_CALLS), Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> usize {
        let now = self.now.load(Ordering::Relaxed).min(self.cap.load(Ordering::Relaxed));
        usize::try_from(now.max(1)).unwrap_or(1)
    }

    /// Whether this number of calls may be one request.
    pub(super) fn fits(&self, calls: usize) -> bool {
        calls <= self.now()
    }

    /// Whether this number of calls is made at once: in one request, or in concurrent requests of one call each.
    pub(super) fn takes(&self, calls: usize) -> bool {
        let now = self.now();
        calls <= now || now == 1
    }

    /// Counts calls that were made one by one instead of in one request. Now and then this allows a small batch
    /// again: the failure may have been temporary. A limit that the node has named stays.
    pub(super) fn count_single(&self) {
        if self.single.fetch_add(1, Ordering::Relaxed) % SINGLE_CALLS_BEFORE_TRY
            == SINGLE_CALLS_BEFORE_TRY - 1
        {
            self.try_again();
        }
    }

    pub(super) fn try_again(&self) {
        self.now.fetch_max(2, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, calls: usize) {
        self.now.fetch_max((calls as u64 * 2).min(MAX_CALLS), Ordering::Relaxed);
    }

    /// Records a batch that failed: the next one has half as many calls, at least one.
    pub(super) fn failed(&self, calls: usize) {
        self.now.store((calls as u64 / 2).max(1), Ordering::Relaxed);
    }

    pub(super) fn limited(&self, calls: usize, hint: Option<u64>) {
        let fewer = hint.unwrap_or(calls as u64 / 2).max(1);
        self.cap.fetch_min(fewer, Ordering::Relaxed);
    }
}
