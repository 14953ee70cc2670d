use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection};

use super::{Epoch, InstanceRow, LeaseName, LeaseRow, LeaseState, LeaseTable};
use crate::convert::{count, int8, unsigned};
use crate::error::sqlstate;
use crate::reach::Hosts;
use crate::{Database, StoreError, transaction};

/// The connection over which an instance holds its leases. It is not of the pool, so a busy pool ends no lease. Its session is the
/// instance's sign of life.
pub struct LeaseSession {
    hosts: Arc<Hosts>,
    holder: String,
    length: Duration,
    /// `None` during a call, and after a call that failed or was cancelled: then the protocol is in an unknown state.
    connection: Option<PgConnection>,
}

impl fmt::Debug for LeaseSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseSession").field("holder", &self.holder).finish_non_exhaustive()
    }
}

impl Database {
    /// A session of the instance `holder`, not connected yet, whose leases are as long as `length`.
    pub fn lease_session(&self, holder: String, length: Duration) -> LeaseSession {
        LeaseSession { hosts: self.hosts.clone(), holder, length, connection: None }
    }
}

/// A lease that an instance takes, if no other instance has taken it since the instance read the table of leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseClaim {
    /// Its name.
    pub name: LeaseName,
    /// Whether it is taken from a holder that is gone, although it has not ended.
    pub is_orphan: bool,
    seen: u64,
}

impl LeaseClaim {
    /// Takes a lease that was released or has ended. `seen` is its last known epoch, 0 for a lease without a row.
    pub fn free(name: LeaseName, seen: u64) -> Self {
        Self { name, seen, is_orphan: false }
    }

    /// Takes a lease before its end: its holder is gone.
    pub fn orphaned(name: LeaseName, seen: u64) -> Self {
        Self { name, seen, is_orphan: true }
    }
}

impl LeaseSession {
    /// Name of the instance.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Records that the instance runs and wants these leases, and extends the leases that it holds. Returns the names of those
    /// that it still holds. A lease that has ended and that no other instance took counts as held.
    ///
    /// # Errors
    /// A database error. Every call of this type may be cancelled.
    pub async fn renew(
        &mut self,
        wants: &[String],
        held: &[(LeaseName, Epoch)],
    ) -> Result<Vec<LeaseName>, StoreError> {
        let names: Vec<&str> = held.iter().map(|(name, _)| name.as_str()).collect();
        let epochs: Vec<i64> =
            held.iter().map(|(_, epoch)| int8("epoch", epoch.0)).collect::<Result<_, _>>()?;
        let mut connection = self.connect().await?;
        let mut tx = transaction::begin_alone(&mut connection).await?;
        sqlx::query(
            r"
            insert into instances (holder, wants, expires_at, backend_pid, backend_start)
            select $1, $2, clock_timestamp() + make_interval(secs => $3), pid, backend_start
            from pg_stat_activity where pid = pg_backend_pid()
            on conflict on constraint instances_pkey do update set wants = excluded.wants,
                expires_at = excluded.expires_at, backend_pid = excluded.backend_pid,
                backend_start = excluded.backend_start
            ",
        )
        .bind(&self.holder)
        .bind(wants)
        .bind(self.length.as_secs_f64())
        .execute(&mut *tx)
        .await?;
        let kept = sqlx::query_scalar(
            r"
            update leases l set expires_at = clock_timestamp() + make_interval(secs => $2)
            from unnest($3::text[], $4::bigint[]) as h (name, epoch)
            where l.name = h.name and l.epoch = h.epoch and l.holder = $1 returning l.name
            ",
        )
        .bind(&self.holder)
        .bind(self.length.as_secs_f64())
        .bind(names)
        .bind(epochs)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        self.connection = Some(connection);
        Ok(kept)
    }

    /// Reads all leases and instances.
    ///
    /// # Errors
    /// A database error.
    pub async fn table(&mut self) -> Result<LeaseTable, StoreError> {
        let mut connection = self.connect().await?;
        let table = LeaseTable {
            leases: leases(&mut connection).await?,
            instances: self.instances(&mut connection).await?,
        };
        self.connection = Some(connection);
        Ok(table)
    }

