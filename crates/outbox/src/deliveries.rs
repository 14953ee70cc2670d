//! Messages that a receiver could not be given yet: they wait for their next try, and those about the same thing behind
//! them. Each round of tries is settled in one transaction, so that none is forgotten and none counted twice.

mod settle;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use uuid::Uuid;

use crate::Outbox;
use crate::OutboxRow;
use chainflume_db::StoreError;
use chainflume_db::convert::{count, int8, unsigned};
use chainflume_db::transaction::begin;

pub use settle::{RoundOutcome, SinkPacing};

/// What a message is about: aggregate type and id.
pub type AggregateKey = (String, String);

/// A message that is due for its next try.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct DueDelivery {
    /// The message.
    #[sqlx(flatten)]
    pub row: OutboxRow,
    /// Tries so far.
    #[sqlx(try_from = "i64")]
    pub attempts: u64,
}

/// Where a sink stands besides its cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkState {
    /// Why nothing is sent there until an operator enables it.
    pub disabled: Option<String>,
    /// Why nothing is sent there until an operator adopts or resets it: what it holds is of another history.
    pub foreign: Option<String>,
    /// Nothing is tried for so long.
    pub paused: Duration,
    /// Rounds in a row in which nothing could be delivered.
    pub failures: u64,
    /// Messages that wait for a try, or behind one that does.
    pub held: u64,
    /// Until the first of them is due; `None` while none waits.
    pub due_in: Option<Duration>,
}

impl Outbox {
    /// Where a sink stands.
    ///
    /// # Errors
    /// A database error.
    pub async fn sink_state(&self, sink: &str) -> Result<SinkState, StoreError> {
        type Row = (i64, Option<f64>, Option<String>, Option<String>, f64, i64);
        let (held, due_in, disabled, foreign, paused, failures): Row = sqlx::query_as(
            r"
                select (select count(*) from deliveries d where d.sink = s.sink),
                    (select greatest(extract(epoch from min(d.due_at) - clock_timestamp()), 0)::float8
                        from deliveries d where d.sink = s.sink and d.due_at is not null),
                    case when t.disabled_at is not null then coalesce(t.reason, '') end,
                    case when t.foreign_at is not null then coalesce(t.foreign_reason, '') end,
                    coalesce(greatest(extract(epoch from t.paused_until - clock_timestamp()), 0), 0)::float8,
                    coalesce(t.failures, 0)
                from (select $1::text as sink) s left join sink_states t on t.sink = s.sink
                ",
        )
        .bind(sink)
        .fetch_one(&self.pool)
        .await?;
        Ok(SinkState {
            disabled,
            foreign,
            paused: Duration::try_from_secs_f64(paused).unwrap_or_default(),
            failures: count(failures),
            held: count(held),
            due_in: due_in.map(|wait| Duration::try_from_secs_f64(wait).unwrap_or_default()),
        })
    }

    /// Messages that are due, one for each thing they are about, the longest due first.
    ///
    /// # Errors
    /// A database error.
    pub async fn due_deliveries(&self, sink: &str, limit: u32) -> Result<Vec<DueDelivery>, StoreError> {
        Ok(sqlx::query_as(
            r"
            select seq, aggregate_type, type, state, user_id, message, attempts,
                (extract(epoch from clock_timestamp() - created_at) * 1000000)::bigint as age_micros,
                null::bigint as seen_micros, n.epoch, n.after_seq, n.first_seq
            from deliveries d, lateral (select epoch, after_seq, first_seq from outbox_epochs
                where first_seq <= d.seq order by first_seq desc limit 1) n
            where sink = $1 and due_at <= clock_timestamp()
                and not exists (select from deliveries e where e.sink = d.sink and e.seq < d.seq
                    and e.aggregate_type = d.aggregate_type and e.aggregate_id = d.aggregate_id)
            order by due_at, seq limit $2
            ",
        )
        .bind(sink)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?)
    }

