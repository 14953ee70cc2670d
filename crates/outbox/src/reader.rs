use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{FromRow, PgConnection, Row as _};
use uuid::Uuid;

use crate::CHANNEL;
use crate::Outbox;
use crate::epochs::{OutboxEpoch, Position};
use chainflume_core::domain::MessageState;
use chainflume_db::StoreError;
use chainflume_db::convert::{count, int8, unsigned};
use chainflume_db::{Epoch, LeaseName};

/// How much one read returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize {
    /// Maximum number of messages.
    pub messages: u32,
    /// Maximum size of their JSON, unless one message alone is larger.
    pub bytes: u32,
}

/// So many messages, and eight megabytes: a few very large ones must not fill the memory of a reader.
impl From<u32> for PageSize {
    fn from(messages: u32) -> Self {
        Self { messages, bytes: 8 << 20 }
    }
}

/// A message of the outbox.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct OutboxRow {
    /// Its number.
    #[sqlx(try_from = "i64")]
    pub seq: u64,
    /// `user`, `token`, `nft` or `contract`.
    pub aggregate_type: String,
    /// Type of the message.
    #[sqlx(rename = "type")]
    pub message_type: String,
    /// What the message reports.
    #[sqlx(try_from = "String")]
    pub state: MessageState,
    /// The user it is about, if one is known.
    pub user_id: Option<Uuid>,
    /// The other user it is about, if there is one.
    pub counterparty_user_id: Option<Uuid>,
    /// The wallet in the event's column `account`, 20 bytes, if the event has one.
    pub account: Option<Vec<u8>>,
    /// The message: JSON.
    pub message: String,
    /// Time since its transaction began, in microseconds, by the database's clock.
    pub age_micros: i64,
    /// When the head was seen that confirmed its block, in microseconds since the Unix epoch by the daemon's clock.
    pub seen_micros: Option<i64>,
    /// The epoch of its number.
    #[sqlx(flatten)]
    pub epoch: OutboxEpoch,
}

impl OutboxRow {
    /// Number of trimmed messages between `after` and this one, which is the next stored message after `after`.
    pub fn missed(&self, after: u64) -> u64 {
        self.epoch.missed(self.seq, after)
    }
}

/// The size of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxState {
    /// Number of the newest message ever written; 0 before the first.
    pub last: u64,
    /// Number of the oldest stored message; `last + 1` if none is stored.
    pub first: u64,
    /// Age of the oldest stored message, in seconds.
    pub oldest_seconds: u64,
}

/// Wakes a reader after commits with messages.
pub struct OutboxListener(PgListener);

impl OutboxListener {
    /// Returns after the next commit with messages, or when the connection was lost and notifications may be missing.
    ///
    /// # Errors
    /// When the database cannot be reached again.
    pub async fn changed(&mut self) -> Result<(), StoreError> {
        self.0.try_recv().await?;
        Ok(())
    }
}

