use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::ApplicationEvent;
use crate::Publisher;
use chainflume_core::domain::causes;
use chainflume_db::StoreError;
use chainflume_ops::metrics;

/// Maximum number of events in one commit: meanwhile every other writer with messages waits.
const MAX_COMMIT: usize = 1_000;
/// Maximum number of events that wait for a commit: some seconds of work, about as long as callers wait.
const MAX_WAITING: usize = 10_000;
/// Timeout of a commit, including the wait for a connection. A caller gets an error within twice this time if the database is away.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(8);

/// Events that wait for a commit.
#[derive(Default)]
pub(crate) struct CommitQueue(Mutex<WaitingCalls>);

#[derive(Default)]
struct WaitingCalls {
    calls: VecDeque<PublishCall>,
    events: usize,
    /// Whether a task commits what waits.
    is_running: bool,
}

struct PublishCall {
    events: Vec<ApplicationEvent>,
    answer: oneshot::Sender<Result<PublishReceipt, PublishError>>,
}

/// The result for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its id.
    pub id: Uuid,
    /// Number of its message.
    pub seq: u64,
    /// Whether an event with this id was stored before; the stored one is kept.
    pub duplicate: bool,
}

/// The results for the events of one call, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishReceipt {
    /// Each event.
    pub events: Vec<Published>,
    /// The position of the commit, `<epoch>.<seq>`; `None` if every event was a repeat.
    pub position: Option<String>,
}

/// Why a call failed: nothing was stored, or it is unknown whether it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The database does not answer. The events may have been stored if the connection broke during the commit: the same ids again
    /// are the same events.
    #[error("the database cannot be used just now")]
    Unavailable,
    /// Too many events wait for a commit.
    #[error("too many events wait for a commit")]
    Busy,
    /// The event would add an aggregate type above the allowed number.
    #[error("events are about too many kinds of things")]
    TooManyAggregateTypes,
}

impl Publisher {
    /// Stores events and their messages, all or none, and returns after the commit. Calls at the same time share a commit.
    ///
    /// # Errors
    /// [`PublishError`]
    pub async fn publish(&self, events: Vec<ApplicationEvent>) -> Result<PublishReceipt, PublishError> {
        self.admit_aggregate_types(&events).await?;
        let (answer, answered) = oneshot::channel();
        let begins = self.0.queue.push(PublishCall { events, answer })?;
        if begins {
            // A task of its own: a caller that goes away must not take the commit of the others along.
            tokio::spawn(self.clone().commit_all());
        }
        answered.await.unwrap_or(Err(PublishError::Unavailable))
    }

    async fn commit_all(self) {
        let running = Running(&self.0.queue);
        loop {
            let calls = self.0.queue.take();
            if calls.is_empty() {
                return std::mem::forget(running);
            }
            let (shared_by, began) = (calls.len(), Instant::now());
            self.commit(calls).await;
            let pause =
                CommitPause::after(shared_by, began.elapsed(), self.0.settings.limits.max_commit_pause);
            if let Some(CommitPause { length, is_cut }) = pause {
                metrics::application_paused(is_cut);
                tokio::time::sleep(length).await;
            }
        }
    }

