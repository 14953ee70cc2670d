//! The outbox's part of a replay: a lock, and numbers for the replay's own streams.

use std::fmt;

use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};

use crate::append::append_all;
use crate::{Draft, Outbox};
use chainflume_db::StoreError;
use chainflume_db::convert::{int8, unsigned};
use chainflume_db::transaction::{self, DURABLE};

/// Messages of a replay and the place of the last fact; `None` at the end.
pub type ReplayPage<M> = Option<(Vec<Draft>, M)>;

/// A source of stored facts that can be published again.
pub trait ReplaySource: Sync {
    /// The place of a fact in the order of facts; `Display` is the form for operators.
    type Mark: Copy + fmt::Debug + fmt::Display + Send + Sync;

    /// The chain of the facts (EIP-155); `None` for facts that are not on a chain.
    fn chain_id(&self) -> Option<i64>;

    /// The next facts after a place, `limit` at most and bounded in bytes, each as a message marked as a replay.
    ///
    /// # Errors
    /// A database error.
    fn page(
        &self,
        after: Option<Self::Mark>,
        limit: u32,
    ) -> impl Future<Output = Result<ReplayPage<Self::Mark>, StoreError>> + Send;
}

/// The lock of a running replay: one runs at a time, because two would mix their numbers.
#[derive(Debug)]
pub struct ReplayLock(PgConnection);

impl ReplayLock {
    /// Releases the lock. Dropping the value releases it too, once the server notices.
    pub async fn release(self) {
        use sqlx::Connection;
        // An error means that the connection broke, which releases the lock as well.
        let _ = self.0.close().await;
    }
}

impl Outbox {
    /// Takes the lock for a replay; `None` while another command has it.
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

    /// Appends messages of a replay to the outbox: every sink and every client gets them.
    ///
    /// # Errors
    /// A database error.
    pub async fn publish_again(&self, chain_id: Option<i64>, messages: Vec<Draft>) -> Result<(), StoreError> {
        let mut tx = transaction::begin(&self.pool).await?;
        append_all(&mut tx, chain_id, messages).await?;
        Ok(tx.commit().await?)
    }

    /// The newest number that was taken for a replay's own streams; 0 before the first.
    ///
    /// # Errors
    /// A database error.
    pub async fn replay_number(&self, streams: &str) -> Result<u64, StoreError> {
        Ok(self.sink_cursor(&format!("replay {streams}")).await?.unwrap_or(0))
    }

    /// Takes `count` numbers for messages on a replay's own streams and returns the first. No other caller gets them; unused numbers
    /// leave a gap.
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
