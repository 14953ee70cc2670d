use std::sync::atomic::{AtomicU32, Ordering};

/// Whether an endpoint answers requests by topics without addresses. After a refusal it gets split requests for a number of blocks: the
/// refused block may only have been a crowded one.
#[derive(Debug, Default)]
pub(crate) struct ByTopics {
    /// Blocks that are still asked for in parts.
    left: AtomicU32,
}

/// Blocks between two tries.
const BLOCKS_BEFORE_TRY: u32 = 128;

impl ByTopics {
    /// Whether this block is asked for in parts; counts it.
    pub(crate) fn is_off(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// The endpoint has refused such a question.
    pub(crate) fn refused(&self) {
        self.left.store(BLOCKS_BEFORE_TRY, Ordering::Relaxed);
    }
}
