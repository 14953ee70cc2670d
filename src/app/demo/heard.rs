use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;

use chainflume_core::domain::MessageState;
use chainflume_db::StoreError;
use chainflume_deliver::sink::Bus;
use chainflume_ops::health::Board;
use chainflume_store::Store;

/// Where the messages go.
#[derive(Clone)]
pub(super) enum MessageCount {
    /// They are counted in this process.
    Heard(Heard),
    /// They are in the demo's Redis, up to the number on the board.
    InRedis(Board),
}

/// How long the newest messages may take.
const ARRIVAL: Duration = Duration::from_secs(5);

impl MessageCount {
    /// How many arrived, once the newest has.
    pub(super) async fn line(&self, store: &Store) -> Result<String, StoreError> {
        let (newest, until) = (store.outbox().state().await?.last, Instant::now() + ARRIVAL);
        while self.last() < newest && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(match self {
            Self::Heard(heard) => {
                let (confirmed, retracted) = heard.counts();
                format!("{confirmed} confirmed and {retracted} retracted, of the {newest} written")
            }
            Self::InRedis(_) => format!("{} in Redis, of the {newest} written", self.last()),
        })
    }

    /// Number of the newest message that arrived. Numbers have no gaps.
    fn last(&self) -> u64 {
        match self {
            Self::Heard(heard) => heard.0.last.load(Ordering::Relaxed),
            Self::InRedis(board) => board.sinks().get("redis").and_then(|sink| sink.delivered).unwrap_or(0),
        }
    }
}

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

    /// How many were published, and how many taken back.
    fn counts(&self) -> (u64, u64) {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (count(&self.0.confirmed), count(&self.0.retracted))
    }
}
