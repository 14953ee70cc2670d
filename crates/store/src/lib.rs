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
mod chains;
mod checkpoint;
mod convert;
mod copy;
mod dead_letters;
mod deliveries;
mod dump;
mod emptying;
mod endpoints;
mod error;
mod events;
mod fill;
mod followed;
mod indexes;
mod kinds;
mod leases;
mod migrate;
mod open;
mod outbox;
mod pending;
mod probe;
mod projections;
mod query;
mod reach;
mod rewind;
mod rights;
mod sinks;
mod sources;
mod stage;
mod transaction;
mod views;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::sync::Semaphore;

pub use advance::{Advance, Advanced};
pub use audit::{Compared, Doubted, Proven};
pub use backfill::Backfill;
pub use chains::KeptChain;
pub use checkpoint::{Checkpoint, Held};
pub use dead_letters::{About, FailedAgain, KeptLetter, Letters, LogRef};
pub use deliveries::{Aggregate, DueDelivery, Pace, Settled, SinkState};
pub use dump::{ProjectionRow, StoredEvent};
pub use emptying::{Emptied, Emptying, PAGE};
pub use error::StoreError;
pub use fill::Read;
pub use leases::{
    Epoch, InstanceRow, LeaseRow, LeaseSession, OUTBOX_LEASE, Roll, Standing, audit_lease, chain_lease,
    is_chain_lease, sink_lease,
};
pub use migrate::{Migrated, Schema};
pub use open::{ChainRecord, ChainStore, PublishFrom, SourceRecord};
pub use outbox::{
    Adopted, Lineage, OutboxEpoch, OutboxListener, OutboxRow, OutboxState, Position, ReplayLock, ReplayQuery,
};
pub use pending::{Pending, PendingBlock};
pub use probe::WriteProbe;
pub use query::{EventCount, ReorgRecord, SourceStatus};
use reach::Hosts;
pub use reach::each_host;
pub use rewind::{Reason, Rewind, Rewound};
pub use sinks::{Found, Joined, SinkStart};
pub use stage::Staged;
pub use views::{ViewInfo, ViewTrouble};

/// How to reach the database.
#[derive(Clone)]
pub struct Settings {
    /// `postgres://user:password@host/database`, or `postgres:///database?host=/socket/folder`. May name several
    /// servers, of which one takes writes.
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
    hosts: Arc<Hosts>,
    /// Whether sessions are ours alone: no pooler hands them on.
    direct: bool,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("host", &host(&self.hosts.options())).finish_non_exhaustive()
    }
}

impl Store {
    /// Connects; no table is touched.
    ///
    /// # Errors
    /// [`StoreError::Url`] when the URL cannot be read, [`StoreError::Connect`] when nobody answers there,
    /// [`StoreError::ReadOnly`] when none of several takes writes, [`StoreError::Pooler`] when a pooler stands between
    /// that would mix up statements.
    pub async fn connect(settings: &Settings) -> Result<Self, StoreError> {
        let hosts = Arc::new(Hosts::of(&settings.url)?);
        let trusting = hosts.clone();
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.acquire_timeout)
            .before_acquire(move |_, meta| {
                let trusted = trusting.trusts(meta.age);
                Box::pin(async move { Ok(trusted) })
            })
            .connect_lazy_with(hosts.options());
        let spare = Semaphore::new((settings.max_connections as usize / 2).saturating_sub(1));
        let mut store = Self { pool, spare: Arc::new(spare), hosts, direct: true };
        // Once by hand: the pool would keep trying a refused connection until its timeout, and then say "timeout".
        let by_hand = tokio::time::timeout(settings.acquire_timeout, store.look());
        store.direct =
            by_hand.await.unwrap_or(Err(StoreError::from(sqlx::Error::PoolTimedOut))).map_err(|error| {
                match error {
                    StoreError::Database(cause) => {
                        StoreError::Connect { host: host(&store.hosts.options()), cause }
                    }
                    error => error,
                }
            })?;
        Ok(store)
    }

    /// Whether sessions are ours alone.
    async fn look(&self) -> Result<bool, StoreError> {
        let mut connection = self.reach().await?;
        let direct = reach::is_direct(self, &mut connection).await?;
        connection.close().await?;
        Ok(direct)
    }

    /// Whether commits are announced: not through a pooler that hands sessions on, to whom `LISTEN` means nothing.
    pub fn announces(&self) -> bool {
        self.direct
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
        None if options.get_host().contains(':') => {
            format!("[{}]:{}", options.get_host(), options.get_port())
        }
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}
