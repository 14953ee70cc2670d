use std::sync::Arc;

use tokio::sync::broadcast;

use super::{Delivered, Given, Sink, SinkError};
use crate::domain::Envelope;

/// Messages a subscriber may fall behind before it misses some. It is told how many, and can read them from
/// the outbox; waiting for it would let one slow reader hold up all others.
const BACKLOG: usize = 1024;

/// Where messages can be heard inside the process. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Bus(broadcast::Sender<Arc<Envelope>>);

impl Default for Bus {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl Bus {
    /// Messages from now on, each once and in order. The receiver learns how many it missed when it is
    /// more than a thousand behind.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Envelope>> {
        self.0.subscribe()
    }
}

/// Hands messages to whoever listens inside the process.
#[derive(Debug)]
pub struct InProcess {
    bus: Bus,
    /// Newest number handed out by this process.
    last: u64,
}

impl InProcess {
    /// A sink that sends to `bus`.
    pub fn new(bus: Bus) -> Self {
        Self { bus, last: 0 }
    }
}

impl Sink for InProcess {
    fn name(&self) -> &str {
        "in-process"
    }

    /// It holds nothing that could be lost: a listener that was not there reads the outbox.
    async fn resume(&mut self, given: &Given) -> Result<u64, SinkError> {
        Ok(given.cursor)
    }

    async fn deliver(&mut self, batch: &[Arc<Envelope>]) -> Result<Delivered, SinkError> {
        let mut repeats = Vec::new();
        for envelope in batch {
            if envelope.seq <= self.last {
                repeats.push(envelope.seq);
                continue;
            }
            // An error means that nobody listens, which is nobody's fault.
            let _nobody = self.bus.0.send(envelope.clone());
            self.last = envelope.seq;
        }
        Ok(Delivered { upto: batch.last().map_or(self.last, |envelope| envelope.seq), repeats })
    }
}
