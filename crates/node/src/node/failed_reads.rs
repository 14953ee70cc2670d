//! What a provider is asked for, and where it failed: a probe asks it the same before it is asked again.

use std::sync::{Mutex, PoisonError};

use super::Node;
use crate::error::ChainError;
use chainflume_core::domain::{BlockRange, LogFilter};

/// What a provider is asked for. Each kind fails by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Blocks near the head, to be stored.
    Live,
    /// Blocks near the head that are told ahead.
    Pending,
    /// Ranges of old blocks.
    History,
    /// Only a look at how it is.
    Probe,
}

/// What could not be read.
#[derive(Clone, Debug)]
pub(crate) struct FailedRead {
    pub filter: LogFilter,
    pub range: BlockRange,
}

/// What could not be read last, near the head and of old blocks, until it is.
#[derive(Default)]
pub(crate) struct FailedReads {
    near: Mutex<Option<FailedRead>>,
    old: Mutex<Option<FailedRead>>,
    /// The range that was asked for last, whatever comes of it.
    asked: Mutex<Option<FailedRead>>,
}

impl FailedReads {
    fn of(&self, work: Work) -> &Mutex<Option<FailedRead>> {
        if work == Work::History { &self.old } else { &self.near }
    }

    pub(crate) fn get(&self, work: Work) -> Option<FailedRead> {
        self.of(work).lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first block of the range that was asked for last.
    pub(crate) fn begun(&self) -> Option<FailedRead> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        asked.map(|unread| FailedRead { range: BlockRange::single(unread.range.from()), ..unread })
    }

    fn set(&self, work: Work, unread: Option<FailedRead>) {
        *self.of(work).lock().unwrap_or_else(PoisonError::into_inner) = unread;
    }
}

impl Node {
    /// These blocks could not be read. Says nothing of whose fault that is.
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
        *self.failed.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(unread);
    }

    /// Work begins anew: what an earlier try ran into is not what this one does.
    pub(crate) fn begins(&self, work: Work) {
        self.rpc.health.worked(work, None);
    }
}