    /// Takes a lease. Returns `None` if another instance holds it meanwhile. From here on the earlier holder commits nothing. If that
    /// holder is frozen inside a transaction, it would lock the chain's row until it wakes: so its session is ended, with everything
    /// that it does beside its commits.
    ///
    /// # Errors
    /// A database error. Then the lease may or may not be taken; calling again is safe.
    pub async fn take(&mut self, claim: &LeaseClaim) -> Result<Option<Epoch>, StoreError> {
        let name = &claim.name;
        let mut connection = self.connect().await?;
        let taken = match self.try_take(&mut connection, claim).await {
            Err(StoreError::Database(error)) if sqlstate(&error).as_deref() == Some("55P03") => {
                evict_frozen(&mut connection, name).await?;
                self.try_take(&mut connection, claim).await?
            }
            taken => taken?,
        };
        if let (Some(_), Some(id)) = (taken, chain_id(name)) {
            evict_beside(&mut connection, name, id).await?;
        }
        self.connection = Some(connection);
        Ok(taken)
    }

    async fn try_take(
        &self,
        connection: &mut PgConnection,
        claim: &LeaseClaim,
    ) -> Result<Option<Epoch>, StoreError> {
        let mut tx = transaction::begin_brief_alone(connection).await?;
        let epoch: Option<i64> = sqlx::query_scalar(
            r"
            insert into leases as l (name, holder, epoch, expires_at)
            values ($1, $2, 1, clock_timestamp() + make_interval(secs => $3))
            on conflict on constraint leases_pkey do update set
                holder = excluded.holder, epoch = l.epoch + 1, expires_at = excluded.expires_at
            where l.epoch = $4 and ($5 or l.expires_at <= clock_timestamp())
            returning epoch
            ",
        )
        .bind(&claim.name)
        .bind(&self.holder)
        .bind(self.length.as_secs_f64())
        .bind(int8("epoch", claim.seen)?)
        .bind(claim.is_orphan)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(epoch) = epoch else { return Ok(None) };
        if let Some(id) = chain_id(&claim.name) {
            // Waits for a running commit of the earlier holder, and refuses every later one.
            sqlx::query("update chains set epoch = $2 where chain_id = $1")
                .bind(id)
                .bind(epoch)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(Some(Epoch(unsigned("epoch", epoch)?)))
    }

    /// Releases a lease. Does nothing if another instance has taken it meanwhile.
    ///
    /// # Errors
    /// A database error.
    pub async fn release(&mut self, name: &LeaseName, epoch: Epoch) -> Result<(), StoreError> {
        let mut connection = self.connect().await?;
        sqlx::query(
            "update leases set expires_at = clock_timestamp() where name = $1 and holder = $2 and epoch = $3",
        )
        .bind(name)
        .bind(&self.holder)
        .bind(int8("epoch", epoch.0)?)
        .execute(&mut connection)
        .await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Deletes the row of this instance, and rows of instances that ended more than a day ago without deleting theirs.
    ///
    /// # Errors
    /// A database error.
    pub async fn leave(&mut self) -> Result<(), StoreError> {
        let mut connection = self.connect().await?;
        sqlx::query(
            "delete from instances where holder = $1 or expires_at < clock_timestamp() - interval '1 day'",
        )
        .bind(&self.holder)
        .execute(&mut connection)
        .await?;
        Ok(connection.close().await?)
    }

    async fn connect(&mut self) -> Result<PgConnection, StoreError> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => Ok(self.hosts.options().connect().await?),
        }
    }

    async fn instances(&self, connection: &mut PgConnection) -> Result<Vec<InstanceRow>, StoreError> {
        let rows: Vec<(String, Vec<LeaseName>, bool, i64)> = sqlx::query_as(
            r"
            select i.holder, i.wants, i.since <= clock_timestamp() - make_interval(secs => $1),
                (extract(epoch from i.expires_at) * 1000000)::bigint
            from instances i where i.expires_at > clock_timestamp() and exists (
                select from pg_stat_activity a where a.pid = i.backend_pid
                and (a.backend_start is null or a.backend_start = i.backend_start))
            order by i.holder
            ",
        )
        .bind(self.length.as_secs_f64())
        .fetch_all(connection)
        .await?;
        let row = |(holder, wants, settled, until): (String, Vec<LeaseName>, bool, i64)| InstanceRow {
            holder,
            wants,
            settled,
            until: count(until),
        };
        Ok(rows.into_iter().map(row).collect())
    }
}

