//! Sinks that contain messages of another history, and what an operator decides about them.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::CHANNEL;
use crate::Outbox;
use crate::epochs::{Adopted, FRESH, HOME, Lineage, adopted, epochs, note_adopted};
use chainflume_db::StoreError;
use chainflume_db::convert::{int8, unsigned};
use chainflume_db::transaction::{DURABLE, Tx, begin};
use chainflume_db::{Epoch, LeaseName};

/// Where a sink begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkStart {
    /// Its cursor; `None` for a sink that has not begun.
    pub cursor: Option<u64>,
    /// Why the sink gets no messages until an operator decides.
    pub foreign: Option<String>,
    /// Number of the newest message ever written.
    pub last: u64,
}

/// What `sinks adopt` found in a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkContents {
    /// The largest number in any of its streams, 0 without streams.
    pub top: u64,
    /// The newest entries of the streams that contain entries of another history.
    pub foreign: Vec<Adopted>,
}

/// How this history continues after an adoption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdoptedHistory {
    /// Messages up to this number keep their numbers.
    pub kept: u64,
    /// The number of the first message after them.
    pub next: u64,
    /// Number of messages that were not in the sink and got new numbers.
    pub moved: u64,
}

impl Outbox {
    /// Where a sink begins.
    ///
    /// # Errors
    /// A database error.
    pub async fn sink_start(&self, sink: &str) -> Result<SinkStart, StoreError> {
        let (cursor, foreign, last): (Option<i64>, Option<String>, i64) = sqlx::query_as(
            r"
            select c.seq, case when t.foreign_at is not null then coalesce(t.foreign_reason, '') end, h.seq
            from outbox_head h left join sink_cursors c on c.sink = $1 left join sink_states t on t.sink = $1
            ",
        )
        .bind(sink)
        .fetch_one(&self.pool)
        .await?;
        let cursor = cursor.map(|seq| unsigned("sequence", seq)).transpose()?;
        Ok(SinkStart { cursor, foreign, last: unsigned("sequence", last)? })
    }

    /// Records that a sink contains messages which this database never sent, for the leader of the sink. An earlier reason stays.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another instance leads the sink now; a database error.
    pub async fn note_foreign(
        &self,
        sink: &str,
        reason: &str,
        epoch: Option<Epoch>,
    ) -> Result<(), StoreError> {
        let lease = LeaseName::sink(sink);
        let noted = sqlx::query(AssertSqlSafe(format!(
            r"
            insert into sink_states as s (sink, foreign_at, foreign_reason)
            select $1, now(), $2 where {DURABLE} is not null
                and ($3::bigint is null or $3 = (select epoch from leases where name = $4))
            on conflict on constraint sink_states_pkey do update set
                foreign_at = coalesce(s.foreign_at, excluded.foreign_at),
                foreign_reason = case when s.foreign_at is null then excluded.foreign_reason else s.foreign_reason end
            "
        )))
        .bind(sink)
        .bind(reason.replace('\0', "\u{fffd}"))
        .bind(epoch.map(|epoch| int8("epoch", epoch.number())).transpose()?)
        .bind(&lease)
        .execute(&self.pool)
        .await?;
        if noted.rows_affected() == 0 { Err(StoreError::fenced(lease)) } else { Ok(()) }
    }

    /// Continues this history after the contents of a sink. Messages that the sink lacks get numbers above everything in it, in their
    /// order, and a new epoch begins with them. The numbers between are left out. Cursors of other sinks are moved, so that no sink
    /// gets a message twice or misses one.
    ///
    /// The sink shares this history up to the end of its epoch, or up to its cursor if that epoch is unknown.
    ///
    /// # Errors
    /// A database error.
    pub async fn adopt_sink(&self, sink: &str, found: &SinkContents) -> Result<AdoptedHistory, StoreError> {
        let mut tx = begin(&self.pool).await?;
        sqlx::query(AssertSqlSafe(format!("select {DURABLE}"))).execute(&mut *tx).await?;
        // Locks the head: from here on no other transaction takes a number.
        let last: i64 =
            sqlx::query_scalar("select seq from outbox_head for update").fetch_one(&mut *tx).await?;
        let last = unsigned("sequence", last)?;
        // Another command may have adopted it meanwhile.
        let known = adopted(&mut tx, sink).await?;
        let foreign: Vec<&Adopted> =
            found.foreign.iter().filter(|one| known.get(&one.aggregate_type) != Some(*one)).collect();
        let kept = shared(&mut tx, sink, last, &foreign).await?;
        for adopted in foreign {
            note_adopted(&mut tx, sink, adopted).await?;
        }
        let (joined, position, sql) = if found.top > kept {
            renumber(&mut tx, kept, found.top).await?;
            let joined = AdoptedHistory { kept, next: found.top + 1, moved: last - kept };
            // The next messages for it are those that were moved. If its streams lack older ones too, the relay finds this.
            (joined, found.top, "update sink_cursors set seq = $2, updated_at = now() where sink = $1")
        } else {
            let joined = AdoptedHistory { kept: last, next: last + 1, moved: 0 };
            (joined, last, "update sink_cursors set seq = least(seq, $2), updated_at = now() where sink = $1")
        };
        sqlx::query(sql).bind(sink).bind(int8("sequence", position)?).execute(&mut *tx).await?;
        decided(&mut tx, sink).await?;
        tx.commit().await?;
        Ok(joined)
    }

