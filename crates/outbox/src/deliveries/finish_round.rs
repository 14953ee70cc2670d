use std::time::Duration;

use crate::Outbox;
use chainflume_db::convert::int8;
use chainflume_db::transaction::{Tx, begin};
use chainflume_db::{Epoch, LeaseName, StoreError};

/// The outcome of a round of tries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundOutcome {
    /// The new cursor: all messages up to it are delivered or held. `None` for a round of held messages.
    pub cursor: Option<u64>,
    /// Messages of the outbox that become held.
    pub held: Vec<HeldMessage>,
    /// Held messages that were delivered.
    pub delivered: Vec<u64>,
    /// Held messages that failed: number, time to the next try, reason.
    pub failed: Vec<(u64, Duration, String)>,
    /// Held messages that become dead letters: number and reason.
    pub dead: Vec<(u64, String)>,
    /// The new pacing of the sink, if it changed.
    pub pace: Option<SinkPacing>,
}

/// A message of the outbox that becomes held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldMessage {
    /// Its number.
    pub seq: u64,
    /// Id of its subject.
    pub aggregate_id: String,
    /// Messages with the same key are delivered in the order of their numbers.
    pub order_key: String,
}

/// When a sink is tried again, and whether at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkPacing {
    /// Number of rounds in a row without a delivery.
    pub failures: u64,
    /// Time until the next try of any message.
    pub pause: Duration,
    /// Why the sink is disabled until an operator enables it.
    pub disabled: Option<String>,
    /// Why the round delivered nothing; `None` after a delivery.
    pub last_error: Option<String>,
    /// Whether the sink works again after failures: then held messages are due at once.
    pub is_back: bool,
}

