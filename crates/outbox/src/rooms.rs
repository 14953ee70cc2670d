use sqlx::{FromRow as _, Row as _};

use crate::Outbox;
use crate::epochs::{OutboxEpoch, Position};
use crate::reader::{BATCH_BYTES, OutboxRow};
use chainflume_db::StoreError;
use chainflume_db::convert::{int8, unsigned};

/// The next messages after a position that name one of some ids.
#[derive(Debug)]
pub struct RoomPage {
    /// The messages, in their order; others that share a key with one of the ids are among them.
    pub rows: Vec<OutboxRow>,
    /// Up to here there are no others.
    pub next: Position,
    /// Number and epoch of the first message of any kind that is kept after the position.
    pub first: Option<(u64, OutboxEpoch)>,
}

/// What a read by ids gives.
#[derive(Debug)]
pub enum RoomRead {
    /// Messages.
    Page(RoomPage),
    /// The position is of another history: the database was restored, or lost commits.
    Elsewhere,
    /// What follows the position is older than the index.
    Unindexed,
}

/// One statement, so that what is read belongs to what is compared: whether the position ($1, $4) is ours and the index reaches it,
/// the first message that is kept, the newest, and those under the keys ($5), $2 at most and $3 bytes.
///
/// A key is found by comparing rows, in the order of the primary key. By `key = …` in the order of `seq` PostgreSQL may walk the index
/// of `seq` through all messages of other keys, where most rows have one key.
pub const ROOM_PAGE: &str = r"
    with here as (select h.seq as last, h.epoch as last_epoch, $1 >= h.rooms_from - 1 as is_indexed,
            h.seq >= $1 and ($4::text is null or $1 = 0 or $4 = (select e.epoch
                from outbox_epochs e where e.first_seq <= $1 order by e.first_seq desc limit 1)) as is_ours
            from outbox_head h),
        kept as (select o.seq as kept_seq, e.epoch as kept_epoch, e.after_seq as kept_after, e.first_seq as kept_first
            from (select seq from outbox where seq > $1 order by seq limit 1) o
            left join lateral (select epoch, after_seq, first_seq from outbox_epochs where first_seq <= o.seq
                order by first_seq desc limit 1) e on true),
        found as (select distinct named.seq
            from here cross join kept cross join unnest($5::bigint[]) as wanted (key)
            cross join lateral (select r.seq from outbox_rooms r
                where (r.key, r.seq) >= (wanted.key, kept.kept_seq) and r.key <= wanted.key
                order by r.key, r.seq limit $2) named
            where here.is_ours and here.is_indexed order by named.seq limit $2),
        sized as (select o.*, sum(octet_length(o.message)) over (order by o.seq) - octet_length(o.message) as before
            from found join outbox o on o.seq = found.seq)
    select here.*, (select count(*) from found) as found, kept.*, sized.*,
        (extract(epoch from clock_timestamp() - created_at) * 1000000)::bigint as age_micros,
        (extract(epoch from seen_at) * 1000000)::bigint as seen_micros, e.epoch, e.after_seq, e.first_seq
    from here left join kept on true left join sized on before < $3
    left join lateral (select epoch, after_seq, first_seq from outbox_epochs where first_seq <= sized.seq
        order by first_seq desc limit 1) e on true
    order by sized.seq
";

impl Outbox {
    /// The next messages after a position under these keys ([`crate::room_key`]): `limit` at most, and no more than eight megabytes
    /// unless one alone is larger.
    ///
    /// # Errors
    /// A database error.
    pub async fn read_rooms_after(
        &self,
        at: &Position,
        keys: &[i64],
        limit: u32,
    ) -> Result<RoomRead, StoreError> {
        let rows = sqlx::query(ROOM_PAGE)
            .bind(int8("sequence", at.seq)?)
            .bind(i64::from(limit))
            .bind(BATCH_BYTES)
            .bind(&at.epoch)
            .bind(keys)
            .fetch_all(&self.pool)
            .await?;
        let Some(head) = rows.first() else { return Ok(RoomRead::Elsewhere) };
        if !head.try_get::<bool, _>("is_ours")? {
            return Ok(RoomRead::Elsewhere);
        }
        if !head.try_get::<bool, _>("is_indexed")? {
            return Ok(RoomRead::Unindexed);
        }
        let first = match head.try_get::<Option<i64>, _>("kept_seq")? {
            None => None,
            Some(seq) => {
                let number = |name| unsigned("sequence", head.try_get(name)?);
                let (after, first) = (number("kept_after")?, number("kept_first")?);
                let epoch = OutboxEpoch { epoch: head.try_get("kept_epoch")?, after, first };
                Some((unsigned("sequence", seq)?, epoch))
            }
        };
        let last = Position {
            seq: unsigned("sequence", head.try_get("last")?)?,
            epoch: Some(head.try_get("last_epoch")?),
        };
        let found = unsigned("messages", head.try_get("found")?)?;
        let messages = if found == 0 { &[] } else { rows.as_slice() };
        let messages: Vec<OutboxRow> = messages.iter().map(OutboxRow::from_row).collect::<Result<_, _>>()?;
        // After a page that is full, in messages or in bytes, there may be more.
        let is_full = found == u64::from(limit) || found > messages.len() as u64;
        let end = messages.last().filter(|_| is_full);
        let end = end.map(|row| Position { seq: row.seq, epoch: Some(row.epoch.epoch.clone()) });
        Ok(RoomRead::Page(RoomPage { next: end.unwrap_or(last), rows: messages, first }))
    }
}
