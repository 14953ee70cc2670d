//! The tables about callers: revocations, tickets, and answers by `Idempotency-Key`. They make any number of servers act as one.

mod answers;
mod revocations;
mod tickets;

use std::fmt;
use std::time::Duration;

use sqlx::postgres::PgPool;

use chainflume_db::{Database, StoreError, transaction};

pub use answers::{Begun, Repeatable};
pub use revocations::StoredRevocation;
pub use tickets::{Issue, TICKET_SECONDS, TicketUse};

/// The tables of callers. Cheap to clone.
#[derive(Clone)]
pub struct Grants {
    pool: PgPool,
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants").finish_non_exhaustive()
    }
}

/// Rows that one sweep deletes of each table: a transaction of a second.
const SWEEP: i64 = 10_000;

impl Grants {
    /// The tables in this database.
    pub fn of(database: &Database) -> Self {
        Self { pool: database.pool().clone() }
    }

    /// Deletes tickets that expired, answers older than a day, and revocations of users and tokens older than `kept`.
    ///
    /// # Errors
    /// A database error.
    pub async fn sweep(&self, kept: Duration) -> Result<(), StoreError> {
        let mut tx = transaction::begin_brief(&self.pool).await?;
        let kept = i64::try_from(kept.as_secs()).unwrap_or(i64::MAX);
        for sql in [
            "delete from tickets where hash in (select hash from tickets where expires_at <= now() limit $1) and $2 > 0",
            "delete from request_answers where (owner, route, key) in \
             (select owner, route, key from request_answers where began_at < now() - interval '24 hours' limit $1) and $2 > 0",
            "delete from revocations where (kind, name) in (select kind, name from revocations \
             where kind <> 'key' and revoked_at < now() - $2 * interval '1 second' limit $1)",
        ] {
            sqlx::query(sql).bind(SWEEP).bind(kept).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests;
