use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;

use chainflume_core::domain::MessageState;
use chainflume_db::StoreError;
use chainflume_deliver::sink::Bus;
use chainflume_store::Store;

/// Counts the messages that are heard in this process.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Counts>);

#[derive(Default)]
struct Counts {
    confirmed: AtomicU64,
    retracted: AtomicU64,
    last: AtomicU64,
}

impl Heard {
    /// Listens from now on, until the bus has gone.
    pub(super) fn listen(&self, bus: &Bus) -> impl Future<Output = ()> + Send + 'static {
        let (mut receiver, heard) = (bus.subscribe(), self.clone());
        async move {
            loop {
                let envelope = match receiver.recv().await {
                    Ok(envelope) => envelope,
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return,
                };
                let Counts { confirmed, retracted, last } = &*heard.0;
                let count = match envelope.state {
                    MessageState::Retracted => retracted,
                    MessageState::Pending | MessageState::Confirmed => confirmed,
                };
                count.fetch_add(1, Ordering::Relaxed);
                last.store(envelope.seq, Ordering::Relaxed);
            }
        }
    }

    /// How many of each, once the newest has been heard.
    pub(super) async fn line(&self, store: &Store) -> Result<String, StoreError> {
        let (newest, until) = (store.outbox().state().await?.last, Instant::now() + Duration::from_secs(5));
        while self.0.last.load(Ordering::Relaxed) < newest && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (confirmed, retracted) = (count(&self.0.confirmed), count(&self.0.retracted));
        Ok(format!("{confirmed} confirmed and {retracted} retracted, of the {newest} written"))
    }
}
