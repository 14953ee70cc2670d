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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_question_by_topics_is_asked_again_after_128_blocks() {
        let by_topics = ByTopics::default();
        assert!(!by_topics.is_off());
        by_topics.refused();
        let answers = std::iter::repeat_with(|| by_topics.is_off()).take(1_000);
        let blocks_in_parts = answers.take_while(|is_off| *is_off).count();
        assert_eq!(blocks_in_parts, 128);
    }
}
