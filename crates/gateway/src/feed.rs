//! Reads the outbox once for all clients of the process. Each message is read and parsed once, sent to the rooms that have clients, and
//! kept in memory up to a number of bytes. Older messages are read in pages.

mod balances;
mod gap;
mod hub;
mod line;
mod outlet;
mod page;
mod position;
mod resuming;
mod tail;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sqlx::postgres::PgPool;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

pub use gap::{Gap, Reason};
pub use hub::FeedPlace;
pub use line::{Arrival, Delivery, DirectSink, Sent};
pub use outlet::Outlet;
pub use page::{Page, Start};
pub use position::parse_position;

use crate::push::PushRule;
use chainflume_core::settings::{GIB, KIB, MIB};
use chainflume_db::{Database, StoreError};
use chainflume_outbox::{Outbox, Position};
use hub::Hub;
use resuming::ResumeMemory;

/// Settings of the feed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The rules that name events.
    #[serde(skip)]
    pub rules: Vec<PushRule>,
    /// Bytes of messages kept in memory, about: a client that was away for a moment resumes from here.
    #[serde(deserialize_with = "chainflume_core::settings::size::<MIB, { 16 * GIB }, _>")]
    pub hot_bytes: usize,
    /// Bytes of live messages that may wait for one client.
    #[serde(deserialize_with = "chainflume_core::settings::size::<{ 16 * KIB }, { 64 * MIB }, _>")]
    pub queue_bytes: usize,
    /// Bytes of missed messages that are read from the database and not yet sent, of all clients together, about.
    #[serde(deserialize_with = "chainflume_core::settings::size::<MIB, { 16 * GIB }, _>")]
    pub resume_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rules: Vec::new(), hot_bytes: 64 << 20, queue_bytes: 1 << 20, resume_bytes: 256 << 20 }
    }
}

/// Maximum number of pages that are read at the same time: thousands of clients that reconnect together must not slow the writers
/// down.
const READERS: usize = 2;

/// The messages for clients. Clones share the same feed.
#[derive(Clone)]
pub struct Feed {
    outbox: Outbox,
    /// The database, for balances and owners, which are read beside messages.
    pool: PgPool,
    settings: Arc<Settings>,
    hub: Arc<Hub>,
    readers: Arc<Semaphore>,
    resuming: Arc<ResumeMemory>,
    wake: Arc<watch::Sender<()>>,
}

impl Feed {
    /// A feed that begins after the newest message. Reads nothing before [`Self::run`].
    ///
    /// # Errors
    /// The error of the database.
    pub async fn open(database: &Database, outbox: Outbox, settings: Settings) -> Result<Self, StoreError> {
        let newest = newest(&outbox).await?;
        Ok(Self {
            outbox,
            pool: database.pool().clone(),
            hub: Arc::new(Hub::new(newest, settings.hot_bytes)),
            resuming: ResumeMemory::new(settings.resume_bytes),
            settings: Arc::new(settings),
            readers: Arc::new(Semaphore::new(READERS)),
            wake: Arc::new(watch::Sender::new(())),
        })
    }

    /// Position of the newest message that was sent to clients.
    pub fn newest(&self) -> Position {
        self.hub.newest()
    }

    /// An outlet for one client, in no room yet. `cut` is cancelled when more messages wait for the client than allowed.
    pub fn outlet(&self, cut: CancellationToken) -> Outlet {
        Outlet::new(self.hub.clone(), self.settings.queue_bytes, cut)
    }
}

/// The newest message of the database.
async fn newest(outbox: &Outbox) -> Result<Position, StoreError> {
    // The epoch first: if a message and an epoch come between the two, the pair is refused by the next read, which begins again.
    let epoch = outbox.epoch().await?;
    Ok(Position { seq: outbox.state().await?.last, epoch: Some(epoch) })
}

/// Interval of polling, in case a notification was lost.
const POLL: Duration = Duration::from_secs(1);
