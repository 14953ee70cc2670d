//! What came of the work that a node is asked for.

use super::Node;
use super::failed_reads::FailedRead;
use crate::error::ChainError;
use crate::settings::Work;
use chainflume_core::domain::{BlockRange, LogFilter};

impl Node {
    /// These blocks could not be read. The cause may be the node or the blocks.
    pub fn could_not_read(&self, work: Work, filter: &LogFilter, range: BlockRange) {
        self.failed.set(work, Some(FailedRead { filter: filter.clone(), range }));
    }

    /// Work came to nothing because of what this node answered, or did not answer, `None` where its answers did not fit
    /// together. Whatever its word for it, that counts against it.
    pub fn stumbled(&self, work: Work, error: Option<&ChainError>) {
        self.rpc.health.stumbled(work, None, error);
    }

    /// As [`Self::stumbled`], of these blocks, which others of the same work cannot make good.
    pub(crate) fn stumbled_at(
        &self,
        work: Work,
        (filter, range): (&LogFilter, BlockRange),
        error: &ChainError,
    ) {
        self.could_not_read(work, filter, range);
        self.rpc.health.stumbled(work, Some(range.from()), Some(error));
    }

    /// Work was done with what this node answered: on these blocks, or all there was to do.
    pub fn worked(&self, work: Work, on: Option<BlockRange>) {
        if self.rpc.health.worked(work, on) {
            self.failed.set(work, None);
        }
    }

    /// This range of old blocks is asked for now. Where it takes its time a probe asks for a block of it.
    pub(crate) fn reads(&self, filter: &LogFilter, range: BlockRange) {
        let unread = FailedRead { filter: filter.clone(), range };
        self.failed.begin(unread);
    }

    /// Work begins anew: what an earlier try ran into is not what this one does.
    pub(crate) fn begins(&self, work: Work) {
        self.rpc.health.worked(work, None);
    }
}
