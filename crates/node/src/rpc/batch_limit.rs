use std::sync::atomic::{AtomicU64, Ordering};

/// Calls in one request at most. Enough to hide the latency; some providers take no more than a few anyway.
const MOST: u64 = 16;

/// Between two tries of a node that has failed at batches without a word on why.
const TRY_EVERY: u64 = 128;

/// How many calls a request may have.
pub(super) struct BatchLimit {
    /// Now; halved by failures, doubled by answers.
    now: AtomicU64,
    /// From the answer of the node, or as found.
    cap: AtomicU64,
    /// How often they were asked one by one.
    alone: AtomicU64,
}

impl Default for BatchLimit {
    fn default() -> Self {
        Self { now: AtomicU64::new(MOST), cap: AtomicU64::new(MOST), alone: AtomicU64::new(0) }
    }
}

impl BatchLimit {
    /// From the answer of the node, or as found; `None` where nothing was.
    pub(super) fn cap(&self) -> Option<u64> {
        Some(self.cap.load(Ordering::Relaxed)).filter(|cap| *cap < MOST)
    }

    /// Restores what [`Self::cap`] returned in an earlier run.
    pub(super) fn set_cap(&self, cap: Option<u64>) {
        self.cap.store(cap.unwrap_or(MOST).clamp(1, MOST), Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> usize {
        let now = self.now.load(Ordering::Relaxed).min(self.cap.load(Ordering::Relaxed));
        usize::try_from(now.max(1)).unwrap_or(1)
    }

    /// Whether so many calls may be one request.
    pub(super) fn fits(&self, calls: usize) -> bool {
        calls <= self.now()
    }

    /// Whether so many calls are asked at one moment: in one request, or each by itself and all at once.
    pub(super) fn takes(&self, calls: usize) -> bool {
        let now = self.now();
        calls <= now || now == 1
    }

    /// Calls that would have been a request were asked one by one. Now and then a small one is tried again: it may have
    /// been a moment's trouble. A limit that the node has named stays.
    pub(super) fn alone(&self) {
        if self.alone.fetch_add(1, Ordering::Relaxed) % TRY_EVERY == TRY_EVERY - 1 {
            self.try_again();
        }
    }

    pub(super) fn try_again(&self) {
        self.now.fetch_max(2, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, calls: usize) {
        self.now.fetch_max((calls as u64 * 2).min(MOST), Ordering::Relaxed);
    }

    /// Half of them next time, down to one.
    pub(super) fn failed(&self, calls: usize) {
        self.now.store((calls as u64 / 2).max(1), Ordering::Relaxed);
    }

    pub(super) fn limited(&self, calls: usize, hint: Option<u64>) {
        let fewer = hint.unwrap_or(calls as u64 / 2).max(1);
        self.cap.fetch_min(fewer, Ordering::Relaxed);
    }
}
