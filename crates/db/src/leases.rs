//! Leases: which instance may write. A lease is a row that ends at a time of the server's clock. Taking a lease raises its epoch, which
//! fences the earlier holder.

mod session;

use std::fmt;
use std::time::Duration;

use sqlx::postgres::PgConnection;

use crate::{Database, LeaseName, StoreError};

pub use session::{LeaseClaim, LeaseSession};

/// The epoch of a lease: a fencing token that grows with every new holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch of this number, as a report of leases shows it.
    pub fn of(number: u64) -> Self {
        Self(number)
    }

    /// As a number, for people and metrics.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An entry in [`InstanceRow::wants`] that names the configuration by which the instance would follow a source. A command that deletes
/// or renames the source reads it. The digest is [`chainflume_core::domain::ConfiguredSource::digest`].
pub fn follows(chain_id: u64, source: &str, digest: &str) -> String {
    format!("{}{digest}", follows_any(chain_id, source))
}

/// The beginning of [`follows`] for every configuration of a source.
fn follows_any(chain_id: u64, source: &str) -> String {
    format!("{}{source} ", follows_chain(chain_id))
}

/// The beginning of [`follows`] for every source of a chain.
fn follows_chain(chain_id: u64) -> String {
    format!("follows {chain_id} ")
}

/// The state of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// An instance holds it.
    Held,
    /// It has not ended, but its holder's session has: the holder was killed, or its connection broke.
    Orphaned,
    /// It was released, or has ended.
    Free,
}

/// A lease as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    /// Its name.
    pub name: LeaseName,
    /// The instance that holds it, or held it last.
    pub holder: String,
    /// The epoch of that holder.
    pub epoch: Epoch,
    /// Its state.
    pub state: LeaseState,
    /// Time until its end.
    pub left: Duration,
}

/// A running daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRow {
    /// Its name and the number of its run.
    pub holder: String,
    /// Leases it would take, and entries of [`follows`].
    pub wants: Vec<LeaseName>,
    /// Whether it has run for the length of a lease. Until then it takes no lease from others: it may crash at every start.
    pub settled: bool,
    /// When its row ends unless it is renewed, in microseconds since the Unix epoch, by the server's clock.
    pub until: u64,
}

/// All leases and instances at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseTable {
    /// By name.
    pub leases: Vec<LeaseRow>,
    /// By holder.
    pub instances: Vec<InstanceRow>,
}

impl Database {
    /// Every lease, by name.
    ///
    /// # Errors
    /// A database error.
    pub async fn leases(&self) -> Result<Vec<LeaseRow>, StoreError> {
        session::leases(&mut *self.pool.acquire().await?).await
    }
}

/// Deletes the leases of a chain or a sink that is deleted.
///
/// # Errors
/// A database error.
pub async fn forget_leases(connection: &mut PgConnection, names: &[LeaseName]) -> Result<(), StoreError> {
    sqlx::query("delete from leases where name = any($1)").bind(names).execute(connection).await?;
    Ok(())
}

/// The present leader of a chain; `None` if there is none, or its session has ended.
///
/// # Errors
/// A database error.
pub async fn leader(connection: &mut PgConnection, chain_id: u64) -> Result<Option<String>, StoreError> {
    let name = LeaseName::chain(chain_id);
    let leases = session::leases(connection).await?;
    let held = leases.into_iter().find(|lease| lease.name == name && lease.state == LeaseState::Held);
    Ok(held.map(|lease| lease.holder))
}

/// A running daemon that waits to lead the chain and would follow the source by another configuration than that of this digest. A
/// waiting daemon of an older version counts too: it publishes no digests, so its configuration is unknown.
///
/// # Errors
/// A database error.
pub async fn follower(
    connection: &mut PgConnection,
    chain_id: u64,
    source: &str,
    digest: Option<&str>,
) -> Result<Option<String>, StoreError> {
    let sql = "select i.holder from instances i join pg_stat_activity a on a.pid = i.backend_pid \
                   and (a.backend_start is null or a.backend_start = i.backend_start) \
               where i.expires_at > clock_timestamp() \
                   and (exists (select from unnest(i.wants) as w where starts_with(w, $1) and w is distinct from $2) \
                       or ($3 = any(i.wants) \
                           and not exists (select from unnest(i.wants) as w where starts_with(w, $4)) \
                           and not exists (select from leases l where l.name = $3 and l.holder = i.holder))) limit 1";
    let same = digest.map(|digest| follows(chain_id, source, digest));
    Ok(sqlx::query_scalar(sql)
        .bind(follows_any(chain_id, source))
        .bind(same)
        .bind(LeaseName::chain(chain_id))
        .bind(follows_chain(chain_id))
        .fetch_optional(connection)
        .await?)
}
