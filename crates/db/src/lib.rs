//! Access to PostgreSQL, without any table of a chain or of messages.
//!
//! [`Database`] is a pool of connections to the server that accepts writes. [`transaction`] begins every transaction, [`copy`] writes
//! many rows, and [`convert`] converts between the domain's types and PostgreSQL's. This crate writes the tables of leases and of the
//! write probe, and runs the migrations of all tables.

mod clock;
pub mod convert;
pub mod copy;
mod error;
mod identity;
mod lease_name;
mod leases;
mod migrate;
mod parameters;
pub mod people;
mod probe;
mod reach;
mod rights;
mod schema;
pub mod transaction;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};

pub use error::{StoreError, StoreVerdict, sqlstate};
pub use lease_name::LeaseName;
pub use leases::{
    Epoch, InstanceRow, LeaseClaim, LeaseRow, LeaseSession, LeaseState, LeaseTable, follower,
    follows as lease_follows, forget_leases, leader,
};
pub use migrate::Migrated;
pub use parameters::{SSL_MODES, URL_PARAMETERS, url_parameter};
pub use probe::WriteProbe;
pub use reach::each_host;
use reach::{Hosts, host};
pub use schema::Schema;

/// How to reach the database.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `postgres://user:password@host/database`, or `postgres:///database?host=/socket/folder`. May name several
    /// servers, of which one takes writes.
    #[serde(skip)]
    pub url: String,
    /// Maximum number of connections. At least two: one writes while another probes the database.
    #[serde(deserialize_with = "chainflume_core::settings::number::<2, 1_000, _, _>")]
    pub max_connections: u32,
    /// How long to wait for a connection of the pool before a transient error.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<100, 600_000, _>")]
    pub acquire_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { url: String::new(), max_connections: 10, acquire_timeout: Duration::from_secs(5) }
    }
}

// The URL may hold a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

/// A database. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    pool: PgPool,
    /// The servers of the URL: for connections outside the pool, and to name the host.
    hosts: Arc<Hosts>,
    /// See [`Self::has_sessions`].
    direct: bool,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("host", &host(&self.hosts.options())).finish_non_exhaustive()
    }
}

impl Database {
    /// Connects. Reads and writes no table.
    ///
    /// # Errors
    /// [`StoreError::Url`] when the URL cannot be read, [`StoreError::Connect`] when no server answers,
    /// [`StoreError::ReadOnly`] when none of several servers accepts writes, [`StoreError::Pooler`] when a pooler in between
    /// would mix up prepared statements.
    pub async fn connect(settings: &Settings) -> Result<Self, StoreError> {
        let hosts = Arc::new(Hosts::of(&settings.url, settings.acquire_timeout)?);
        let trusting = hosts.clone();
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.acquire_timeout)
            .before_acquire(move |_, meta| {
                let trusted = trusting.trusts(meta.age);
                Box::pin(async move { Ok(trusted) })
            })
            .connect_lazy_with(hosts.options());
        let mut database = Self { pool, hosts, direct: true };
        // First outside the pool, which would retry a refused connection until its timeout and then return "timeout".
        let by_hand = tokio::time::timeout(settings.acquire_timeout, database.look());
        database.direct =
            by_hand.await.unwrap_or(Err(StoreError::from(sqlx::Error::PoolTimedOut))).map_err(|error| {
                match error {
                    StoreError::Database(cause) => {
                        StoreError::Connect { host: database.hosts.shown(), cause }
                    }
                    error => error,
                }
            })?;
        Ok(database)
    }

    /// Connects once; returns [`Self::has_sessions`].
    async fn look(&self) -> Result<bool, StoreError> {
        let mut connection = self.reach().await?;
        let direct = reach::is_direct(&self.hosts, &mut connection).await?;
        connection.close().await?;
        Ok(direct)
    }

    /// A connection to the server that accepts writes; all later connections are made to that server. A single server is not
    /// asked: the first write shows it.
    pub(crate) async fn reach(&self) -> Result<PgConnection, StoreError> {
        let (connection, moved) = self.hosts.reach().await?;
        if moved {
            self.pool.set_connect_options(self.hosts.options());
            self.hosts.distrust();
            tracing::warn!(host = host(&self.hosts.options()), "another server takes the writes");
        }
        Ok(connection)
    }

    /// The pool of connections.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Options for a connection outside the pool, to the server that last accepted writes.
    pub fn options(&self) -> PgConnectOptions {
        self.hosts.options()
    }

    /// Whether each session belongs to this client alone. `false` behind a pooler that gives each transaction another session: then
    /// `LISTEN` and session locks do not work.
    pub fn has_sessions(&self) -> bool {
        self.direct
    }

    /// Waits for running transactions and closes every connection of the pool.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
