//! Held messages: a delivery failed and waits for its next try, and messages with the same key wait behind it. The outcome of a round
//! of tries is stored in one transaction, so that no try is lost or counted twice.

mod finish_round;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use uuid::Uuid;

use crate::Outbox;
use crate::OutboxRow;
use chainflume_core::domain::MessageState;
use chainflume_db::StoreError;
use chainflume_db::convert::{count, int8, unsigned};
use chainflume_db::transaction::{Tx, begin};

pub use finish_round::{HeldMessage, RoundOutcome, SinkPacing};

/// A held message that is due for its next try.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct DueDelivery {
    /// The message.
    #[sqlx(flatten)]
    pub row: OutboxRow,
    /// Number of tries so far.
    #[sqlx(try_from = "i64")]
    pub attempts: u64,
    /// Id of its subject.
    pub aggregate_id: String,
    /// Messages with the same key are delivered in the order of their numbers.
    pub order_key: String,
}

/// The state of a sink besides its cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkState {
    /// Why the sink gets no messages until an operator enables it.
    pub disabled: Option<String>,
    /// Why the sink gets no messages until an operator adopts or resets it: it contains messages of another history.
    pub foreign: Option<String>,
    /// Time until the next try of any message.
    pub paused: Duration,
    /// Number of rounds in a row without a delivery.
    pub failures: u64,
    /// Number of held messages.
    pub held: u64,
    /// How long the oldest held message has waited.
    pub held_for: Duration,
    /// Number of the newest message ever written.
    pub last: u64,
    /// Why the last round delivered nothing; `None` after a delivery.
    pub last_error: Option<String>,
    /// Time until the first held message is due; `None` if none is held.
    pub due_in: Option<Duration>,
}

impl Outbox {
    /// The state of a sink.
    ///
    /// # Errors
    /// A database error.
    pub async fn sink_state(&self, sink: &str) -> Result<SinkState, StoreError> {
        let row: StateRow = sqlx::query_as(
            r"
            select coalesce(t.held, 0) as held,
                coalesce((select extract(epoch from clock_timestamp() - d.created_at)
                    from deliveries d where d.sink = s.sink order by d.seq limit 1), 0)::float8 as held_for,
                (select greatest(extract(epoch from d.due_at - clock_timestamp()), 0)
                    from deliveries d where d.sink = s.sink and d.due_at is not null
                    order by d.due_at limit 1)::float8 as due_in,
                case when t.disabled_at is not null then coalesce(t.reason, '') end as disabled,
                case when t.foreign_at is not null then coalesce(t.foreign_reason, '') end as is_foreign,
                coalesce(greatest(extract(epoch from t.paused_until - clock_timestamp()), 0), 0)::float8 as paused,
                coalesce(t.failures, 0) as failures, t.last_error, h.seq as last
            from (select $1::text as sink) s cross join outbox_head h left join sink_states t on t.sink = s.sink
            ",
        )
        .bind(sink)
        .fetch_one(&self.pool)
        .await?;
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Ok(SinkState {
            disabled: row.disabled,
            foreign: row.is_foreign,
            paused: seconds(row.paused),
            failures: count(row.failures),
            held: count(row.held),
            held_for: seconds(row.held_for),
            last: count(row.last),
            last_error: row.last_error,
            due_in: row.due_in.map(seconds),
        })
    }

    /// Held messages that are due, with the messages that may follow them at once, `limit` at most. First the first message of each
    /// key, the longest due first, then the second of each, and so on.
    ///
    /// # Errors
    /// A database error.
    pub async fn due_deliveries(&self, sink: &str, limit: u32) -> Result<Vec<DueDelivery>, StoreError> {
        // Each part uses an index and ends at its limit, so that the cost does not grow with the number of held messages. `now()`
        // bounds the index scan; `clock_timestamp()` would read the whole index. A subquery in place of `not exists` cannot become a
        // join over all held messages.
        Ok(sqlx::query_as(
            r"
            with firsts as materialized (
                select order_key, due_at, seq from deliveries d
                where sink = $1 and due_at <= now() and seq = (select e.seq from deliveries e
                    where e.sink = d.sink and e.order_key = d.order_key order by e.seq limit 1)
                order by due_at, seq limit $2
            ), picked as materialized (
                select f.due_at, f.seq as first, d.seq, row_number() over (partition by f.seq order by d.seq) as place
                from firsts f cross join lateral (
                    select e.seq from deliveries e where e.sink = $1 and e.order_key = f.order_key and e.seq >= f.seq
                    order by e.seq limit (select greatest($2 / greatest(count(*), 1), 1) from firsts)
                ) d
            )
            select d.seq, d.aggregate_type, d.aggregate_id, d.order_key, d.type, d.state, d.user_id,
                null::uuid as counterparty_user_id, null::bytea as account,
                d.message, d.attempts,
                (extract(epoch from clock_timestamp() - d.created_at) * 1000000)::bigint as age_micros,
                null::bigint as seen_micros, n.epoch, n.after_seq, n.first_seq
            from picked p join deliveries d on d.sink = $1 and d.seq = p.seq, lateral (
                select epoch, after_seq, first_seq from outbox_epochs
                where first_seq <= d.seq order by first_seq desc limit 1) n
            order by p.place, p.due_at, p.first
            ",
        )
        .bind(sink)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?)
    }

