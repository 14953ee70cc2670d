use sqlx::{FromRow as _, Row as _};

use crate::Outbox;
use crate::epochs::{OutboxEpoch, Position};
use crate::reader::{OutboxRow, PageSize};
use chainflume_db::StoreError;
use chainflume_db::convert::{int8, unsigned};

/// The next messages after a position under some room keys.
#[derive(Debug)]
pub struct RoomPage {
    /// The messages, in their order. Some may name none of the ids: another id may have the same key.
    pub rows: Vec<OutboxRow>,
    /// Where the next page begins: `rows` has all messages up to here.
    pub next: Position,
    /// Number and epoch of the first stored message of any key after the position.
    pub first: Option<(u64, OutboxEpoch)>,
}

/// The result of a read by room keys.
#[derive(Debug)]
pub enum RoomRead {
    /// A page of messages.
    Page(RoomPage),
    /// The position is of another history: the database was restored, or lost commits.
    Elsewhere,
    /// The next messages after the position are not in the index of room keys: they are older than the index, or too new.
    Unindexed,
}

/// Reads a page in one statement, so that all of it is of one history: whether the position ($1, $4) is of this history and the index
/// has what follows, the first stored message, the newest indexed one, and the messages under the keys ($5), at most $2 and $3 bytes.
///
/// A key is found by comparing rows in the order of the primary key. With `key = …` in the order of `seq`, PostgreSQL may scan the
/// index of `seq` through all messages of other keys, if most rows have one key.
pub const ROOM_PAGE: &str = r"
    with here as (select least(h.seq, i.upto) as last,
            case when i.upto >= h.seq then h.epoch else (select e.epoch from outbox_epochs e where e.first_seq <= i.upto
                order by e.first_seq desc limit 1) end as last_epoch,
            $1 >= h.rooms_from - 1 and ($1 < i.upto or i.upto >= h.seq) as is_indexed,
            h.seq >= $1 and ($4::text is null or $1 = 0 or $4 = (select e.epoch
                from outbox_epochs e where e.first_seq <= $1 order by e.first_seq desc limit 1)) as is_ours
            from (select seq, epoch, rooms_from from outbox_head limit 1) h, (select upto from outbox_room_index limit 1) i),
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
        sized as (select o.seq, o.aggregate_type, o.type, o.state, o.user_id, o.counterparty_user_id, o.account, o.message,
            o.created_at, o.seen_at, sum(octet_length(o.message)) over (order by o.seq) - octet_length(o.message) as before
            from found join outbox o on o.seq = found.seq)
    select here.*, (select count(*) from found) as found, kept.*, sized.*,
        (extract(epoch from clock_timestamp() - created_at) * 1000000)::bigint as age_micros,
        (extract(epoch from seen_at) * 1000000)::bigint as seen_micros, e.epoch, e.after_seq, e.first_seq
    from here left join kept on true left join sized on before < $3
    left join lateral (select epoch, after_seq, first_seq from outbox_epochs where first_seq <= sized.seq
        order by first_seq desc limit 1) e on true
    order by sized.seq
";

/// Indexes at most $1 messages, and returns their number. The row of `outbox_room_index` admits one caller at a time; another one indexes
/// none. With `limit` PostgreSQL expects one row: without statistics it expects thousands, and compiles the statement for a quarter of
/// a second. The commit does not wait for the disk: if a crash of the server loses it, the messages are indexed again.
pub const INDEX_ROOMS: &str = r"
    with this as (select i.upto from outbox_room_index i
            where set_config('synchronous_commit', 'off', true) is not null
            limit 1 for update skip locked),
        page as (select next.seq, next.room_keys from this cross join lateral (select o.seq, o.room_keys from outbox o
            where o.seq > this.upto order by o.seq limit $1) next),
        named as (insert into outbox_rooms (key, seq)
            select named.key, page.seq from page, unnest(page.room_keys) as named (key) order by 1, 2),
        moved as (update outbox_room_index set upto = page.last
            from (select max(seq) as last from page) page where page.last is not null)
    select count(*) from page
";

impl Outbox {
    /// Adds the room keys of the next messages to the index, of `limit` messages at most; returns their number. Not part of the
    /// transactions that store messages: the rows of many messages at once, in the order of the index, cost a fraction of that.
    ///
    /// # Errors
    /// A database error.
    pub async fn index_rooms(&self, limit: u32) -> Result<u64, StoreError> {
        let indexed: i64 =
            sqlx::query_scalar(INDEX_ROOMS).bind(i64::from(limit)).fetch_one(&self.pool).await?;
        unsigned("messages", indexed)
    }

    /// The next messages after a position under these keys ([`crate::room_key`]).
    ///
    /// # Errors
    /// A database error.
    pub async fn read_rooms_after(
        &self,
        at: &Position,
        keys: &[i64],
        size: impl Into<PageSize>,
    ) -> Result<RoomRead, StoreError> {
        let size = size.into();
        let rows = sqlx::query(ROOM_PAGE)
            .bind(int8("sequence", at.seq)?)
            .bind(i64::from(size.messages))
            .bind(i64::from(size.bytes))
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
        // If the page is full, in messages or in bytes, more may follow.
        let is_full = found == u64::from(size.messages) || found > messages.len() as u64;
        let end = messages.last().filter(|_| is_full);
        let end = end.map(|row| Position { seq: row.seq, epoch: Some(row.epoch.epoch.clone()) });
        Ok(RoomRead::Page(RoomPage { next: end.unwrap_or(last), rows: messages, first }))
    }
}
