use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::gap::Gap;
use super::resuming::ResumeShare;
use crate::push::Entry;

/// A message for one client, with the rooms of the client that it is in, as indexes in [`Entry::rooms`].
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub entry: Arc<Entry>,
    /// Indexes of the rooms.
    pub rooms: Vec<usize>,
    /// Whether it is a live message, and not one that a resuming client missed.
    pub is_live: bool,
    /// The memory that its page takes, if it was read from the database.
    pub share: Option<Arc<ResumeShare>>,
}

/// The next item of an outlet.
#[derive(Debug)]
pub enum Arrival {
    /// A message.
    Message(Delivery),
    /// Messages that cannot be sent: the history of the database changed.
    Gap(Gap),
    /// The [`DirectSink`] has accepted messages that the client has not read completely: flush them.
    Unflushed,
    /// More messages wait than allowed: the client must reconnect and resume.
    TooSlow,
}

/// Writes live messages to a client while the task of its connection only waits. Waking that task for each message would cost as much as
/// the write.
pub trait DirectSink: Send + Sync {
    /// Writes these messages, in order, as far as the client takes them at once.
    fn send(&self, deliveries: &[Delivery]) -> Sent;
}

/// The result of [`DirectSink::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All messages were sent.
    All,
    /// All messages were accepted; the client's task must flush the rest of the bytes.
    Unflushed,
    /// This number of messages was accepted. The client's task must send the others.
    Only(usize),
}

/// The queue of an outlet, which the hub fills.
pub(super) struct Line {
    queue: Mutex<Queue>,
    wake: Notify,
    /// Cancelled when more messages wait than allowed.
    overflow: CancellationToken,
    /// The same as a flag, which is cheaper to read.
    is_over: AtomicBool,
    limit: usize,
    sink: OnceLock<Box<dyn DirectSink>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Whether a flush of what was added is due.
    is_announced: bool,
    /// Whether the client's task only waits for messages: others may write to the client meanwhile.
    is_idle: bool,
    /// Whether the sink has kept bytes.
    is_unflushed: bool,
}

/// While the task of a client waits in [`Line::next`].
struct Idle<'a>(&'a Line);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.queue().is_idle = false;
    }
}

enum Waiting {
    Message(Delivery),
    Gap(Gap),
}

impl Delivery {
    /// When the transaction of the message began, for a client that was connected.
    pub fn age(&self) -> Option<Duration> {
        self.entry.stored.filter(|_| self.is_live).map(|at| at.elapsed())
    }

    /// Bytes of the message as text, once for each room.
    pub fn bytes(&self) -> usize {
        self.entry.json.len() * self.rooms.len().max(1)
    }
}

impl Line {
    /// An empty line. `overflow` is cancelled when more than `limit` bytes wait.
    pub fn new(limit: usize, overflow: CancellationToken) -> Self {
        let (queue, wake, is_over) = (Mutex::default(), Notify::new(), AtomicBool::new(false));
        Self { queue, wake, overflow, is_over, limit, sink: OnceLock::new() }
    }

    /// From now on messages are written by `sink` while the client's task waits in [`Self::next`].
    pub fn write_by(&self, sink: Box<dyn DirectSink>) {
        let _first = self.sink.set(sink);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next item that waits; `None` where none waits.
    pub fn try_next(&self) -> Option<Arrival> {
        self.take(&mut self.queue())
    }

    fn take(&self, queue: &mut Queue) -> Option<Arrival> {
        if self.is_over() {
            return Some(Arrival::TooSlow);
        }
        if std::mem::take(&mut queue.is_unflushed) {
            return Some(Arrival::Unflushed);
        }
        match queue.waiting.pop_front()? {
            Waiting::Gap(gap) => Some(Arrival::Gap(gap)),
            Waiting::Message(delivery) => {
                queue.bytes = queue.bytes.saturating_sub(delivery.bytes());
                Some(Arrival::Message(delivery))
            }
        }
    }

    /// Waits for the next item. A call that is dropped takes nothing. Meanwhile the sink may write to the client.
    pub async fn next(&self) -> Arrival {
        loop {
            let woken = self.wake.notified();
            let idle = {
                let mut queue = self.queue();
                if let Some(arrival) = self.take(&mut queue) {
                    return arrival;
                }
                queue.is_idle = true;
                Idle(self)
            };
            woken.await;
            drop(idle);
        }
    }

    /// Adds a message. Returns whether the line must be flushed for it, and was not to be flushed before.
    pub fn push(&self, delivery: Delivery) -> bool {
        let mut queue = self.queue();
        queue.bytes += delivery.bytes();
        // One message alone always fits, however large: its receiver could never get beyond it.
        if queue.bytes > self.limit && !queue.waiting.is_empty() {
            *queue = Queue { is_announced: queue.is_announced, ..Queue::default() };
            self.is_over.store(true, Ordering::Release);
            self.overflow.cancel();
        } else if !self.is_over() {
            queue.waiting.push_back(Waiting::Message(delivery));
        }
        !std::mem::replace(&mut queue.is_announced, true)
    }

    /// Has the client get what was added: by its sink where its task waits, and otherwise by waking the task.
    pub fn flush(&self) {
        let mut queue = self.queue();
        queue.is_announced = false;
        if let Some(sink) = self.sink.get().filter(|_| queue.is_idle && !self.is_over()) {
            let is_message = |waiting: &Waiting| matches!(waiting, Waiting::Message(_));
            if queue.waiting.iter().all(is_message) {
                let mut messages = queue.take_messages();
                match sink.send(&messages) {
                    Sent::All => return,
                    Sent::Unflushed => queue.is_unflushed = true,
                    Sent::Only(taken) => queue.put_back(messages.split_off(taken)),
                }
                // More waits here, where it is bounded, until the task has sent what is left.
                queue.is_idle = false;
            }
        }
        drop(queue);
        self.wake.notify_one();
    }

    pub fn push_gap(&self, gap: Gap) {
        self.queue().waiting.push_back(Waiting::Gap(gap));
        self.wake.notify_one();
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

impl Queue {
    fn take_messages(&mut self) -> Vec<Delivery> {
        self.bytes = 0;
        let message = |waiting| match waiting {
            Waiting::Message(delivery) => Some(delivery),
            Waiting::Gap(_) => None,
        };
        self.waiting.drain(..).filter_map(message).collect()
    }

    fn put_back(&mut self, messages: Vec<Delivery>) {
        self.bytes += messages.iter().map(Delivery::bytes).sum::<usize>();
        self.waiting.extend(messages.into_iter().map(Waiting::Message));
    }
}

#[cfg(test)]
mod tests;