impl Outbox {
    /// Stores the outcome of a round in one transaction. With an epoch, only while that leader of the sink holds its lease.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another instance leads the sink now; a database error.
    pub async fn finish_round(
        &self,
        sink: &str,
        settled: &RoundOutcome,
        epoch: Option<Epoch>,
    ) -> Result<(), StoreError> {
        let mut tx = begin(&self.pool).await?;
        if let Some(epoch) = epoch {
            fence(&mut tx, sink, epoch).await?;
        }
        let held = hold(&mut tx, sink, &settled.held).await?;
        put_off(&mut tx, sink, &settled.failed).await?;
        bury(&mut tx, sink, &settled.dead).await?;
        let gone: Vec<u64> =
            settled.delivered.iter().copied().chain(settled.dead.iter().map(|(seq, _)| *seq)).collect();
        let removed = remove(&mut tx, sink, &gone).await?;
        count_held(&mut tx, sink, held - removed).await?;
        if let Some(pace) = &settled.pace {
            set_pace(&mut tx, sink, pace).await?;
        }
        if let Some(cursor) = settled.cursor {
            sqlx::query(
                r"
                insert into sink_cursors (sink, seq) values ($1, $2)
                on conflict on constraint sink_cursors_pkey do update set seq = excluded.seq, updated_at = now()
                ",
            )
            .bind(sink)
            .bind(int8("sequence", cursor)?)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Checks the epoch of the sink's lease, and locks the lease: no instance can take it until the transaction ends.
async fn fence(tx: &mut Tx, sink: &str, epoch: Epoch) -> Result<(), StoreError> {
    let lease = LeaseName::sink(sink);
    let is_led = sqlx::query("select from leases where name = $1 and epoch = $2 for share")
        .bind(&lease)
        .bind(int8("epoch", epoch.number())?)
        .fetch_optional(&mut **tx)
        .await?
        .is_some();
    if is_led { Ok(()) } else { Err(StoreError::fenced(lease)) }
}

/// Copies messages of the outbox to the held ones, behind those with the same key. The caller then sets the next try of the first, or
/// makes it a dead letter. Returns the number of copied messages.
async fn hold(tx: &mut Tx, sink: &str, held: &[HeldMessage]) -> Result<i64, StoreError> {
    if held.is_empty() {
        return Ok(0);
    }
    let copied = sqlx::query(
        r"
        insert into deliveries
            (sink, seq, aggregate_type, aggregate_id, order_key, type, state, user_id, message, created_at)
        select $1, o.seq, o.aggregate_type, h.aggregate_id, h.order_key, o.type, o.state, o.user_id, o.message, o.created_at
        from unnest($2::bigint[], $3::text[], $4::text[]) as h (seq, aggregate_id, order_key)
        join outbox o on o.seq = h.seq
        on conflict on constraint deliveries_pkey do nothing
        ",
    )
    .bind(sink)
    .bind(numbers(held.iter().map(|held| held.seq))?)
    .bind(held.iter().map(|held| held.aggregate_id.as_str()).collect::<Vec<_>>())
    .bind(held.iter().map(|held| held.order_key.as_str()).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    int8("messages", copied.rows_affected())
}

/// Adds `more` to the number of held messages of a sink.
pub(super) async fn count_held(tx: &mut Tx, sink: &str, more: i64) -> Result<(), StoreError> {
    if more == 0 {
        return Ok(());
    }
    sqlx::query(
        r"
        insert into sink_states as s (sink, held) values ($1, greatest($2, 0))
        on conflict on constraint sink_states_pkey do update set held = greatest(s.held + $2, 0)
        ",
    )
    .bind(sink)
    .bind(more)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn put_off(tx: &mut Tx, sink: &str, failed: &[(u64, Duration, String)]) -> Result<(), StoreError> {
    if failed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        r"
        update deliveries d set attempts = d.attempts + 1, tried_at = coalesce(d.tried_at, now()),
            due_at = now() + make_interval(secs => f.wait), reason = f.reason
        from unnest($2::bigint[], $3::float8[], $4::text[]) as f (seq, wait, reason)
        where d.sink = $1 and d.seq = f.seq
        ",
    )
    .bind(sink)
    .bind(numbers(failed.iter().map(|(seq, ..)| *seq))?)
    .bind(failed.iter().map(|(_, wait, _)| wait.as_secs_f64()).collect::<Vec<_>>())
    .bind(failed.iter().map(|(.., reason)| text(reason)).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Makes held messages dead letters. The message is stored as a text inside the JSON: `jsonb` would change the order of its keys, on
/// which signatures depend, and refuses some strings of the chain.
async fn bury(tx: &mut Tx, sink: &str, dead: &[(u64, String)]) -> Result<(), StoreError> {
    if dead.is_empty() {
        return Ok(());
    }
    sqlx::query(
        r"
        insert into dead_letters as l (kind, sink, seq, reason, raw, attempts, first_seen)
        select 'delivery', d.sink, d.seq, f.reason, jsonb_build_object('message', d.message, 'orderKey', d.order_key), d.attempts + 1,
            coalesce(d.tried_at, now())
        from unnest($2::bigint[], $3::text[]) as f (seq, reason)
        join deliveries d on d.sink = $1 and d.seq = f.seq
        on conflict on constraint dead_letters_delivery_key
        do update set resolved_at = null, note = null, last_seen = now(), reason = excluded.reason,
            attempts = l.attempts + excluded.attempts
        ",
    )
    .bind(sink)
    .bind(numbers(dead.iter().map(|(seq, _)| *seq))?)
    .bind(dead.iter().map(|(_, reason)| text(reason)).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Deletes held messages and makes the next one of each key due. Returns the number of deleted messages.
async fn remove(tx: &mut Tx, sink: &str, gone: &[u64]) -> Result<i64, StoreError> {
    if gone.is_empty() {
        return Ok(0);
    }
    let mut freed: Vec<String> =
        sqlx::query_scalar("delete from deliveries where sink = $1 and seq = any($2) returning order_key")
            .bind(sink)
            .bind(numbers(gone.iter().copied())?)
            .fetch_all(&mut **tx)
            .await?;
    let removed = int8("messages", freed.len() as u64)?;
    freed.sort_unstable();
    freed.dedup();
    sqlx::query(
        r"
        update deliveries d set due_at = now()
        from (select (select e.seq from deliveries e where e.sink = $1 and e.order_key = k.order_key
                  order by e.seq limit 1) as seq
              from unnest($2::text[]) as k (order_key)) as first
        where d.sink = $1 and d.seq = first.seq and d.due_at is null
        ",
    )
    .bind(sink)
    .bind(freed)
    .execute(&mut **tx)
    .await?;
    Ok(removed)
}

async fn set_pace(tx: &mut Tx, sink: &str, pace: &SinkPacing) -> Result<(), StoreError> {
    sqlx::query(
        r"
        insert into sink_states as s (sink, disabled_at, reason, paused_until, failures, last_error)
        values ($1, case when $2::text is not null then now() end, $2, now() + make_interval(secs => $3), $4, $5)
        on conflict on constraint sink_states_pkey do update set
            disabled_at = coalesce(s.disabled_at, excluded.disabled_at), reason = coalesce(s.reason, excluded.reason),
            paused_until = excluded.paused_until, failures = excluded.failures, last_error = excluded.last_error
        ",
    )
    .bind(sink)
    .bind(pace.disabled.as_deref().map(text))
    .bind(pace.pause.as_secs_f64())
    .bind(int8("failures", pace.failures)?)
    .bind(pace.last_error.as_deref().map(text))
    .execute(&mut **tx)
    .await?;
    if pace.is_back {
        sqlx::query("update deliveries set due_at = now() where sink = $1 and due_at > now()")
            .bind(sink)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// The reason without NUL, which PostgreSQL's `text` refuses: a reason may quote a receiver.
fn text(reason: &str) -> String {
    reason.replace('\0', "\u{fffd}")
}

fn numbers(seqs: impl Iterator<Item = u64>) -> Result<Vec<i64>, StoreError> {
    seqs.map(|seq| int8("sequence", seq)).collect()
}
