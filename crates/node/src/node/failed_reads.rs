//! Reads at which a provider failed. A probe repeats them before the provider is used again.

use std::sync::{Mutex, PoisonError};

use crate::settings::Work;
use chainflume_core::domain::{BlockRange, LogFilter};

/// A read that failed.
#[derive(Clone, Debug)]
pub(crate) struct FailedRead {
    pub filter: LogFilter,
    pub range: BlockRange,
}

/// The last failed read near the head and the last one of history, until the same read succeeds.
#[derive(Default)]
pub(crate) struct FailedReads {
    near: Mutex<Option<FailedRead>>,
    old: Mutex<Option<FailedRead>>,
    /// The range that is read now, or was read last.
    asked: Mutex<Option<FailedRead>>,
}

impl FailedReads {
    fn of(&self, work: Work) -> &Mutex<Option<FailedRead>> {
        if work == Work::History { &self.old } else { &self.near }
    }

    pub(crate) fn get(&self, work: Work) -> Option<FailedRead> {
        self.of(work).lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first block of the range that is read now.
    pub(crate) fn begun(&self) -> Option<FailedRead> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        asked.map(|unread| FailedRead { range: BlockRange::single(unread.range.from()), ..unread })
    }

    /// Records the range that is read now.
    pub(crate) fn begin(&self, unread: FailedRead) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(unread);
    }

    pub(crate) fn set(&self, work: Work, unread: Option<FailedRead>) {
        *self.of(work).lock().unwrap_or_else(PoisonError::into_inner) = unread;
    }
}
