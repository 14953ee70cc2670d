//! A head that is announced by its hash is asked for together with its logs: one round trip to the node for a block
//! instead of two. Nothing else is believed of what was announced.

use super::spine::ChainIndexer;
use crate::canon::{Group, Heads, Plan};
use crate::chain::{ChainError, Near};
use crate::domain::{B256, BlockRange, BlockRef, LogFilter};

/// What would be read next if the head is the block that was announced.
pub(super) struct Expected {
    sources: Vec<usize>,
    filter: LogFilter,
    hash: B256,
}

/// The head with its logs, as it was read for these sources.
pub(super) struct Ahead {
    sources: Vec<usize>,
    near: Near,
}

impl ChainIndexer {
    /// What to ask for beside the head, where one was announced that would be read next, and alone.
    pub(super) fn expected(&mut self) -> Option<Expected> {
        let announced = self.wake.announced()?;
        let (Some(known), true) = (self.heads, self.view.is_some() && self.looked) else { return None };
        let Plan { live, pending, .. } = self.plan(&Heads { latest: announced.number, ..known });
        let alone = BlockRange::new(announced.number, announced.number);
        let Group { sources, range } = live.or(pending)?;
        let filter = self.translator.filter(&sources);
        (Some(range) == alone).then_some(Expected { sources, filter, hash: announced.hash })
    }

    /// The newest block, and what was expected of it where it is the one that was announced.
    pub(super) async fn ask_head(
        &self,
        expected: Option<Expected>,
    ) -> Result<(BlockRef, Option<Ahead>), ChainError> {
        let Some(Expected { sources, filter, hash }) = expected else {
            return Ok((self.node.head().await?, None));
        };
        let near = self.node.head_near(&filter, hash).await?;
        Ok((near.block, near.has_logs().then_some(Ahead { sources, near })))
    }

    /// What was read ahead, where it is this. It is used at once or not at all.
    pub(super) fn take_ahead(&mut self, sources: &[usize], range: BlockRange) -> Option<Near> {
        let Ahead { sources: of, near } = self.ahead.take()?;
        let number = near.block.number;
        (of == sources && BlockRange::new(number, number) == Some(range)).then_some(near)
    }
}
