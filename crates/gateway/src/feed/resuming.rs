use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chainflume_ops::metrics;
use chainflume_outbox::PageSize;

/// Largest page. A client that reads slowly has one in memory, in the form of the database and in that of its protocol.
const MAX_PAGE: PageSize = PageSize { messages: 500, bytes: 1 << 20 };

/// Smallest page, in bytes: some 20 messages, so that a client makes progress however many others resume.
const MIN_BYTES: u32 = 16 << 10;

/// The memory of missed messages that were read from the database and are not yet sent. The more of it is used, the smaller is the
/// next page, so thousands of slow clients share it and none waits for another.
#[derive(Debug)]
pub(super) struct ResumeMemory {
    max_bytes: usize,
    used: AtomicUsize,
}

/// What one page takes of it, until its last message is sent or dropped.
#[derive(Debug)]
pub struct ResumeShare {
    memory: Arc<ResumeMemory>,
    bytes: usize,
}

impl ResumeMemory {
    pub fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self { max_bytes, used: AtomicUsize::new(0) })
    }

    /// The size of the next page: a sixteenth of what is free, within bounds.
    pub fn next_page(&self) -> PageSize {
        let free = self.max_bytes.saturating_sub(self.used.load(Ordering::Relaxed));
        let bytes = u32::try_from(free / 16).unwrap_or(u32::MAX).clamp(MIN_BYTES, MAX_PAGE.bytes);
        PageSize { bytes, ..MAX_PAGE }
    }

    pub fn share(self: &Arc<Self>, bytes: usize) -> Arc<ResumeShare> {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        metrics::push_resuming(before + bytes);
        Arc::new(ResumeShare { memory: self.clone(), bytes })
    }
}

impl Drop for ResumeShare {
    fn drop(&mut self) {
        let before = self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
        metrics::push_resuming(before.saturating_sub(self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_shrink_as_the_memory_of_resuming_clients_fills() {
        let memory = ResumeMemory::new(64 << 20);
        let pages = std::iter::repeat_with(|| {
            let size = memory.next_page().bytes as usize;
            (size, memory.share(size))
        });
        let pages: Vec<_> = pages.take(2_000).collect();
        let sizes: Vec<usize> = pages.iter().map(|(size, _)| *size).collect();
        assert_eq!((sizes[0], sizes[1_999]), (1 << 20, 16 << 10));
        assert!(sizes.is_sorted_by(|before, next| before >= next));
        // The smallest pages are the only ones above the bound.
        let small = sizes.iter().filter(|size| **size == 16 << 10).count();
        assert!(sizes.iter().sum::<usize>() <= (64 << 20) + small * (16 << 10));

        drop(pages);
        assert_eq!(memory.next_page(), MAX_PAGE);
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }
}
