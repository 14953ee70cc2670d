use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::broadcast;

use super::{Delivered, Sink, SinkError, Stream};
use chainflume_core::domain::Envelope;

/// Maximum number of messages that a subscriber may fall behind before it misses some. The receiver then returns how
/// many were missed, and the subscriber can read them from the outbox. Waiting for one slow reader would delay all
/// others.
const BACKLOG: usize = 1024;

/// The channel on which messages are published inside the process. Clones are handles to the same channel.
#[derive(Clone, Debug)]
pub struct Bus(broadcast::Sender<Arc<Envelope>>);

impl Default for Bus {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl Bus {
    /// Subscribes to messages from now on, each once and in order. A receiver that is more than a thousand messages
    /// behind returns the number of missed messages.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Envelope>> {
        self.0.subscribe()
    }
}

/// Publishes messages inside the process.
#[derive(Debug)]
pub struct InProcess {
    bus: Bus,
    /// Newest number that this process published, by epoch. After a restore of the database, numbers are used again for
    /// other messages.
    last: BTreeMap<String, u64>,
}

impl InProcess {
    /// Name of this sink in every process.
    pub const NAME: &str = "in-process";

    /// A sink that publishes on `bus`.
    pub fn new(bus: Bus) -> Self {
        Self { bus, last: BTreeMap::new() }
    }
}

impl Sink for InProcess {
    fn name(&self) -> &str {
        Self::NAME
    }

    /// This sink stores nothing that could be lost: a subscriber that was absent reads the outbox.
    async fn look(&mut self) -> Result<Vec<Stream>, SinkError> {
        Ok(Vec::new())
    }

    async fn deliver(&mut self, batch: &[Arc<Envelope>]) -> Result<Delivered, SinkError> {
        let mut delivered = Delivered::default();
        for envelope in batch {
            delivered.upto = envelope.seq;
            let last = self.last.entry(envelope.epoch.clone()).or_default();
            if envelope.seq <= *last {
                delivered.repeats.push(envelope.seq);
                continue;
            }
            // An error means that no subscriber exists, which is normal.
            let _nobody = self.bus.0.send(envelope.clone());
            *last = envelope.seq;
        }
        Ok(delivered)
    }
}