    /// Commits these together. Where one cannot be stored, each is tried alone, so that it fails no other.
    async fn commit(&self, calls: Vec<PublishCall>) {
        let (calls, answers): (Vec<_>, Vec<_>) =
            calls.into_iter().map(|job| (job.events, job.answer)).unzip();
        let outcomes: Vec<Result<PublishReceipt, PublishError>> = match self.try_commit(&calls).await {
            Ok(receipts) => receipts.into_iter().map(Ok).collect(),
            Err(error) if calls.len() == 1 || error.is_transient() => {
                metrics::application_events("failed", calls.iter().map(Vec::len).sum());
                let error = self.failed(&error);
                calls.iter().map(|_| Err(error)).collect()
            }
            Err(_) => {
                let mut alone = Vec::with_capacity(calls.len());
                for call in &calls {
                    let outcome = self.try_commit(std::slice::from_ref(call)).await;
                    let receipt = outcome.map(|mut receipts| receipts.remove(0));
                    alone.push(receipt.map_err(|error| {
                        metrics::application_events("failed", call.len());
                        self.failed(&error)
                    }));
                }
                alone
            }
        };
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // What a caller that went away sent is stored all the same.
            let _gone = answer.send(outcome);
        }
    }

    async fn try_commit(&self, calls: &[Vec<ApplicationEvent>]) -> Result<Vec<PublishReceipt>, CommitError> {
        let written = tokio::time::timeout(COMMIT_TIMEOUT, self.write(calls)).await;
        let receipts = written.map_err(|_| CommitError::Slow)?.map_err(CommitError::Store)?;
        metrics::application_committed();
        for published in receipts.iter().flat_map(|receipt| &receipt.events) {
            metrics::application_events(if published.duplicate { "duplicate" } else { "stored" }, 1);
        }
        Ok(receipts)
    }

    fn failed(&self, error: &CommitError) -> PublishError {
        if let Some(suppressed) = self.0.lines.admit("publish") {
            let suppressed = suppressed.field();
            tracing::warn!(error = %causes(error), suppressed, "application events are not stored; publishers are asked to send them again");
        }
        PublishError::Unavailable
    }
}

/// How long publishers that share commits wait before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CommitPause {
    length: Duration,
    /// Whether the commit took longer.
    is_cut: bool,
}

impl CommitPause {
    /// As long as the commit took, so that other writers with messages, the chains first, get half of the time. Meanwhile events
    /// gather, and larger commits are fewer. A publisher that waits for each answer shares no commit, and never waits for this.
    fn after(shared_by: usize, took: Duration, most: Duration) -> Option<Self> {
        let length = took.min(most);
        (shared_by > 1 && !length.is_zero()).then_some(Self { length, is_cut: took > most })
    }
}

/// Why a commit failed, or may have.
#[derive(Debug, thiserror::Error)]
enum CommitError {
    #[error("application events cannot be stored")]
    Store(#[source] StoreError),
    #[error("the database took longer than {} s for a commit", COMMIT_TIMEOUT.as_secs())]
    Slow,
}

impl CommitError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Slow => true,
        }
    }
}

/// Lets the next call begin again should the task that commits end by a panic.
struct Running<'a>(&'a CommitQueue);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = WaitingCalls::default();
    }
}

impl CommitQueue {
    /// Whether the caller has to begin the task that commits.
    fn push(&self, job: PublishCall) -> Result<bool, PublishError> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.events + job.events.len() > MAX_WAITING {
            return Err(PublishError::Busy);
        }
        waiting.events += job.events.len();
        waiting.calls.push_back(job);
        metrics::application_waiting(waiting.events);
        Ok(!std::mem::replace(&mut waiting.is_running, true))
    }

    /// The next for one commit, at least one call; none at the end, and then the task ends.
    fn take(&self) -> Vec<PublishCall> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut taken, mut events) = (Vec::new(), 0);
        while let Some(next) = waiting.calls.front() {
            if events + next.events.len() > MAX_COMMIT && !taken.is_empty() {
                break;
            }
            events += next.events.len();
            taken.extend(waiting.calls.pop_front());
        }
        waiting.events -= events;
        waiting.is_running = !taken.is_empty();
        metrics::application_waiting(waiting.events);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_as_long_as_the_shared_commit_within_its_limit() {
        let after = |shared_by, took, most| {
            let pause =
                CommitPause::after(shared_by, Duration::from_millis(took), Duration::from_millis(most));
            pause.map(|pause| (pause.length.as_millis(), pause.is_cut))
        };
        assert_eq!(after(2, 5, 20), Some((5, false)));
        assert_eq!(after(64, 20, 20), Some((20, false)));
        assert_eq!(after(2, 21, 20), Some((20, true)));
        // One publisher alone, and no pause at all.
        assert_eq!([after(1, 5, 20), after(0, 5, 20), after(2, 5, 0)], [None; 3]);
    }
}
