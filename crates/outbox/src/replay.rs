//! What a replay needs of the outbox: the right to run, and numbers on streams of its own.

use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};

use crate::Outbox;
use chainflume_db::StoreError;
use chainflume_db::convert::{int8, unsigned};
use chainflume_db::transaction::{self, DURABLE};

/// Held while a replay runs, so that there is one at a time: two would get in each other's numbers.
#[derive(Debug)]
pub struct ReplayLock(PgConnection);

impl ReplayLock {
    /// Lets go. Dropping it does too, when the server notices.
    pub async fn release(self) {
        use sqlx::Connection;
        // A connection that breaks has let go as well.
        let _ = self.0.close().await;
    }
}

impl Outbox {
    /// The right to replay; `None` while another command does.
    ///
    /// # Errors
    /// A database error.
    pub async fn lock_replay(&self) -> Result<Option<ReplayLock>, StoreError> {
        if !self.database.has_sessions() {
            return Err(StoreError::NoSession { what: "a replay" });
        }
        let mut connection = self.database.options().connect().await?;
        let taken: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
            .bind(transaction::REPLAY)
            .fetch_one(&mut connection)
            .await?;
        Ok(taken.then_some(ReplayLock(connection)))
    }

    /// The newest number taken for streams of their own, 0 before the first.
    ///
    /// # Errors
    /// A database error.
    pub async fn replay_number(&self, streams: &str) -> Result<u64, StoreError> {
        Ok(self.sink_cursor(&format!("replay {streams}")).await?.unwrap_or(0))
    }

    /// The first of `count` numbers for messages on streams of their own, which no other caller will get: numbers that were
    /// taken and not used leave a gap.
    ///
    /// # Errors
    /// A database error.
    pub async fn take_replay_numbers(&self, streams: &str, count: u64) -> Result<u64, StoreError> {
        let last: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
            r"
                insert into sink_cursors as c (sink, seq) select $1, $2 where {DURABLE} is not null
                on conflict on constraint sink_cursors_pkey do update set seq = c.seq + $2, updated_at = now()
                returning seq
                "
        )))
        .bind(format!("replay {streams}"))
        .bind(int8("numbers", count)?)
        .fetch_one(&self.pool)
        .await?;
        Ok(unsigned("sequence", last)?.saturating_sub(count) + 1)
    }
}
