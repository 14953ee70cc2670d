use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::gap::Gap;
use crate::push::Entry;

/// A message for one client, with the rooms of the client that it is in, as indexes in [`Entry::rooms`].
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub entry: Arc<Entry>,
    /// Where.
    pub rooms: Vec<usize>,
    /// Whether it was handed out when it was read from the database, and not to a client that resumes.
    pub is_live: bool,
}

/// What comes out of an outlet.
#[derive(Debug)]
pub enum Arrival {
    /// A message.
    Message(Delivery),
    /// Messages that cannot be handed out: the history of the database changed.
    Gap(Gap),
    /// More gathered than may wait: the client has to come again and resume.
    TooSlow,
}

/// The waiting line of an outlet, which the hub fills.
pub(super) struct Line {
    queue: Mutex<Queue>,
    wake: Notify,
    /// Cancelled when more gathered than may wait.
    overflow: CancellationToken,
    limit: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

enum Waiting {
    Message(Delivery),
    Gap(Gap),
}

impl Delivery {
    /// Since its transaction began, for a client that was there.
    pub fn age(&self) -> Option<Duration> {
        self.entry.stored.filter(|_| self.is_live).map(|at| at.elapsed())
    }

    /// Bytes of the message as text, once for each room.
    pub fn bytes(&self) -> usize {
        self.entry.json.len() * self.rooms.len().max(1)
    }
}

impl Line {
    /// Empty. `overflow` is cancelled when more than `limit` bytes gathered.
    pub fn new(limit: usize, overflow: CancellationToken) -> Self {
        Self { queue: Mutex::default(), wake: Notify::new(), overflow, limit }
    }

    /// The next that waits; `None` where nothing does.
    pub fn try_next(&self) -> Option<Arrival> {
        if self.overflow.is_cancelled() {
            return Some(Arrival::TooSlow);
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        match queue.waiting.pop_front()? {
            Waiting::Gap(gap) => Some(Arrival::Gap(gap)),
            Waiting::Message(delivery) => {
                queue.bytes = queue.bytes.saturating_sub(delivery.bytes());
                Some(Arrival::Message(delivery))
            }
        }
    }

    /// The next, waited for. A call that is dropped takes nothing.
    pub async fn next(&self) -> Arrival {
        loop {
            let woken = self.wake.notified();
            if let Some(arrival) = self.try_next() {
                return arrival;
            }
            woken.await;
        }
    }

    pub fn push(&self, delivery: Delivery) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.bytes += delivery.bytes();
        // One message alone always fits, however large: its receiver could never get beyond it.
        if queue.bytes > self.limit && !queue.waiting.is_empty() {
            *queue = Queue::default();
            self.overflow.cancel();
        } else if !self.overflow.is_cancelled() {
            queue.waiting.push_back(Waiting::Message(delivery));
        }
        drop(queue);
        self.wake.notify_one();
    }

    pub fn push_gap(&self, gap: Gap) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).waiting.push_back(Waiting::Gap(gap));
        self.wake.notify_one();
    }

    pub fn is_over(&self) -> bool {
        self.overflow.is_cancelled()
    }
}