    /// Makes a sink begin anew with the oldest stored message.
    ///
    /// # Errors
    /// A database error.
    pub async fn reset_sink(&self, sink: &str) -> Result<(), StoreError> {
        let mut tx = begin(&self.pool).await?;
        for sql in ["delete from sink_cursors where sink = $1", "delete from adopted_streams where sink = $1"]
        {
            sqlx::query(sql).bind(sink).execute(&mut *tx).await?;
        }
        decided(&mut tx, sink).await?;
        Ok(tx.commit().await?)
    }
}

/// The number up to which the sink shares this history, which ends with `last`: the lowest over its streams.
async fn shared(tx: &mut Tx, sink: &str, last: u64, foreign: &[&Adopted]) -> Result<u64, StoreError> {
    let cursor: Option<i64> = sqlx::query_scalar("select seq from sink_cursors where sink = $1")
        .bind(sink)
        .fetch_optional(&mut **tx)
        .await?;
    let cursor = unsigned("sequence", cursor.unwrap_or(0))?;
    let lineage = Lineage { last, epochs: epochs(tx).await?, ..Lineage::default() };
    let shared = |adopted: &&Adopted| match adopted.epoch.as_deref().and_then(|epoch| lineage.last_of(epoch))
    {
        // An entry beyond the end of a recorded epoch: a copy of the database continued that epoch.
        Some(end) if adopted.seq > end => end,
        _ => cursor,
    };
    Ok(foreign.iter().map(shared).min().unwrap_or(last).min(last))
}

/// Moves all messages after `kept` behind `top`, with the cursors of sinks, and begins an epoch with them.
async fn renumber(tx: &mut Tx, kept: u64, top: u64) -> Result<(), StoreError> {
    let (from, by) = (int8("sequence", kept)?, int8("sequence", top - kept)?);
    // In two steps over negative numbers: a number must be free before a message gets it.
    for sql in [
        r#"
        update outbox set seq = -(seq + $2),
        message = regexp_replace(message, '"seq":[0-9]+', '"seq":' || (seq + $2)) where seq > $1
        "#,
        r#"
        update deliveries set seq = -(seq + $2),
        message = regexp_replace(message, '"seq":[0-9]+', '"seq":' || (seq + $2)) where seq > $1
        "#,
        "update sink_cursors set seq = seq + $2 where seq > $1 and sink not like 'replay %'",
        "update outbox_head set seq = seq + $2 where seq >= $1",
    ] {
        sqlx::query(sql).bind(from).bind(by).execute(&mut **tx).await?;
    }
    for sql in
        ["update outbox set seq = -seq where seq < 0", "update deliveries set seq = -seq where seq < 0"]
    {
        sqlx::query(sql).execute(&mut **tx).await?;
    }
    begin_epoch(tx, from, from + by).await
}

/// Begins an epoch after `top`; the numbers between `kept` and `top` are left out.
async fn begin_epoch(connection: &mut PgConnection, kept: i64, top: i64) -> Result<(), StoreError> {
    sqlx::query("delete from outbox_epochs where first_seq > $1")
        .bind(kept)
        .execute(&mut *connection)
        .await?;
    sqlx::query(AssertSqlSafe(format!("update outbox_head set epoch = {FRESH}, home = {HOME}")))
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "insert into outbox_epochs (first_seq, after_seq, epoch) select $1 + 1, $2, epoch from outbox_head",
    )
    .bind(top)
    .bind(kept)
    .execute(&mut *connection)
    .await?;
    sqlx::query("select pg_notify($1, '')").bind(CHANNEL).execute(&mut *connection).await?;
    Ok(())
}

/// Clears the reason that stopped a sink, after an operator's decision: delivery continues at once.
async fn decided(tx: &mut Tx, sink: &str) -> Result<(), StoreError> {
    sqlx::query(
        r"
        update sink_states set foreign_at = null, foreign_reason = null, paused_until = null, failures = 0
        where sink = $1
        ",
    )
    .bind(sink)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
