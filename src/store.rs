//! PostgreSQL: the only room that opens a transaction.
//!
//! [`ChainStore::advance`] stores a range, [`ChainStore::rewind`] is its inverse, [`ChainStore::backfill`]
//! fills in what an advance missed, [`ChainStore::announce`] tells what is not confirmed yet. Each is one transaction that first locks the chain's row, so the
//! writers of one chain are serial, and that moves checkpoints by compare-and-set, so a writer with an old
//! idea of the world commits nothing.

mod advance;
mod audit;
mod backfill;
mod blocks;
mod checkpoint;
mod convert;
mod copy;
mod dead_letters;
mod deliveries;
mod dump;
mod endpoints;
mod error;
mod events;
mod indexes;
mod migrate;
mod open;
mod outbox;
mod pending;
mod probe;
mod projections;
mod query;
mod rewind;
mod stage;
mod transaction;
mod views;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::Semaphore;

pub use advance::{Advance, Advanced};
pub use audit::Compared;
pub use backfill::Backfill;
pub use checkpoint::{Checkpoint, Held};
pub use dead_letters::{About, FailedAgain, KeptLetter, Letters, LogRef};
pub use deliveries::{Aggregate, DueDelivery, Pace, Settled, SinkState};
pub use dump::{ProjectionRow, StoredEvent};
pub use error::StoreError;
pub use migrate::{Migrated, Schema};
pub use open::{ChainRecord, ChainStore, Note, PublishFrom, SourceRecord};
pub use outbox::{OutboxListener, OutboxRow, OutboxState, ReplayLock, ReplayQuery};
pub use pending::{Pending, PendingBlock};
pub use probe::WriteProbe;
pub use query::{EventCount, ReorgRecord, SourceStatus};
pub use rewind::{Reason, Rewind, Rewound};
pub use stage::Staged;
pub use views::ViewInfo;

/// How to reach the database.
#[derive(Clone)]
pub struct Settings {
    /// `postgres://user:password@host/database`, or `postgres:///database?host=/socket/folder`.
    pub url: String,
    /// Connections at most.
    pub max_connections: u32,
    /// How long to wait for one before giving up with a transient error.
    pub acquire_timeout: Duration,
}

// The URL may hold a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

/// A database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    /// Connections that may be held by events staged ahead: not so many that a step or a status has to wait for one.
    spare: Arc<Semaphore>,
    /// For connections outside the pool, and to name the host.
    options: PgConnectOptions,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("host", &host(&self.options)).finish_non_exhaustive()
    }
}

impl Store {
    /// Connects; no table is touched.
    ///
    /// # Errors
    /// [`StoreError::Url`] when the URL cannot be read, [`StoreError::Connect`] when nobody answers there.
    pub async fn connect(settings: &Settings) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(&settings.url)
            .map_err(|error| StoreError::url(&error))?
            .application_name("chainflume")
            .disable_statement_logging();
        // Once by hand: the pool would keep trying a refused connection until its timeout, and then say "timeout".
        let failed = |cause| StoreError::Connect { host: host(&options), cause };
        tokio::time::timeout(settings.acquire_timeout, options.connect())
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(failed)?
            .close()
            .await
            .map_err(failed)?;
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.acquire_timeout)
            .connect_lazy_with(options.clone());
        let spare = Semaphore::new((settings.max_connections as usize / 2).saturating_sub(1));
        Ok(Self { pool, options, spare: Arc::new(spare) })
    }

    /// Waits for transactions that run and closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Host or socket folder: all of the URL that may be shown.
fn host(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}
