use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::broadcast;

use super::{Delivered, Sink, SinkError, Stream};
use chainflume_core::domain::Envelope;

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
    /// Newest number handed out by this process, by epoch: after a restore of the database numbers come again for other
    /// messages.
    last: BTreeMap<String, u64>,
}

impl InProcess {
    /// Its name, for every process.
    pub const NAME: &str = "in-process";

    /// A sink that sends to `bus`.
    pub fn new(bus: Bus) -> Self {
        Self { bus, last: BTreeMap::new() }
    }
}

impl Sink for InProcess {
    fn name(&self) -> &str {
        Self::NAME
    }

    /// It holds nothing that could be lost: a listener that was not there reads the outbox.
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
            // An error means that nobody listens, which is nobody's fault.
            let _nobody = self.bus.0.send(envelope.clone());
            *last = envelope.seq;
        }
        Ok(delivered)
    }
}
