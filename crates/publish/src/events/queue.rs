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

/// Events of one commit at most: while it runs, every other writer with messages waits.
const MAX_COMMIT: usize = 1_000;
/// Events that may wait for a commit, some seconds of work: more would wait longer than their callers.
const MAX_WAITING: usize = 10_000;
/// How long publishers that share commits pause after each at most. They pause as long as the commit took, so that other writers with
/// messages, the chains first, get half of the time. Meanwhile events gather, and larger commits are fewer.
const MAX_PAUSE: Duration = Duration::from_millis(20);
/// How long a commit may take, the wait for a connection included; a caller hears of a database that is away within twice that.
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

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its id.
    pub id: Uuid,
    /// Number of its message.
    pub seq: u64,
    /// Whether it was there already; what was stored first is kept.
    pub duplicate: bool,
}

/// What became of the events of one call, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishReceipt {
    /// Each event.
    pub events: Vec<Published>,
    /// The position of the commit, `<epoch>.<seq>`; `None` where every event was there already.
    pub position: Option<String>,
}

/// Why nothing of a call was stored, or why that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The database does not answer. The events may have been stored if the connection broke during the commit: the same ids again
    /// are the same events.
    #[error("the database cannot be used just now")]
    Unavailable,
    /// Too much waits.
    #[error("too many events wait for a commit")]
    Busy,
    /// One kind of things more than are allowed.
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
            let (is_shared, began) = (calls.len() > 1, Instant::now());
            self.commit(calls).await;
            // A publisher that waits for each answer never waits for this.
            if is_shared {
                tokio::time::sleep(began.elapsed().min(MAX_PAUSE)).await;
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