    /// Those of these aggregates that messages wait about.
    ///
    /// # Errors
    /// A database error.
    pub async fn held_aggregates(
        &self,
        sink: &str,
        among: &BTreeSet<AggregateKey>,
    ) -> Result<BTreeSet<AggregateKey>, StoreError> {
        let (types, ids): (Vec<&str>, Vec<&str>) =
            among.iter().map(|(kind, id)| (kind.as_str(), id.as_str())).unzip();
        let held: Vec<AggregateKey> = sqlx::query_as(
            r"
            select a.aggregate_type, a.aggregate_id
            from unnest($2::text[], $3::text[]) as a (aggregate_type, aggregate_id)
            where exists (select from deliveries d where d.sink = $1
                and d.aggregate_type = a.aggregate_type and d.aggregate_id = a.aggregate_id)
            ",
        )
        .bind(sink)
        .bind(types)
        .bind(ids)
        .fetch_all(&self.pool)
        .await?;
        Ok(held.into_iter().collect())
    }

    /// Lets a disabled sink have messages again, from where it stood; `false` where it is not disabled.
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

    /// Puts dead deliveries to these sinks back in line, each once; returns the numbers of those that were open. The
    /// sink is given each again as it was, and before what waits about the same thing.
    ///
    /// # Errors
    /// A database error; [`StoreError::Corrupt`] when another program wrote one of them.
    pub async fn redeliver(&self, ids: &[u64], sinks: &[String]) -> Result<BTreeSet<u64>, StoreError> {
        let ids = ids.iter().map(|id| int8("number", *id)).collect::<Result<Vec<_>, _>>()?;
        let mut tx = begin(&self.pool, true).await?;
        let letters: Vec<Letter> = sqlx::query_as(
            r"
            update dead_letters set resolved_at = now(), last_seen = now()
            where id = any($1) and sink = any($2) and resolved_at is null
            returning id, sink, seq, raw ->> 'message' as message
            ",
        )
        .bind(ids)
        .bind(sinks)
        .fetch_all(&mut *tx)
        .await?;
        for letter in &letters {
            // Read here: PostgreSQL reads no JSON in which a string of the chain holds a NUL.
            let head: Head = serde_json::from_str(&letter.message).map_err(|error| {
                let what = format!("raw of {} is no message: {error}", letter.id);
                StoreError::Corrupt { table: "dead_letters", what }
            })?;
            sqlx::query(
                r"
                insert into deliveries
                    (sink, seq, aggregate_type, aggregate_id, type, state, user_id, message, created_at)
                values ($1, $2, $3, $4, $5, $6, $7, $8, now()) on conflict on constraint deliveries_pkey do nothing
                ",
            )
            .bind(&letter.sink)
            .bind(letter.seq)
            .bind(&head.aggregate_type)
            .bind(&head.aggregate_id)
            .bind(&head.message_type)
            .bind(&head.state)
            .bind(head.metadata.user_id)
            .bind(&letter.message)
            .execute(&mut *tx)
            .await?;
            // It may stand before one that was first so far, which now waits behind it.
            sqlx::query(
                r"
                update deliveries d set due_at = case when d.seq = (select min(e.seq) from deliveries e
                    where e.sink = $1 and e.aggregate_type = $2 and e.aggregate_id = $3) then now() end
                where d.sink = $1 and d.aggregate_type = $2 and d.aggregate_id = $3
                ",
            )
            .bind(&letter.sink)
            .bind(&head.aggregate_type)
            .bind(&head.aggregate_id)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        letters.into_iter().map(|letter| unsigned("number", letter.id)).collect()
    }
}

#[derive(sqlx::FromRow)]
struct Letter {
    id: i64,
    sink: String,
    seq: i64,
    message: String,
}

/// What a row holds of a message besides the message.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    aggregate_type: String,
    aggregate_id: String,
    #[serde(rename = "type")]
    message_type: String,
    state: String,
    metadata: HeadMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMetadata {
    user_id: Option<Uuid>,
}