/// Reads every lease. PostgreSQL hides the start of a session of another role; then only the process id is compared.
pub async fn leases(connection: &mut PgConnection) -> Result<Vec<LeaseRow>, StoreError> {
    let rows: Vec<(LeaseName, String, i64, i64, bool)> = sqlx::query_as(
        r"
        select l.name, l.holder, l.epoch,
            (extract(epoch from l.expires_at - clock_timestamp()) * 1000)::bigint,
            exists (select from instances i join pg_stat_activity a on a.pid = i.backend_pid
                and (a.backend_start is null or a.backend_start = i.backend_start)
                where i.holder = l.holder)
        from leases l order by l.name
        ",
    )
    .fetch_all(connection)
    .await?;
    let row = |(name, holder, epoch, left, lives): (LeaseName, String, i64, i64, bool)| {
        let left = Duration::from_millis(count(left.max(0)));
        let state = match (left.is_zero(), lives) {
            (true, _) => LeaseState::Free,
            (false, true) => LeaseState::Held,
            (false, false) => LeaseState::Orphaned,
        };
        Ok(LeaseRow { name, holder, epoch: Epoch(unsigned("epoch", epoch)?), state, left })
    };
    rows.into_iter().map(row).collect()
}

/// Ends the session that has locked the row of the chain or of the lease, if the server has waited for that session's client for a
/// second: the client is frozen or gone. A session that works is not ended.
async fn evict_frozen(connection: &mut PgConnection, name: &LeaseName) -> Result<(), StoreError> {
    // PostgreSQL's timeouts do not end a session inside `COPY`: it does not count as idle. Materialized, because otherwise the
    // planner may call `pg_terminate_backend` for rows that it filters out later.
    let evicted: Vec<i32> = sqlx::query_scalar(
        r"
        with frozen as materialized (
            select a.pid from pg_stat_activity a
            where a.backend_xid in (select xmax from chains where chain_id = $1
                union all select xmax from leases where name = $2)
            and a.pid <> pg_backend_pid() and a.wait_event_type = 'Client'
            and a.state_change < clock_timestamp() - interval '1 second')
        select pid from frozen where pg_terminate_backend(pid)
        ",
    )
    .bind(chain_id(name))
    .bind(name)
    .fetch_all(connection)
    .await?;
    log_evicted(name, &evicted);
    Ok(())
}

/// Ends the sessions with the mark of the chain, which earlier leaders have left. They can commit nothing any more, and their rows,
/// locks and half-built indexes are in the way. This instance has no such session yet.
async fn evict_beside(connection: &mut PgConnection, name: &LeaseName, id: i64) -> Result<(), StoreError> {
    let evicted: Vec<i32> = sqlx::query_scalar(
        r"
        with beside as materialized (
            select l.pid from pg_locks l join pg_database d on d.oid = l.database
            where d.datname = current_database() and l.locktype = 'advisory' and l.objsubid = 1
            and (l.classid::bigint << 32 | l.objid::bigint) = $1 and l.pid <> pg_backend_pid())
        select pid from beside where pg_terminate_backend(pid)
        ",
    )
    .bind(transaction::mark(id))
    .fetch_all(connection)
    .await?;
    log_evicted(name, &evicted);
    Ok(())
}

fn log_evicted(lease: &LeaseName, evicted: &[i32]) {
    for pid in evicted {
        tracing::warn!(
            lease = lease.as_str(),
            pid,
            "a session that the leader before left inside a transaction was ended"
        );
    }
}

/// The chain of a lease, as a `bigint`; `None` for other leases.
fn chain_id(name: &LeaseName) -> Option<i64> {
    name.chain_id()?.try_into().ok()
}
