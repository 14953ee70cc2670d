//! When a head is announced, the block that is read next is known, and mostly its hash. It is asked for together with the
//! head: one round trip to the node for a block instead of two. Nothing else is believed of what was announced.

use super::session::Session;
use chainflume_core::canon::{Group, Heads, Plan};
use chainflume_core::domain::{BlockId, BlockRef, LogFilter};
use chainflume_node::{ChainError, Near};

/// What is to be read next if the head is the block that was announced.
pub(super) struct Expected {
    sources: Vec<usize>,
    filter: LogFilter,
    announced: BlockId,
    next: u64,
}

/// A block with its logs that came with the head, as it is read for these sources.
pub(super) struct Ahead {
    sources: Vec<usize>,
    near: Near,
}

/// Announcements that are let pass after one to which the node had no such block: what announces and what answers
/// may be two backends, one of which is always late, and each try costs a call.
const REST: u32 = 16;

impl Session<'_> {
    /// What to ask for beside the head, where one was announced under which a single block is read next.
    pub(super) fn expected(&mut self) -> Option<Expected> {
        let announced = self.wake.announced()?;
        let known = self.observed.heads.filter(|_| self.attempt.view.is_some() && self.attempt.looked)?;
        let Plan { live, pending, .. } = self.plan(&Heads { latest: announced.number, ..known });
        let Group { sources, range } = live.or(pending)?;
        if range.width() != 1 {
            return None;
        }
        // Until it is had: what fails together is not tried together again at once.
        self.wake.let_pass(REST);
        let filter = self.chain.translator.filter(&sources);
        Some(Expected { sources, filter, announced, next: range.from() })
    }

    /// The newest block, and what was expected beside it if it was had.
    pub(super) async fn ask_head(
        &self,
        expected: Option<&Expected>,
    ) -> Result<(BlockRef, Option<Near>), ChainError> {
        match expected {
            Some(Expected { filter, announced, next, .. }) => {
                self.node.head_and_next(filter, (*announced, *next)).await
            }
            None => Ok((self.node.head().await?, None)),
        }
    }

    /// Keeps what came of it for the next read.
    pub(super) fn keep_ahead(&mut self, expected: Option<Expected>, near: Option<Near>) {
        if near.is_some() {
            self.wake.let_pass(0);
        }
        self.attempt.ahead =
            expected.zip(near).map(|(Expected { sources, .. }, near)| Ahead { sources, near });
    }

    /// What came with the head, where it is this. It is used now or not at all.
    pub(super) fn take_ahead(&mut self, sources: &[usize], number: u64) -> Option<Near> {
        let Ahead { sources: of, near } = self.attempt.ahead.take()?;
        (of == sources && near.block().number == number).then_some(near)
    }
}
