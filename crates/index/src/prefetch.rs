//! When the WebSocket announces a head, the number of the next block is known, and usually its hash. The loop fetches
//! that block together with the head: one round trip instead of two. It uses nothing else of the announcement.

use super::session::{IndexSession, Prefetched};
use chainflume_core::canon::{Heads, ReadPlan, SourceGroup};
use chainflume_core::domain::{BlockId, BlockRef, LogFilter};
use chainflume_node::{ChainError, HeaderWithLogs};

/// The block that is read next if the announced block is the head.
pub(super) struct Prefetch {
    sources: Vec<usize>,
    filter: LogFilter,
    announced: BlockId,
    next: u64,
}

/// Announcements that are skipped after the node lacked an announced block. Announcements and answers may come from
/// two backends, and each failed try costs a call.
const SKIPPED_ANNOUNCEMENTS: u32 = 16;

impl IndexSession<'_> {
    /// The block to fetch together with the head, if the announcement makes a single block the next one.
    pub(super) fn plan_prefetch(&mut self) -> Option<Prefetch> {
        let announced = self.wake.announced()?;
        let known =
            self.observed.heads.filter(|_| self.attempt.snapshot.is_some() && self.attempt.compared)?;
        let ReadPlan { live, pending, .. } = self.plan(&Heads { latest: announced.number, ..known });
        let SourceGroup { sources, range } = live.or(pending)?;
        if range.width() != 1 {
            return None;
        }
        // Reset when the block arrives: a prefetch that failed is not repeated at once.
        self.wake.ignore_next(SKIPPED_ANNOUNCEMENTS);
        let filter = self.chain.translator.filter(&sources);
        Some(Prefetch { sources, filter, announced, next: range.from() })
    }

    /// Fetches the newest block, and the prefetched block if the node has it.
    pub(super) async fn fetch_head(
        &self,
        expected: Option<&Prefetch>,
    ) -> Result<(BlockRef, Option<HeaderWithLogs>), ChainError> {
        match expected {
            Some(Prefetch { filter, announced, next, .. }) => {
                self.node.head_and_next(filter, *announced, *next).await
            }
            None => Ok((self.node.head().await?, None)),
        }
    }

    /// Keeps the prefetched block for the next read.
    pub(super) fn keep_prefetched(&mut self, expected: Option<Prefetch>, near: Option<HeaderWithLogs>) {
        if near.is_some() {
            self.wake.ignore_next(0);
        }
        self.attempt.prefetched =
            expected.zip(near).map(|(Prefetch { sources, .. }, near)| Prefetched { sources, near });
    }

    /// The prefetched block, where it is this one. It is used now or dropped.
    pub(super) fn take_prefetched(&mut self, sources: &[usize], number: u64) -> Option<HeaderWithLogs> {
        let Prefetched { sources: of, near } = self.attempt.prefetched.take()?;
        (of == sources && near.block().number == number).then_some(near)
    }
}
