//! Reads dead letters for an operator, and records what the operator decides about them.

use chainflume_core::domain::{B256, DeadLetterKind, Log, Place};

use super::super::events::place;
use super::super::{ChainStore, Store};
use super::raw::DeadLog;
use chainflume_db::StoreError;
use chainflume_db::convert::{count, hash, int8, unsigned};

/// A stored dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDeadLetter {
    /// Its number.
    pub id: u64,
    /// The step that failed.
    pub kind: DeadLetterKind,
    /// The log or the delivery that failed.
    pub about: DeadLetterSubject,
    /// Why the last attempt failed.
    pub reason: String,
    /// The log as the node returned it, or the message as it was to be sent: JSON.
    pub raw: String,
    /// Number of attempts.
    pub attempts: u64,
    /// When it was first seen, in seconds since the Unix epoch.
    pub first_seen: u64,
    /// When it was last tried, likewise.
    pub last_seen: u64,
    /// When it became an event, was queued again or was dropped, likewise; `None` while it is open.
    pub resolved_at: Option<u64>,
    /// Why it was dropped; `None` where it was not.
    pub note: Option<String>,
}

/// The log or the delivery that a dead letter is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterSubject {
    /// A log that did not become an event.
    Log(LogRef),
    /// A message that a sink did not accept.
    Delivery {
        /// Name of the sink.
        sink: String,
        /// Number of the message.
        seq: u64,
    },
}

/// The place of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRef {
    /// EIP-155.
    pub chain_id: u64,
    /// Name of the source it belongs to.
    pub source: String,
    /// Its place in the chain.
    pub place: Place,
    /// Hash of its block.
    pub block_hash: B256,
}

impl StoredDeadLetter {
    /// The place of its log; `None` for a delivery.
    pub fn of_log(&self) -> Option<&LogRef> {
        match &self.about {
            DeadLetterSubject::Log(log) => Some(log),
            DeadLetterSubject::Delivery { .. } => None,
        }
    }

    /// The log it is about.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the letter is about a delivery, or another program wrote it.
    pub fn log(&self) -> Result<Log, StoreError> {
        let corrupt = |what: String| StoreError::Corrupt { table: "dead_letters", what };
        let raw: DeadLog = serde_json::from_str(&self.raw)
            .map_err(|error| corrupt(format!("raw of {} is no log: {error}", self.id)))?;
        raw.read().ok_or_else(|| corrupt(format!("raw of {} has more than four topics", self.id)))
    }
}

/// Which dead letters to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterQuery {
    /// Of this source, or to this sink; `None` for all.
    pub source: Option<String>,
    /// Whether resolved ones are included.
    pub resolved: bool,
    /// Only letters with a number above this one.
    pub after: u64,
    /// Maximum number of letters.
    pub limit: u32,
}

/// A dead letter whose retry failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRetry {
    /// Its number.
    pub id: u64,
    /// The step that failed this time; `None` if no source has the log any more.
    pub kind: Option<DeadLetterKind>,
    /// Why.
    pub reason: String,
}

/// Maximum number of letters that one statement drops.
const DROPPED_AT_ONCE: i64 = 5_000;

macro_rules! select {
    () => {
        r"
        select id, kind, chain_id, source, block_number, tx_index, log_index, block_hash, sink, seq, reason,
            case when sink is null then raw::text else raw ->> 'message' end as raw, attempts, extract(epoch from first_seen)::bigint as first_seen,
            extract(epoch from last_seen)::bigint as last_seen,
            extract(epoch from resolved_at)::bigint as resolved_at, note
        from dead_letters
        "
    };
}

impl Store {
    /// Dead letters by number.
    ///
    /// # Errors
    /// A database error; also if the tables are missing: check [`Store::schema`] before.
    pub async fn dead_letters(&self, which: &DeadLetterQuery) -> Result<Vec<StoredDeadLetter>, StoreError> {
        let sql = concat!(
            select!(),
            "where id > $1 and ($2 or resolved_at is null) and ($3::text is null or $3 in (source, sink)) ",
            "order by id limit $4"
        );
        let rows: Vec<DeadLetterRow> = sqlx::query_as(sql)
            .bind(int8("number", which.after)?)
            .bind(which.resolved)
            .bind(&which.source)
            .bind(i64::from(which.limit))
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(DeadLetterRow::read).collect()
    }

    /// The dead letters with these numbers, open or resolved, in ascending order. Unknown numbers are left out.
    ///
    /// # Errors
    /// A database error.
    pub async fn dead_letters_of(&self, ids: &[u64]) -> Result<Vec<StoredDeadLetter>, StoreError> {
        let rows: Vec<DeadLetterRow> = sqlx::query_as(concat!(select!(), "where id = any($1) order by id"))
            .bind(numbers(ids)?)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(DeadLetterRow::read).collect()
    }

    /// Marks an open dead letter as resolved, with the reason. Returns `false` when no letter of that number is open. The letter
    /// stays dropped when its range is read again.
    ///
    /// # Errors
    /// A database error.
    pub async fn drop_dead_letter(&self, id: u64, note: &str) -> Result<bool, StoreError> {
        let dropped = sqlx::query(
            "update dead_letters set resolved_at = now(), note = $2 where id = $1 and resolved_at is null",
        )
        .bind(int8("number", id)?)
        .bind(note.replace('\0', "\u{fffd}"))
        .execute(&self.pool)
        .await?;
        Ok(dropped.rows_affected() > 0)
    }

