use std::sync::atomic::{AtomicU32, Ordering};

/// Whether an endpoint answers requests by topics without addresses. After a refusal, requests are split for a number
/// of blocks, and then it is tried again: the refused block may have been crowded.
#[derive(Debug, Default)]
pub(crate) struct ByTopics {
    /// Blocks that are still requested in parts.
    left: AtomicU32,
}

/// Blocks between two tries.
const BLOCKS_BEFORE_TRY: u32 = 128;

impl ByTopics {
    /// Whether this block is requested in parts. Counts the block.
    pub(crate) fn is_off(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Records that the endpoint refused such a request.
    pub(crate) fn refused(&self) {
        self.left.store(BLOCKS_BEFORE_TRY, Ordering::Relaxed);
    }
}
