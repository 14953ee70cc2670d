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

/// Bytes of messages read at once, so that a few enormous ones cannot fill the memory.
pub(crate) const BATCH_BYTES: i64 = 8 << 20;

/// A message on its way out.
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
    /// The user it is about, where one is known.
    pub user_id: Option<Uuid>,
    /// The other user it is about, where there is one.
    pub counterparty_user_id: Option<Uuid>,
    /// The wallet it is about besides its aggregate, 20 bytes, where its event names one.
    pub account: Option<Vec<u8>>,
    /// The message: JSON.
    pub message: String,
    /// Since its transaction began, in microseconds, by the database's clock.
    pub age_micros: i64,
    /// When the head was seen that made it possible, in microseconds since the Unix epoch by the daemon's clock.
    pub seen_micros: Option<i64>,
    /// The epoch of its number.
    #[sqlx(flatten)]
    pub epoch: OutboxEpoch,
}

impl OutboxRow {
    /// How many messages were before it that `after` does not have, when it is the next that is kept.
    pub fn missed(&self, after: u64) -> u64 {
        self.epoch.missed(self.seq, after)
    }
}

/// How full the outbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxState {
    /// Number of the newest message ever written; 0 before the first.
    pub last: u64,
    /// Number of the oldest message still kept, `last + 1` where none is.
    pub first: u64,
    /// Age of the oldest message kept, in seconds.
    pub oldest_seconds: u64,
}

/// Wakes up when messages were committed.
pub struct OutboxListener(PgListener);

impl OutboxListener {
    /// Returns after the next commit with messages, or when the connection was lost and messages may have
    /// been missed.
    ///
    /// # Errors
    /// When the database cannot be reached again.
    pub async fn changed(&mut self) -> Result<(), StoreError> {
        self.0.try_recv().await?;
        Ok(())
    }
}

impl Outbox {
    /// The aggregate types of the messages that are kept: those of the chains and those that the application named.
    ///
    /// # Errors
    /// A database error.
    pub async fn aggregate_types(&self) -> Result<Vec<String>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        Ok(ends(&mut connection, i64::MAX.unsigned_abs()).await?.into_keys().collect())
    }

    /// Listens for commits with messages.
    ///
    /// # Errors
    /// A database error.
    pub async fn listen(&self) -> Result<OutboxListener, StoreError> {
        // A connection of its own: it is held for as long as the daemon runs, and the pool's are counted out.
        let own = PgPoolOptions::new().max_connections(1).connect_lazy_with(self.database.options());
        let mut listener = PgListener::connect_with(&own).await?;
        listener.listen(CHANNEL).await?;
        Ok(OutboxListener(listener))
    }

    /// The next messages after a position: `limit` at most, and no more than eight megabytes unless one alone is larger.
    /// `None` where that is no position of this history: the database was restored, or lost commits.
    /// Numbers have no gaps but those of an epoch's beginning: [`OutboxRow::missed`] are messages that were trimmed.
    ///
    /// # Errors
    /// A database error.
    pub async fn read_after(
        &self,
        at: impl Into<Position>,
        limit: u32,
    ) -> Result<Option<Vec<OutboxRow>>, StoreError> {
        let Position { seq, epoch } = at.into();
        // One statement, so that what is read belongs to what is compared. The first row shows whether the position is ours, with
        // a message or without.
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
                from (select * from outbox where seq > $1 order by seq limit $2) as next
            ) as sized on here.is_ours and before < $3
            left join lateral (select epoch, after_seq, first_seq from outbox_epochs where first_seq <= sized.seq
                order by first_seq desc limit 1) e on true
            order by sized.seq
            ",
        )
        .bind(int8("sequence", seq)?)
        .bind(i64::from(limit))
        .bind(BATCH_BYTES)
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

    /// How far a sink is; `None` for one that has not begun.
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

    /// Notes how far a sink is. It may go back: a sink that lost what it had is filled again. Does not wait for the
    /// disk.
    ///
    /// # Errors
    /// A database error.
    pub async fn set_sink_cursor(&self, sink: &str, seq: u64) -> Result<(), StoreError> {
        self.note_sink_cursor(sink, seq, None).await
    }

    /// As [`Outbox::set_sink_cursor`], for the leader of the sink.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another instance leads it now; a database error.
    pub async fn note_sink_cursor(
        &self,
        sink: &str,
        seq: u64,
        epoch: Option<Epoch>,
    ) -> Result<(), StoreError> {
        let lease = LeaseName::sink(sink);
        // While messages flow this is written between two batches, and a disk is slower than all the rest. A crash of the
        // server that loses it costs repeats, which the sink refuses. A trim that went by it waits for the disk, and so for
        // all that was committed before; the setting holds for this statement alone.
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

    /// Deletes up to `limit` of the oldest messages that are older than `age` and that all of `sinks` have; returns
    /// how many. Sinks that are disabled, and cursors of those that are no longer configured, hold nothing up.
    ///
    /// # Errors
    /// A database error.
    pub async fn trim(&self, age: Duration, sinks: &[String], limit: u32) -> Result<u64, StoreError> {
        let trimmed: i64 = sqlx::query_scalar(
            r"
            with trimmed as (delete from outbox where seq in (
                select seq from outbox
                where seq <= coalesce((select min(coalesce(c.seq, 0)) from unnest($2::text[]) as s (sink)
                    left join sink_cursors c on c.sink = s.sink
                    where not exists (select from sink_states t where t.sink = s.sink and t.disabled_at is not null)),
                    9223372036854775807)
                order by seq limit $3
            ) and created_at < now() - make_interval(secs => $1) returning seq),
            forgotten as (delete from outbox_rooms r using trimmed t where r.seq = t.seq)
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

    /// How full the outbox is.
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

/// For each aggregate type its newest message that is kept, among those up to `upto`.
pub(crate) async fn ends(
    connection: &mut PgConnection,
    upto: u64,
) -> Result<BTreeMap<String, u64>, StoreError> {
    // Steps from type to type through the index: `group by` would read the whole table.
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
