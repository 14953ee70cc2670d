//! When a command that a person waits for ends: a node that fails at the same blocks again and again is given up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::error::IndexerError;
use chainflume_core::domain::BlockRange;
use chainflume_node::{ChainError, OnError};

/// Failures that are awaited in any case: a node that restarts may refuse a few times in a moment.
const TRIES: u32 = 5;

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

/// The node that is given up: the blocks that were asked for last, its error, and how often it failed in which time.
type Verdict = (BlockRange, ChainError, u32, Duration);

/// The patience of one run. Without a limit it never ends.
pub(super) struct Patience {
    failures: Arc<Failures>,
    limit: Option<Duration>,
    end: watch::Sender<Option<Verdict>>,
}

impl Patience {
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self { failures: Arc::default(), limit, end: watch::Sender::new(None) }
    }

    /// Hands every failure on, and counts it.
    pub(super) fn counted(&self, on_error: OnError) -> OnError {
        let (failures, limit, end) = (self.failures.clone(), self.limit, self.end.clone());
        Arc::new(move |range, error| {
            on_error(range, error);
            let (tries, within) = failures.count(range.from(), Instant::now());
            if tries >= TRIES && limit.is_some_and(|limit| within >= limit) {
                end.send_replace(Some((range, error.clone(), tries, within)));
            }
        })
    }

    /// These blocks are done.
    pub(super) fn done_to(&self, block: u64) {
        self.failures.forget_to(block);
    }

    /// Returns the error of the node that is given up; never returns before. May be dropped and called again.
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
    async fn a_daemon_has_patience_without_end_and_a_command_some_tries() {
        let error = ChainError::TooLarge { host: "node".to_owned(), method: "eth_getLogs", limit: 9 };
        let range = BlockRange::single(7);
        for (limit, ends) in
            [(None, false), (Some(Duration::from_hours(1)), false), (Some(Duration::ZERO), true)]
        {
            let patience = Patience::new(limit);
            let fails = patience.counted(Arc::new(|_, _| {}));
            (1..TRIES).for_each(|_| fails(range, &error));
            assert!(patience.end.borrow().is_none(), "{limit:?}");
            fails(range, &error);
            assert_eq!(patience.end.borrow().is_some(), ends, "{limit:?}");
            if ends {
                let text = patience.ended().await.to_string();
                let words = format!("larger than 9 bytes; blocks {range} failed 5 times within 0 s: ");
                assert!(text.contains(&words), "{text}");
            }
        }
    }
}
