use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::hub::Hub;
use super::page::Gap;
use crate::push::Entry;
use chainflume_access::Room;
use chainflume_outbox::Position;

/// A message for one client, with the rooms of the client that it is in, as indexes in [`Entry::rooms`].
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub entry: Arc<Entry>,
    /// Where.
    pub rooms: Vec<usize>,
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

/// Where the live messages of one client wait. It leaves its rooms when it is dropped.
pub struct Outlet {
    hub: Arc<Hub>,
    pub(super) line: Arc<Line>,
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
    /// Bytes of the message as text, once for each room.
    pub fn bytes(&self) -> usize {
        self.entry.json.len() * self.rooms.len().max(1)
    }
}

impl Outlet {
    pub(super) fn new(hub: Arc<Hub>, limit: usize, overflow: CancellationToken) -> Self {
        let (queue, wake) = (Mutex::default(), Notify::new());
        Self { hub, line: Arc::new(Line { queue, wake, overflow, limit }) }
    }

    /// The next that waits; `None` where nothing does.
    pub fn try_next(&self) -> Option<Arrival> {
        if self.line.overflow.is_cancelled() {
            return Some(Arrival::TooSlow);
        }
        let mut queue = self.line.queue.lock().unwrap_or_else(PoisonError::into_inner);
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
            let woken = self.line.wake.notified();
            if let Some(arrival) = self.try_next() {
                return arrival;
            }
            woken.await;
        }
    }

    /// From now on in these rooms; the newest message before.
    pub fn join(&self, rooms: &[Room]) -> Position {
        self.hub.join(&self.line, rooms)
    }

    /// From now on in these rooms, if `position` of history number `history` is that of the newest message; whether it is.
    pub(super) fn join_at(&self, rooms: &[Room], position: &Position, history: u64) -> bool {
        self.hub.join_at(&self.line, rooms, (position, history))
    }

    /// Not any more in these rooms. What waits is handed out all the same.
    pub fn leave(&self, rooms: &[Room]) {
        self.hub.leave(&self.line, rooms);
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.hub.forget(&self.line);
    }
}

impl Line {
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
