//! Records results of work that uses a node's answers.

use super::Node;
use super::failed_reads::FailedRead;
use crate::error::ChainError;
use crate::settings::Work;
use chainflume_core::domain::{BlockRange, LogFilter};

impl Node {
    /// Records blocks that could not be read. The cause may be the node or the blocks.
    pub fn could_not_read(&self, work: Work, filter: &LogFilter, range: BlockRange) {
        self.failed.set(work, Some(FailedRead { filter: filter.clone(), range }));
    }

    /// Counts a failure of work because of an answer of this node, or because no answer came. `None`: the answers did
    /// not fit together. Here a refusal of one request counts as a failure too.
    pub fn work_failed(&self, work: Work, error: Option<&ChainError>) {
        self.rpc.health.work_failed(work, None, error);
    }

    /// As [`Self::work_failed`], for these blocks. Success with other blocks does not end the failure.
    pub(crate) fn work_failed_on(
        &self,
        work: Work,
        filter: &LogFilter,
        range: BlockRange,
        error: &ChainError,
    ) {
        self.could_not_read(work, filter, range);
        self.rpc.health.work_failed(work, Some(range.from()), Some(error));
    }

    /// Records work that was done with answers of this node, on these blocks; `None`: all work.
    pub fn worked(&self, work: Work, on: Option<BlockRange>) {
        if self.rpc.health.worked(work, on) {
            self.failed.set(work, None);
        }
    }

    /// Records the range of history that is read now. If it takes long, a probe requests one block of it.
    pub(crate) fn reads(&self, filter: &LogFilter, range: BlockRange) {
        let unread = FailedRead { filter: filter.clone(), range };
        self.failed.begin(unread);
    }

    /// Clears the failures of work that starts anew.
    pub(crate) fn begins(&self, work: Work) {
        self.rpc.health.worked(work, None);
    }
}