    /// As [`Store::drop_dead_letter`], for all open letters of a source or to a sink, of one kind if given; returns their number.
    /// Works in pages, so that no statement locks many rows for long.
    ///
    /// # Errors
    /// A database error. What was dropped until then stays dropped.
    pub async fn drop_dead_letters(
        &self,
        source: &str,
        kind: Option<DeadLetterKind>,
        note: &str,
    ) -> Result<u64, StoreError> {
        let mut dropped = 0;
        loop {
            let page = sqlx::query(
                r"
                update dead_letters set resolved_at = now(), note = $3 where id in (
                    select id from dead_letters where resolved_at is null and $1 in (source, sink)
                    and ($2::text is null or kind = $2) order by id limit $4
                )
                ",
            )
            .bind(source)
            .bind(kind.map(DeadLetterKind::as_str))
            .bind(note.replace('\0', "\u{fffd}"))
            .bind(DROPPED_AT_ONCE)
            .execute(&self.pool)
            .await?;
            match page.rows_affected() {
                0 => return Ok(dropped),
                more => dropped += more,
            }
        }
    }
}

impl Store {
    /// Number of open dead letters.
    ///
    /// # Errors
    /// A database error.
    pub async fn count_dead_letters(&self) -> Result<u64, StoreError> {
        let open: i64 = sqlx::query_scalar("select count(*) from dead_letters where resolved_at is null")
            .fetch_one(&self.pool)
            .await?;
        Ok(count(open))
    }
}

impl ChainStore {
    /// The dead letters with these numbers that are open and of this chain, in ascending order.
    ///
    /// # Errors
    /// A database error.
    pub async fn open_dead_letters(&self, ids: &[u64]) -> Result<Vec<StoredDeadLetter>, StoreError> {
        let sql =
            concat!(select!(), "where id = any($1) and chain_id = $2 and resolved_at is null order by id");
        let rows: Vec<DeadLetterRow> =
            sqlx::query_as(sql).bind(numbers(ids)?).bind(self.chain.id).fetch_all(&self.pool).await?;
        rows.into_iter().map(DeadLetterRow::read).collect()
    }

    /// Records retries that failed. Letters that were resolved or deleted meanwhile do not change.
    ///
    /// # Errors
    /// A database error.
    pub async fn record_failed_retries(&self, failed: &[FailedRetry]) -> Result<(), StoreError> {
        let ids: Vec<u64> = failed.iter().map(|letter| letter.id).collect();
        sqlx::query(
            r"
            update dead_letters d set attempts = d.attempts + 1, last_seen = now(), reason = g.reason,
                kind = case when g.kind is null or exists (select from dead_letters o
                    where (o.chain_id, o.block_number, o.tx_index, o.log_index, o.block_hash, o.source)
                        = (d.chain_id, d.block_number, d.tx_index, d.log_index, d.block_hash, d.source)
                    and o.kind = g.kind) then d.kind else g.kind end
            from unnest($1::bigint[], $2::text[], $3::text[]) as g (id, kind, reason)
            where d.id = g.id and d.chain_id = $4 and d.resolved_at is null
            ",
        )
        .bind(numbers(&ids)?)
        .bind(failed.iter().map(|letter| letter.kind.map(DeadLetterKind::as_str)).collect::<Vec<_>>())
        .bind(failed.iter().map(|letter| letter.reason.replace('\0', "\u{fffd}")).collect::<Vec<_>>())
        .bind(self.chain.id)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

fn numbers(ids: &[u64]) -> Result<Vec<i64>, StoreError> {
    ids.iter().map(|id| int8("number", *id)).collect()
}

#[derive(sqlx::FromRow)]
struct DeadLetterRow {
    id: i64,
    kind: String,
    #[sqlx(flatten)]
    log: LogColumns,
    sink: Option<String>,
    seq: Option<i64>,
    reason: String,
    raw: String,
    attempts: i64,
    first_seen: i64,
    last_seen: i64,
    resolved_at: Option<i64>,
    note: Option<String>,
}

/// Null for a delivery, all of them.
#[derive(sqlx::FromRow)]
struct LogColumns {
    chain_id: Option<i64>,
    source: Option<String>,
    block_number: Option<i64>,
    tx_index: Option<i64>,
    log_index: Option<i64>,
    block_hash: Option<Vec<u8>>,
}

impl DeadLetterRow {
    fn read(self) -> Result<StoredDeadLetter, StoreError> {
        let about = match (self.sink, self.seq) {
            (Some(sink), Some(seq)) => DeadLetterSubject::Delivery { sink, seq: unsigned("sequence", seq)? },
            _ => DeadLetterSubject::Log(self.log.read()?),
        };
        let kind = DeadLetterKind::from_word(&self.kind).ok_or_else(|| StoreError::Corrupt {
            table: "dead_letters",
            what: format!("`{}` is no kind of dead letters", self.kind),
        })?;
        Ok(StoredDeadLetter {
            id: unsigned("number", self.id)?,
            about,
            attempts: count(self.attempts),
            first_seen: count(self.first_seen),
            last_seen: count(self.last_seen),
            resolved_at: self.resolved_at.map(count),
            kind,
            reason: self.reason,
            raw: self.raw,
            note: self.note,
        })
    }
}

impl LogColumns {
    fn read(self) -> Result<LogRef, StoreError> {
        let Self {
            chain_id: Some(chain_id),
            source: Some(source),
            block_number: Some(block),
            tx_index: Some(tx),
            log_index: Some(log),
            block_hash: Some(block_hash),
        } = self
        else {
            let what = "a letter is neither of a log nor of a delivery".to_owned();
            return Err(StoreError::Corrupt { table: "dead_letters", what });
        };
        Ok(LogRef {
            chain_id: unsigned("chain id", chain_id)?,
            source,
            place: place(block, tx, log)?,
            block_hash: hash(&block_hash)?,
        })
    }
}