impl Outbox {
    /// The aggregate types of the stored messages: those of the chains and those of the application.
    ///
    /// # Errors
    /// A database error.
    pub async fn aggregate_types(&self) -> Result<Vec<String>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        Ok(ends(&mut connection, i64::MAX.unsigned_abs()).await?.into_keys().collect())
    }

    /// Listens for commits with messages. Only where [`Self::can_listen`].
    ///
    /// # Errors
    /// A database error.
    pub async fn listen(&self) -> Result<OutboxListener, StoreError> {
        // A connection outside the pool: it is in use while the daemon runs.
        let own = PgPoolOptions::new().max_connections(1).connect_lazy_with(self.database.options());
        let mut listener = PgListener::connect_with(&own).await?;
        listener.listen(CHANNEL).await?;
        Ok(OutboxListener(listener))
    }

    /// The next messages after a position. `None` if the position is of another history: the database was restored, or lost commits. Numbers have gaps only at the beginning of an
    /// epoch; [`OutboxRow::missed`] counts messages that were trimmed.
    ///
    /// # Errors
    /// A database error.
    pub async fn read_after(
        &self,
        at: impl Into<Position>,
        size: impl Into<PageSize>,
    ) -> Result<Option<Vec<OutboxRow>>, StoreError> {
        let (Position { seq, epoch }, size) = (at.into(), size.into());
        // One statement, so that the messages are of the history that was compared. The first row shows whether the position is of
        // this history, with a message or without.
        let rows = sqlx::query(
            r"
            with here as (select h.seq >= $1 and ($4::text is null or $1 = 0 or $4 = (select e.epoch
                    from outbox_epochs e where e.first_seq <= $1 order by e.first_seq desc limit 1)) as is_ours
                from outbox_head h)
            select here.is_ours, sized.*,
                (extract(epoch from clock_timestamp() - created_at) * 1000000)::bigint as age_micros,
                (extract(epoch from seen_at) * 1000000)::bigint as seen_micros, e.epoch, e.after_seq, e.first_seq
            from here left join (
                select *, sum(octet_length(message)) over (order by seq) - octet_length(message) as before
                from (select seq, aggregate_type, type, state, user_id, counterparty_user_id, account, message, created_at,
                    seen_at from outbox where seq > $1 order by seq limit $2) as next
            ) as sized on here.is_ours and before < $3
            left join lateral (select epoch, after_seq, first_seq from outbox_epochs where first_seq <= sized.seq
                order by first_seq desc limit 1) e on true
            order by sized.seq
            ",
        )
        .bind(int8("sequence", seq)?)
        .bind(i64::from(size.messages))
        .bind(i64::from(size.bytes))
        .bind(epoch)
        .fetch_all(&self.pool)
        .await?;
        let Some(first) = rows.first() else { return Ok(None) };
        if !first.try_get::<bool, _>("is_ours")? {
            return Ok(None);
        }
        if first.try_get::<Option<i64>, _>("seq")?.is_none() {
            return Ok(Some(Vec::new()));
        }
        Ok(Some(rows.iter().map(OutboxRow::from_row).collect::<Result<_, _>>()?))
    }

    /// The cursor of a sink; `None` for a sink that has not begun.
    ///
    /// # Errors
    /// A database error.
    pub async fn sink_cursor(&self, sink: &str) -> Result<Option<u64>, StoreError> {
        let seq: Option<i64> = sqlx::query_scalar("select seq from sink_cursors where sink = $1")
            .bind(sink)
            .fetch_optional(&self.pool)
            .await?;
        seq.map(|seq| unsigned("sequence", seq)).transpose()
    }

    /// Sets the cursor of a sink. It may go back: a sink that lost its messages is filled again. Does not wait for the disk.
    ///
    /// # Errors
    /// A database error.
    pub async fn set_sink_cursor(&self, sink: &str, seq: u64) -> Result<(), StoreError> {
        self.note_sink_cursor(sink, seq, None).await
    }

    /// As [`Outbox::set_sink_cursor`], for the leader of the sink.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another instance leads the sink now; a database error.
    pub async fn note_sink_cursor(
        &self,
        sink: &str,
        seq: u64,
        epoch: Option<Epoch>,
    ) -> Result<(), StoreError> {
        let lease = LeaseName::sink(sink);
        // Written between two batches, where waiting for the disk would take the most time. If a crash of the server loses it, the
        // sink gets repeats and refuses them. A trim relies on the cursor, but its own commit waits for the disk and so for this one.
        // The setting is only for this statement.
        let noted = sqlx::query(
            r"
            insert into sink_cursors (sink, seq)
            select $1, $2 where set_config('synchronous_commit', 'off', true) is not null
                and ($3::bigint is null or $3 = (select epoch from leases where name = $4))
            on conflict on constraint sink_cursors_pkey do update set seq = excluded.seq, updated_at = now()
            ",
        )
        .bind(sink)
        .bind(int8("sequence", seq)?)
        .bind(epoch.map(|epoch| int8("epoch", epoch.number())).transpose()?)
        .bind(&lease)
        .execute(&self.pool)
        .await?;
        if noted.rows_affected() == 0 { Err(StoreError::fenced(lease)) } else { Ok(()) }
    }

    /// Deletes the oldest messages that are older than `age`, that all of `sinks` have and whose room keys are indexed
    /// ([`Self::index_rooms`]), `limit` at most; returns their number. Disabled sinks, and cursors of sinks that are no longer configured, do not prevent this.
    ///
    /// # Errors
    /// A database error.
    pub async fn trim(&self, age: Duration, sinks: &[String], limit: u32) -> Result<u64, StoreError> {
        let trimmed: i64 = sqlx::query_scalar(
            r"
            with trimmed as (delete from outbox where seq in (
                select seq from outbox
                where seq <= (select upto from outbox_room_index) and seq <= coalesce((select min(coalesce(c.seq, 0)) from unnest($2::text[]) as s (sink)
                    left join sink_cursors c on c.sink = s.sink
                    where not exists (select from sink_states t where t.sink = s.sink and t.disabled_at is not null)),
                    9223372036854775807)
                order by seq limit $3
            ) and created_at < now() - make_interval(secs => $1) returning seq, room_keys),
            forgotten as (delete from outbox_rooms r using trimmed t, unnest(t.room_keys) as named (key)
                where r.key = named.key and r.seq = t.seq)
            select count(*) from trimmed
            ",
        )
        .bind(age.as_secs_f64())
        .bind(sinks)
        .bind(i64::from(limit))
        .fetch_one(&self.pool)
        .await?;
        unsigned("messages", trimmed)
    }

    /// The size of the outbox.
    ///
    /// # Errors
    /// A database error.
    pub async fn state(&self) -> Result<OutboxState, StoreError> {
        state(&mut *self.pool.acquire().await?).await
    }
}

