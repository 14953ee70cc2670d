//! The end of a command whose node fails at the same blocks again and again. A person waits for the command; a daemon retries without end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::error::IndexerError;
use chainflume_core::domain::BlockRange;
use chainflume_node::{ChainError, OnError};

/// Failures before the command may end: a node that restarts may refuse a few times in a moment.
const MIN_FAILURES: u32 = 5;

/// The failures of blocks that are not read yet. Blocks that are read never fail again, so that the failures of one block are
/// consecutive, whichever provider is asked.
#[derive(Default)]
struct Failures(Mutex<BTreeMap<u64, (Instant, u32)>>);

impl Failures {
    /// Counts a failure at this block. Returns the number of its failures and the time since the first one.
    fn count(&self, block: u64, now: Instant) -> (u32, Duration) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, tries) = failures.entry(block).or_insert((now, 0));
        *tries += 1;
        (*tries, now.saturating_duration_since(*since))
    }

    fn forget_to(&self, block: u64) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|at, _| *at > block);
    }
}

/// Why a run gives a node up: the blocks of the last request, its error, the number of failures and their time.
type GiveUp = (BlockRange, ChainError, u32, Duration);

/// How long one run retries failures at the same blocks. Without a limit it never gives up.
pub(super) struct RetryLimit {
    failures: Arc<Failures>,
    limit: Option<Duration>,
    end: watch::Sender<Option<GiveUp>>,
}

impl RetryLimit {
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self { failures: Arc::default(), limit, end: watch::Sender::new(None) }
    }

    /// Passes every failure on, and counts it.
    pub(super) fn counted(&self, on_error: OnError) -> OnError {
        let (failures, limit, end) = (self.failures.clone(), self.limit, self.end.clone());
        Arc::new(move |range, error| {
            on_error(range, error);
            let (tries, within) = failures.count(range.from(), Instant::now());
            if tries >= MIN_FAILURES && limit.is_some_and(|limit| within >= limit) {
                end.send_replace(Some((range, error.clone(), tries, within)));
            }
        })
    }

    /// Forgets the failures of blocks that are done.
    pub(super) fn done_to(&self, block: u64) {
        self.failures.forget_to(block);
    }

    /// Returns the error with which the run gives up, and does not return before. May be dropped and called again.
    pub(super) async fn ended(&self) -> IndexerError {
        let mut end = self.end.subscribe();
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        match ended {
            Some((range, error, tries, within)) => {
                let error = Box::new(error);
                IndexerError::GaveUp { error, range, tries, within }
            }
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_from_the_first_at_a_block_that_is_not_done() {
        let (failures, start) = (Failures::default(), Instant::now());
        let fails = |block, second| failures.count(block, start + Duration::from_secs(second));
        assert_eq!(fails(7, 0), (1, Duration::ZERO));
        assert_eq!(fails(9, 2), (1, Duration::ZERO));
        assert_eq!(fails(7, 3), (2, Duration::from_secs(3)));
        failures.forget_to(7);
        assert_eq!(fails(9, 5), (2, Duration::from_secs(3)));
        assert_eq!(fails(7, 6), (1, Duration::ZERO));
    }

    #[tokio::test]
    async fn a_daemon_retries_without_end_and_a_command_some_times() {
        let error = ChainError::TooLarge { host: "node".to_owned(), method: "eth_getLogs", limit: 9 };
        let range = BlockRange::single(7);
        for (limit, ends) in
            [(None, false), (Some(Duration::from_hours(1)), false), (Some(Duration::ZERO), true)]
        {
            let retries = RetryLimit::new(limit);
            let fails = retries.counted(Arc::new(|_, _| {}));
            (1..MIN_FAILURES).for_each(|_| fails(range, &error));
            assert!(retries.end.borrow().is_none(), "{limit:?}");
            fails(range, &error);
            assert_eq!(retries.end.borrow().is_some(), ends, "{limit:?}");
            if ends {
                let text = retries.ended().await.to_string();
                let words = format!("larger than 9 bytes; blocks {range} failed 5 times within 0 s: ");
                assert!(text.contains(&words), "{text}");
            }
        }
    }
}