    /// The keys among these under which messages are held.
    ///
    /// # Errors
    /// A database error.
    pub async fn held_keys(
        &self,
        sink: &str,
        among: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, StoreError> {
        let held: Vec<String> = sqlx::query_scalar(
            r"
            select k.order_key from unnest($2::text[]) as k (order_key)
            where (select true from deliveries d where d.sink = $1 and d.order_key = k.order_key limit 1)
            ",
        )
        .bind(sink)
        .bind(among.iter().map(String::as_str).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await?;
        Ok(held.into_iter().collect())
    }

    /// Ends the pause of a sink and makes its held messages due. Returns the number of held messages, those behind others included. A
    /// running daemon notices this within a second.
    ///
    /// # Errors
    /// A database error.
    pub async fn retry_sink(&self, sink: &str) -> Result<u64, StoreError> {
        let mut tx = begin(&self.pool).await?;
        sqlx::query("update deliveries set due_at = now() where sink = $1 and due_at > now()")
            .bind(sink)
            .execute(&mut *tx)
            .await?;
        let held: Option<i64> = sqlx::query_scalar(
            "update sink_states set paused_until = null, failures = 0 where sink = $1 returning held",
        )
        .bind(sink)
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(count(held.unwrap_or(0)))
    }

    /// Enables a disabled sink, which continues at its cursor; `false` if it is not disabled.
    ///
    /// # Errors
    /// A database error.
    pub async fn enable_sink(&self, sink: &str) -> Result<bool, StoreError> {
        let done = sqlx::query(
            r"
            update sink_states set disabled_at = null, reason = null, paused_until = null, failures = 0
            where sink = $1 and disabled_at is not null
            ",
        )
        .bind(sink)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Queues dead deliveries to these sinks again, each once; returns the numbers of the letters that were open. Each message is
    /// delivered unchanged, before held messages with the same key.
    ///
    /// # Errors
    /// A database error; [`StoreError::Corrupt`] when another program wrote one of them.
    pub async fn redeliver(&self, ids: &[u64], sinks: &[String]) -> Result<BTreeSet<u64>, StoreError> {
        let ids = ids.iter().map(|id| int8("number", *id)).collect::<Result<Vec<_>, _>>()?;
        let mut tx = begin(&self.pool).await?;
        let letters: Vec<Letter> = sqlx::query_as(
            r"
            update dead_letters set resolved_at = now(), last_seen = now()
            where id = any($1) and sink = any($2) and resolved_at is null
            returning id, sink, seq, raw ->> 'message' as message, raw ->> 'orderKey' as order_key
            ",
        )
        .bind(ids)
        .bind(sinks)
        .fetch_all(&mut *tx)
        .await?;
        for letter in &letters {
            // Parsed here, not in SQL: PostgreSQL refuses JSON in which a string contains NUL, and data of a chain may.
            let head: LetterHead = serde_json::from_str(&letter.message).map_err(|error| {
                let what = format!("raw of {} is no message: {error}", letter.id);
                StoreError::Corrupt { table: "dead_letters", what }
            })?;
            put_back(&mut tx, letter, &head).await?;
        }
        tx.commit().await?;
        letters.into_iter().map(|letter| unsigned("number", letter.id)).collect()
    }
}

/// Queues a message again, before the held messages with the same key.
async fn put_back(tx: &mut Tx, letter: &Letter, head: &LetterHead) -> Result<(), StoreError> {
    let aggregate = || format!("{} {}", head.aggregate_type, head.aggregate_id);
    let order_key = letter.order_key.clone().unwrap_or_else(aggregate);
    let put = sqlx::query(
        r"
        insert into deliveries
            (sink, seq, aggregate_type, aggregate_id, order_key, type, state, user_id, message, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, now()) on conflict on constraint deliveries_pkey do nothing
        ",
    )
    .bind(&letter.sink)
    .bind(letter.seq)
    .bind(&head.aggregate_type)
    .bind(&head.aggregate_id)
    .bind(&order_key)
    .bind(&head.message_type)
    .bind(head.state.as_str())
    .bind(head.metadata.user_id.as_deref().and_then(|id| Uuid::try_parse(id).ok()))
    .bind(&letter.message)
    .execute(&mut **tx)
    .await?;
    finish_round::count_held(tx, &letter.sink, i64::from(put.rows_affected() > 0)).await?;
    // The message that was first under this key may now wait behind this one.
    sqlx::query(
        r"
        update deliveries d set due_at = case when d.seq = (select min(e.seq) from deliveries e
            where e.sink = $1 and e.order_key = $2) then now() end
        where d.sink = $1 and d.order_key = $2
        ",
    )
    .bind(&letter.sink)
    .bind(&order_key)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct StateRow {
    held: i64,
    held_for: f64,
    due_in: Option<f64>,
    disabled: Option<String>,
    is_foreign: Option<String>,
    paused: f64,
    failures: i64,
    last_error: Option<String>,
    last: i64,
}

#[derive(sqlx::FromRow)]
struct Letter {
    id: i64,
    sink: String,
    seq: i64,
    message: String,
    /// `None` in letters of older programs.
    order_key: Option<String>,
}

/// The fields of a message that a row repeats in columns.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LetterHead {
    aggregate_type: String,
    aggregate_id: String,
    #[serde(rename = "type")]
    message_type: String,
    state: MessageState,
    metadata: HeadMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMetadata {
    /// A text: a message of the application has the application's own id, which need not be a UUID.
    user_id: Option<String>,
}
