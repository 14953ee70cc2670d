//! Leases: who may write. Rows with an end by the server's clock; taking one raises the epoch that fences off
//! the holder before.

mod session;

use std::fmt;
use std::time::Duration;

use sqlx::postgres::PgConnection;

use crate::{Database, LeaseName, StoreError};

pub use session::LeaseSession;

/// The fencing token of a lease: grows with every new holder.
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

/// The entry beside the leases an instance wants that names the configuration of a source it would follow: a command that deletes
/// or renames the source has to know. The digest is [`chainflume_core::domain::ConfiguredSource::digest`].
pub fn follows(chain_id: u64, source: &str, digest: &str) -> String {
    format!("{}{digest}", follows_any(chain_id, source))
}

/// What [`follows`] begins with, whatever the configuration.
fn follows_any(chain_id: u64, source: &str) -> String {
    format!("{}{source} ", follows_chain(chain_id))
}

/// What [`follows`] begins with, whatever the source.
fn follows_chain(chain_id: u64) -> String {
    format!("follows {chain_id} ")
}

/// The state of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// An instance holds it.
    Held,
    /// Its end is not reached, but the session of its holder is gone: killed, or its connection lost.
    Orphaned,
    /// It was given back, or has ended.
    Free,
}

/// A lease that an instance has held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    /// Its name.
    pub name: LeaseName,
    /// Who held it last.
    pub holder: String,
    /// Of that holder.
    pub epoch: Epoch,
    /// Its state.
    pub standing: LeaseState,
    /// Until its end.
    pub left: Duration,
}

/// A daemon that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRow {
    /// Its name and the number of its run.
    pub holder: String,
    /// Leases it would take, and entries of [`follows`].
    pub wants: Vec<LeaseName>,
    /// Whether it has been there for the length of a lease: one that crashes at every start gets nothing of others.
    pub settled: bool,
    /// The end of its life as it last recorded it, in microseconds since the Unix epoch, by the server's clock.
    pub until: u64,
}

/// Everything about leases at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseTable {
    /// By name.
    pub leases: Vec<LeaseRow>,
    /// By holder.
    pub instances: Vec<InstanceRow>,
}

impl Database {
    /// The leases there are.
    ///
    /// # Errors
    /// A database error.
    pub async fn leases(&self) -> Result<Vec<LeaseRow>, StoreError> {
        session::leases(&mut *self.pool.acquire().await?).await
    }
}

/// Deletes leases, of what is deleted itself.
///
/// # Errors
/// A database error.
pub async fn forget_leases(connection: &mut PgConnection, names: &[LeaseName]) -> Result<(), StoreError> {
    sqlx::query("delete from leases where name = any($1)").bind(names).execute(connection).await?;
    Ok(())
}

/// The leader of a chain now; `None` where there is none, or it is gone.
///
/// # Errors
/// A database error.
pub async fn leader(connection: &mut PgConnection, chain_id: u64) -> Result<Option<String>, StoreError> {
    let name = LeaseName::chain(chain_id);
    let leases = session::leases(connection).await?;
    let held = leases.into_iter().find(|lease| lease.name == name && lease.standing == LeaseState::Held);
    Ok(held.map(|lease| lease.holder))
}

/// A daemon that lives, waits to lead the chain and would follow the source by another configuration than that of this digest. One
/// of an older version, which publishes no digests, counts as such while it does not lead: what it would follow is unknown.
///
/// # Errors
/// A database error.
pub async fn follower(
    connection: &mut PgConnection,
    (chain_id, source): (u64, &str),
    asked: Option<&str>,
) -> Result<Option<String>, StoreError> {
    let sql = "select i.holder from instances i join pg_stat_activity a on a.pid = i.backend_pid \
                   and (a.backend_start is null or a.backend_start = i.backend_start) \
               where i.expires_at > clock_timestamp() \
                   and (exists (select from unnest(i.wants) as w where starts_with(w, $1) and w is distinct from $2) \
                       or ($3 = any(i.wants) \
                           and not exists (select from unnest(i.wants) as w where starts_with(w, $4)) \
                           and not exists (select from leases l where l.name = $3 and l.holder = i.holder))) limit 1";
    let same = asked.map(|digest| follows(chain_id, source, digest));
    Ok(sqlx::query_scalar(sql)
        .bind(follows_any(chain_id, source))
        .bind(same)
        .bind(LeaseName::chain(chain_id))
        .bind(follows_chain(chain_id))
        .fetch_optional(connection)
        .await?)
}
