//! Where a provider failed: a probe repeats the question before the provider is asked again.

use std::sync::{Mutex, PoisonError};

use crate::settings::Work;
use chainflume_core::domain::{BlockRange, LogFilter};

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

    /// This range is asked for now.
    pub(crate) fn begin(&self, unread: FailedRead) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(unread);
    }

    pub(crate) fn set(&self, work: Work, unread: Option<FailedRead>) {
        *self.of(work).lock().unwrap_or_else(PoisonError::into_inner) = unread;
    }
}
