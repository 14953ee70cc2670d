//! Begins transactions with their time limits, and has the keys of advisory locks.
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
/// Added to a chain's id, this is the key of a shared advisory lock: the mark of sessions that work for the chain's leader without
/// locking the chain's row. The lock excludes no session. The next leader finds by it what an earlier leader left.
const WORK: i64 = 0x6368_6169_6e67_0000;

/// The beginning of every writing transaction. It names the isolation level, because a server may have another default: a statement
/// after a lock must see what the lock's last holder committed. A writer that waits for a lock fails after 30 s and retries, which is
/// logged. The server ends a session whose client freezes inside a transaction after 10 s; otherwise its locks would stay.
macro_rules! begin {
    ($($more:expr)?) => {
        concat!(
            "begin isolation level read committed; ",
            "set local lock_timeout = '30s'; ",
            "set local idle_in_transaction_session_timeout = '10s'",
            $("; ", $more)?
        )
    };
}

/// The limits of [`begin_brief`]: 5 s for a statement, of which 1 s may be a wait for a lock.
macro_rules! brief_limits {
    () => {
        "set local statement_timeout = '5s'; set local lock_timeout = '1s'"
    };
}

/// The beginning of a writing transaction whose statements fail after 5 s.
const BOUNDED: &str = begin!("set local statement_timeout = '5s'");

/// As [`BOUNDED`]; waits for a lock for 1 s at most.
const BRIEF: &str = begin!(brief_limits!());

/// An expression that makes the commit of its transaction wait for the disk, even if the server, the role or the URL sets otherwise.
/// Only `off` and `local` promise less than `on`; a stronger setting of the operator, such as `remote_apply`, stays. Needed in every
/// transaction whose sequence numbers leave the database.
pub const DURABLE: &str = "set_config('synchronous_commit', \
     case when current_setting('synchronous_commit') in ('off', 'local') then 'on' \
     else current_setting('synchronous_commit') end, true)";

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The disk.
    Disk,
    /// Nothing: a crash of the server may lose the transaction whole, never in part.
    None,
}

/// A writing transaction whose commit waits for the disk.
pub async fn begin(pool: &PgPool) -> Result<Tx, StoreError> {
    begin_with(pool, Durability::Disk).await
}

/// A writing transaction.
pub async fn begin_with(pool: &PgPool, durability: Durability) -> Result<Tx, StoreError> {
    let statement = match durability {
        Durability::Disk => begin!(),
        Durability::None => begin!("set local synchronous_commit = off"),
    };
    Ok(pool.begin_with(statement).await?)
}

/// A writing transaction with the mark of a chain ([`mark`]). The server waits for its client for 60 s, because it is open while the
/// client runs another transaction. The next leader ends it earlier.
pub async fn begin_marked(pool: &PgPool, chain_id: i64, durability: Durability) -> Result<Tx, StoreError> {
    let begin = begin!();
    let commit = match durability {
        Durability::Disk => "",
        Durability::None => "set local synchronous_commit = off; ",
    };
    let statement = format!(
        r"
        {begin}; {commit}set local idle_in_transaction_session_timeout = '60s';
        select pg_advisory_xact_lock_shared({})
        ",
        mark(chain_id)
    );
    Ok(pool.begin_with(AssertSqlSafe(statement)).await?)
}

/// Key of the advisory lock that marks the sessions of a chain's leader.
pub fn mark(chain_id: i64) -> i64 {
    WORK.wrapping_add(chain_id)
}

/// A writing transaction whose statements fail after 5 s.
pub async fn begin_bounded(pool: &PgPool) -> Result<Tx, StoreError> {
    Ok(pool.begin_with(BOUNDED).await?)
}

/// As [`begin_bounded`], on a connection outside the pool.
pub async fn begin_alone(connection: &mut PgConnection) -> Result<sqlx::PgTransaction<'_>, StoreError> {
    Ok(connection.begin_with(BOUNDED).await?)
}

/// As [`begin_brief`], on a connection outside the pool.
pub async fn begin_brief_alone(connection: &mut PgConnection) -> Result<sqlx::PgTransaction<'_>, StoreError> {
    Ok(connection.begin_with(BRIEF).await?)
}

/// A writing transaction whose statements fail after 5 s, and after 1 s of waiting for a lock: the caller retries instead of waiting.
pub async fn begin_brief(pool: &PgPool) -> Result<Tx, StoreError> {
    Ok(pool.begin_with(BRIEF).await?)
}

/// Sets the limits of [`begin_brief`] for the rest of a transaction, after a lock that needed a longer wait.
pub async fn set_brief_limits(tx: &mut Tx) -> Result<(), StoreError> {
    sqlx::raw_sql(brief_limits!()).execute(&mut **tx).await?;
    Ok(())
}

/// A reading transaction whose statements all see the same moment.
pub async fn begin_snapshot(pool: &PgPool) -> Result<Tx, StoreError> {
    let statement = "begin isolation level repeatable read read only; set local statement_timeout = '30s'";
    Ok(pool.begin_with(statement).await?)
}

/// A reading transaction for a person or a probe: its statements fail after 10 s, also when they wait for a lock.
pub async fn begin_look(pool: &PgPool) -> Result<Tx, StoreError> {
    Ok(pool.begin_with("begin read only; set local statement_timeout = '10s'").await?)
}

/// Waits for the advisory lock `key`, held until the transaction ends.
pub async fn lock(tx: &mut Tx, key: i64) -> Result<(), StoreError> {
    sqlx::query("select pg_advisory_xact_lock($1)").bind(key).execute(&mut **tx).await?;
    Ok(())
}

/// As [`lock`], shared with other sessions that take it shared.
pub async fn lock_shared(tx: &mut Tx, key: i64) -> Result<(), StoreError> {
    sqlx::query("select pg_advisory_xact_lock_shared($1)").bind(key).execute(&mut **tx).await?;
    Ok(())
}
