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

    /// Counts a failure of work that an answer of this node caused, or a missing answer. `None` where its answers did not fit together.
    /// Also a refusal that a node may give is a failure then.
    pub fn work_failed(&self, work: Work, error: Option<&ChainError>) {
        self.rpc.health.work_failed(work, None, error);
    }

    /// As [`Self::work_failed`], for these blocks: success with other blocks does not end the failure.
    pub(crate) fn work_failed_on(
        &self,
        work: Work,
        (filter, range): (&LogFilter, BlockRange),
        error: &ChainError,
    ) {
        self.could_not_read(work, filter, range);
        self.rpc.health.work_failed(work, Some(range.from()), Some(error));
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