pub(crate) async fn state(connection: &mut PgConnection) -> Result<OutboxState, StoreError> {
    let (last, first, oldest): (i64, Option<i64>, Option<i64>) = sqlx::query_as(
        r"
        select h.seq, o.seq, extract(epoch from now() - o.created_at)::bigint from outbox_head h
        left join lateral (select seq, created_at from outbox order by seq limit 1) o on true
        ",
    )
    .fetch_one(connection)
    .await?;
    let last = unsigned("sequence", last)?;
    let first = first.map(|first| unsigned("sequence", first)).transpose()?.unwrap_or(last + 1);
    Ok(OutboxState { last, first, oldest_seconds: count(oldest.unwrap_or(0).max(0)) })
}

/// By aggregate type, the newest stored message at or below `upto`.
pub(crate) async fn ends(
    connection: &mut PgConnection,
    upto: u64,
) -> Result<BTreeMap<String, u64>, StoreError> {
    // Jumps from type to type in the index: `group by` would read the whole table.
    let rows: Vec<(String, Option<i64>)> = sqlx::query_as(
        r"
        with recursive types as (
            (select aggregate_type from outbox order by aggregate_type limit 1)
            union all
            select (select o.aggregate_type from outbox o where o.aggregate_type > t.aggregate_type
                    order by o.aggregate_type limit 1)
            from types t where t.aggregate_type is not null
        )
        select t.aggregate_type,
            (select max(o.seq) from outbox o where o.aggregate_type = t.aggregate_type and o.seq <= $1)
        from types t where t.aggregate_type is not null
        ",
    )
    .bind(int8("sequence", upto)?)
    .fetch_all(connection)
    .await?;
    let kept = rows.into_iter().filter_map(|(name, seq)| Some((name, seq?)));
    kept.map(|(name, seq)| Ok((name, unsigned("sequence", seq)?))).collect()
}
