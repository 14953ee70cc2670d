//! Moves events from `events` to `orphaned_events`, and reads them there.

use futures_util::TryStreamExt;
use sqlx::AssertSqlSafe;

use super::super::open::OpenChain;
use super::{PAGE_BYTES, Stored, StoredEventRow, columns_of};
use chainflume_core::domain::{Place, ProjectionChange, ProjectionDelta};
use chainflume_db::StoreError;
use chainflume_db::convert::int8;
use chainflume_db::transaction::Tx;

/// A statement that moves the events of chain `$1` that meet a condition to `orphaned_events`, under record `$2`.
macro_rules! orphan {
    ($condition:literal) => {
        concat!(
            "with gone as (delete from events where chain_id = $1 and ",
            $condition,
            " returning ",
            columns!(),
            ") insert into orphaned_events (reorg_id, ",
            columns!(),
            ") select $2, ",
            columns!(),
            " from gone"
        )
    };
}

/// Moves every event above block `above` to `orphaned_events`; returns how many.
pub(in super::super) async fn orphan(
    tx: &mut Tx,
    chain: &OpenChain,
    above: u64,
    reorg: i64,
) -> Result<u64, StoreError> {
    let moved = sqlx::query(orphan!("block_number > $3"))
        .bind(chain.id)
        .bind(reorg)
        .bind(int8("block number", above)?)
        .execute(&mut **tx)
        .await?;
    discount(tx, reorg).await?;
    Ok(moved.rows_affected())
}

/// As [`orphan`], for the events at these places.
pub(in super::super) async fn orphan_at(
    tx: &mut Tx,
    chain: &OpenChain,
    at: &[Place],
    reorg: i64,
) -> Result<u64, StoreError> {
    let (numbers, txs, logs) = columns_of(at.iter())?;
    let moved = sqlx::query(orphan!(
        "(block_number, tx_index, log_index) in (select * from unnest($3::bigint[], $4::bigint[], $5::bigint[]))"
    ))
    .bind(chain.id)
    .bind(reorg)
    .bind(numbers)
    .bind(txs)
    .bind(logs)
    .execute(&mut **tx)
    .await?;
    discount(tx, reorg).await?;
    Ok(moved.rows_affected())
}

/// The block with which the last page of events of these kinds begins. A page has `page` events, more where its first block has
/// more, and fewer where their arguments fill [`PAGE_BYTES`]. `None` if no event is left.
pub(in super::super) async fn last_page(
    tx: &mut Tx,
    kinds: &[i32],
    page: u32,
) -> Result<Option<i64>, StoreError> {
    // Each kind by its own index: a scan of the chain from its end would pass everything of other sources.
    let sql = r"
        select min(block_number) from (
            select block_number, row_number() over last as place, sum(size) over last - size as before
            from (select e.* from unnest($1::int[]) as k (id) cross join lateral (
                select block_number, tx_index, log_index, coalesce(octet_length(args::text), 0) as size
                from events where kind_id = k.id order by block_number desc limit $2) e) as newest
            window last as (order by block_number desc, tx_index desc, log_index desc)) as sized
        where place <= $2 and before < $3
    ";
    let from = sqlx::query_scalar(sql).bind(kinds).bind(i64::from(page)).bind(PAGE_BYTES);
    Ok(from.fetch_one(&mut **tx).await?)
}

/// As [`orphan`], for the events of these kinds from a block on.
pub(in super::super) async fn orphan_of(
    tx: &mut Tx,
    chain: &OpenChain,
    (kinds, from): (&[i32], i64),
    reorg: i64,
) -> Result<u64, StoreError> {
    let moved = sqlx::query(orphan!("kind_id = any($3) and block_number >= $4"))
        .bind(chain.id)
        .bind(reorg)
        .bind(kinds)
        .bind(from)
        .execute(&mut **tx)
        .await?;
    discount(tx, reorg).await?;
    Ok(moved.rows_affected())
}

