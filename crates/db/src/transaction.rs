//! How transactions begin, and the keys of advisory locks. Each `begin` names its limits.
//!
//! # Errors
//! A database error.

use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Connection};

use crate::StoreError;

/// A transaction of a connection of the pool.
pub type Tx = sqlx::PgTransaction<'static>;

/// Key of the advisory lock under which chains, sources, kinds and views are registered.
pub const REGISTRATION: i64 = 0x6368_6169_6e66_0001;
/// Key of the advisory lock under which stakes are rolled up into users.
pub const USERS: i64 = 0x6368_6169_6e66_0002;
/// Key of the advisory lock under which migrations run.
pub const MIGRATION: i64 = 0x6368_6169_6e66_0003;
/// Key of the advisory lock that a replay holds while it runs.
pub const REPLAY: i64 = 0x6368_6169_6e66_0004;
/// Key of the advisory lock under which revocations are numbered, so that they are numbered in the order of their commits.
pub const REVOCATIONS: i64 = 0x6368_6169_6e66_0005;
/// Key of the advisory lock under which wallets are linked to people, and people merged.
pub const PEOPLE: i64 = 0x6368_6169_6e66_000a;
/// Added to a chain's id: key of the advisory lock that work for the chain shares which does not lock the chain's row. It
/// keeps no session out. It is a mark, by which the next leader finds what an earlier leader left behind.
const WORK: i64 = 0x6368_6169_6e67_0000;

/// Every writing transaction's beginning. The isolation level is named because correctness hangs on it (a
/// statement after a lock must see what the lock's last holder committed) and a server may default to another. A
/// writer that hangs on a lock gives up after a while and tries again, visibly; one that is frozen inside
/// a transaction (a stopped process) is thrown out by the server, or its lock would outlive it; within that
/// time a standby that finds it there takes over.
macro_rules! begin {
    ($($more:literal)?) => {
        concat!(
            "begin isolation level read committed; ",
            "set local lock_timeout = '30s'; ",
            "set local idle_in_transaction_session_timeout = '10s'",
            $("; ", $more)?
        )
    };
}

/// An expression that makes the commit of its transaction wait for the disk, whatever the server, the role or the URL sets.
/// Only `off` and `local` promise less than `on`, so any other setting is the operator's to choose: `remote_apply` stays.
/// Belongs into every transaction whose numbers leave the database.
pub const DURABLE: &str = "set_config('synchronous_commit', \
     case when current_setting('synchronous_commit') in ('off', 'local') then 'on' \
     else current_setting('synchronous_commit') end, true)";

/// A writing transaction. `durable: false` lets the commit return before it is on disk: a crash of the
/// server may lose it whole, never in part.
pub async fn begin(pool: &PgPool, durable: bool) -> Result<Tx, StoreError> {
    let statement = if durable { begin!() } else { begin!("set local synchronous_commit = off") };
    Ok(pool.begin_with(statement).await?)
}

/// A writing transaction that bears the mark of work for a chain. It may wait longer for its client than others, since it
/// waits for another transaction of that client; the next leader ends it.
pub async fn begin_marked(pool: &PgPool, chain_id: i64, durable: bool) -> Result<Tx, StoreError> {
    let (begin, commit) = (begin!(), if durable { "" } else { "set local synchronous_commit = off; " });
    let statement = format!(
        r"
        {begin}; {commit}set local idle_in_transaction_session_timeout = '60s';
        select pg_advisory_xact_lock_shared({})
        ",
        mark(chain_id)
    );
    Ok(pool.begin_with(AssertSqlSafe(statement)).await?)
}

/// Key of the mark of work for a chain.
pub fn mark(chain_id: i64) -> i64 {
    WORK.wrapping_add(chain_id)
}

/// A writing transaction whose statements answer within seconds or fail.
pub async fn begin_bounded(pool: &PgPool) -> Result<Tx, StoreError> {
    Ok(pool.begin_with(begin!("set local statement_timeout = '5s'")).await?)
}

/// The same on a connection that no pool knows.
pub async fn begin_alone(connection: &mut PgConnection) -> Result<sqlx::PgTransaction<'_>, StoreError> {
    Ok(connection.begin_with(begin!("set local statement_timeout = '5s'")).await?)
}

/// The same, for a caller that would rather retry than wait for a lock.
pub async fn begin_without_waiting(
    connection: &mut PgConnection,
) -> Result<sqlx::PgTransaction<'_>, StoreError> {
    let statement = begin!("set local statement_timeout = '5s'; set local lock_timeout = '1s'");
    Ok(connection.begin_with(statement).await?)
}

/// As [`begin_bounded`], for what is better left than waited for.
pub async fn begin_brief(pool: &PgPool) -> Result<Tx, StoreError> {
    let statement = begin!("set local statement_timeout = '5s'; set local lock_timeout = '1s'");
    Ok(pool.begin_with(statement).await?)
}

/// A snapshot to read from: all statements see the same moment.
pub async fn begin_snapshot(pool: &PgPool) -> Result<Tx, StoreError> {
    let statement = "begin isolation level repeatable read read only; set local statement_timeout = '30s'";
    Ok(pool.begin_with(statement).await?)
}

/// A look, for a person who waits or a probe that comes again: it changes nothing, and behind another's lock or a
/// statement that runs for hours it fails instead of waiting along.
pub async fn begin_look(pool: &PgPool) -> Result<Tx, StoreError> {
    Ok(pool.begin_with("begin read only; set local statement_timeout = '10s'").await?)
}

/// Waits for the advisory lock `key`, held until the transaction ends.
pub async fn lock(tx: &mut Tx, key: i64) -> Result<(), StoreError> {
    sqlx::query("select pg_advisory_xact_lock($1)").bind(key).execute(&mut **tx).await?;
    Ok(())
}

/// The same lock, shared with others who take it so.
pub async fn lock_shared(tx: &mut Tx, key: i64) -> Result<(), StoreError> {
    sqlx::query("select pg_advisory_xact_lock_shared($1)").bind(key).execute(&mut **tx).await?;
    Ok(())
}