/// Subtracts the events of a record from the counts by kind.
async fn discount(tx: &mut Tx, reorg: i64) -> Result<(), StoreError> {
    sqlx::query(
        r"
        update event_kinds k set events = k.events - o.events
        from (select kind_id, count(*) as events from orphaned_events where reorg_id = $1 group by kind_id) o
        where k.id = o.kind_id
        ",
    )
    .bind(reorg)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Makes the planner read the next pages in the order of the primary key. It has no statistics about rows that this transaction
/// has just written, takes them for a handful, and would read and sort everything that is left for each page.
async fn avoid_sorts(tx: &mut Tx) -> Result<(), StoreError> {
    sqlx::raw_sql("set local enable_sort = off").execute(&mut **tx).await?;
    Ok(())
}

/// Ends [`avoid_sorts`].
async fn allow_sorts(tx: &mut Tx) -> Result<(), StoreError> {
    sqlx::raw_sql("set local enable_sort to default").execute(&mut **tx).await?;
    Ok(())
}

/// A place below every other, and one above: where reading in pages begins.
const LOWEST: (i64, i64, i64) = (-1, -1, -1);
const HIGHEST: (i64, i64, i64) = (i64::MAX, i64::MAX, i64::MAX);

/// What the next events of a record changed: `limit` events after a place, in chain order. Also returns the place of the last
/// one, `None` at the end. The same rule folds them as when they were applied, so the undo matches. They are streamed: memory
/// grows with the keys of a page, not with its events.
pub(in super::super) async fn fold_orphaned(
    tx: &mut Tx,
    reorg: i64,
    after: Option<Place>,
    limit: u32,
) -> Result<(ProjectionDelta, Option<Place>), StoreError> {
    let sql = concat!(
        "select ",
        readable!(),
        " from orphaned_events where reorg_id = $1 and projection <> 'n' ",
        "and (block_number, tx_index, log_index) > ($2, $3, $4) order by block_number, tx_index, log_index limit $5"
    );
    let (number, tx_index, log_index) = begin_at(after, LOWEST)?;
    avoid_sorts(tx).await?;
    let mut rows = sqlx::query_as::<_, StoredEventRow>(sql)
        .bind(reorg)
        .bind(number)
        .bind(tx_index)
        .bind(log_index)
        .bind(i64::from(limit))
        .fetch(&mut **tx);
    let (mut folded, mut last, mut count) = (ProjectionDelta::default(), None, 0);
    while let Some(row) = rows.try_next().await? {
        let stored = row.read()?;
        (last, count) = (Some(stored.event.place), count + 1);
        if let Some(change) = ProjectionChange::of(stored.projection, &stored.event) {
            folded.push(change);
        }
    }
    drop(rows);
    allow_sorts(tx).await?;
    Ok((folded, last.filter(|_| count == limit)))
}

/// The next events of a record below a place and not below block `from`, the newest first: `limit` at most, and [`PAGE_BYTES`] of
/// arguments unless one event alone has more. Also returns the place of the last one, `None` at the end.
pub(in super::super) async fn orphaned_page(
    tx: &mut Tx,
    (reorg, from): (i64, u64),
    below: Option<Place>,
    limit: u32,
) -> Result<(Vec<Stored>, Option<Place>), StoreError> {
    let sql = concat!(
        "select ",
        readable!(),
        r"
        from (select *, sum(size) over (order by block_number desc, tx_index desc, log_index desc) - size as before
        from (select *, coalesce(octet_length(args::text), 0) as size from orphaned_events
        where reorg_id = $1 and block_number >= $2 and (block_number, tx_index, log_index) < ($3, $4, $5)
        order by block_number desc, tx_index desc, log_index desc limit $6) as next) as sized
        where before < $7 order by block_number desc, tx_index desc, log_index desc
        "
    );
    let (number, tx_index, log_index) = begin_at(below, HIGHEST)?;
    avoid_sorts(tx).await?;
    let rows: Vec<StoredEventRow> = sqlx::query_as(sql)
        .bind(reorg)
        .bind(int8("block number", from)?)
        .bind(number)
        .bind(tx_index)
        .bind(log_index)
        .bind(i64::from(limit))
        .bind(PAGE_BYTES)
        .fetch_all(&mut **tx)
        .await?;
    allow_sorts(tx).await?;
    let page = rows.into_iter().map(StoredEventRow::read).collect::<Result<Vec<_>, _>>()?;
    let last = page.last().map(|stored| stored.event.place);
    Ok((page, last))
}

fn begin_at(place: Option<Place>, otherwise: (i64, i64, i64)) -> Result<(i64, i64, i64), StoreError> {
    let at = |place: Place| {
        Ok((int8("block number", place.block_number)?, place.tx_index.into(), place.log_index.into()))
    };
    place.map_or(Ok(otherwise), at)
}

/// The stakes of a record by wallet, in pages. A cursor, because no index has this order and the rows should be sorted once.
pub(in super::super) struct OrphanedStakes;

impl OrphanedStakes {
    pub(in super::super) async fn open(tx: &mut Tx, reorg: i64) -> Result<Self, StoreError> {
        let sql = format!(
            "declare orphaned_stakes no scroll cursor for select {} from orphaned_events where reorg_id = {reorg} \
             and projection = 's' and account is not null order by account, block_number, tx_index, log_index",
            readable!()
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **tx).await?;
        Ok(Self)
    }

    /// The next page; empty at the end.
    pub(in super::super) async fn next(&mut self, tx: &mut Tx) -> Result<Vec<Stored>, StoreError> {
        // Not a prepared statement: the cursor of that name is another one in each transaction.
        let rows: Vec<StoredEventRow> =
            sqlx::query_as("fetch 1000 from orphaned_stakes").persistent(false).fetch_all(&mut **tx).await?;
        rows.into_iter().map(StoredEventRow::read).collect()
    }

    pub(in super::super) async fn close(self, tx: &mut Tx) -> Result<(), StoreError> {
        sqlx::raw_sql("close orphaned_stakes").execute(&mut **tx).await?;
        Ok(())
    }
}
