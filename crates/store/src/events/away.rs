//! Away: from `events` to `orphaned_events`, and what was there.

use futures_util::TryStreamExt;

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

/// As [`orphan`], of the events at these places.
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

/// Where the last `page` events of these kinds begin: the block of the first of them, lower where that has more of them. A page
/// ends earlier when its arguments fill [`PAGE_BYTES`]. `None` where no event is left.
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

/// As [`orphan`], of the events of these kinds from a block on.
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

/// What was taken back counts no longer.
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

/// What the events a reorg took back had changed. Read back and folded by the domain's own rule, so that
/// what is undone is what was done; streamed, so that memory grows with the keys and not with the events.
pub(in super::super) async fn fold_orphaned(tx: &mut Tx, reorg: i64) -> Result<ProjectionDelta, StoreError> {
    let sql = concat!(
        "select ",
        readable!(),
        " from orphaned_events where reorg_id = $1 and projection <> 'n' ",
        "order by block_number, tx_index, log_index"
    );
    let mut folded = ProjectionDelta::default();
    let mut rows = sqlx::query_as::<_, StoredEventRow>(sql).bind(reorg).fetch(&mut **tx);
    while let Some(row) = rows.try_next().await? {
        let stored = row.read()?;
        if let Some(change) = ProjectionChange::of(stored.projection, &stored.event) {
            folded.push(change);
        }
    }
    Ok(folded)
}

/// The events a reorg took back that were announced, in chain order.
pub(in super::super) async fn orphaned(tx: &mut Tx, reorg: i64) -> Result<Vec<Stored>, StoreError> {
    let sql = concat!(
        "select ",
        readable!(),
        " from orphaned_events where reorg_id = $1 and block_number >= (select min(publish_from) from sources) ",
        "order by block_number, tx_index, log_index"
    );
    let rows: Vec<StoredEventRow> = sqlx::query_as(sql).bind(reorg).fetch_all(&mut **tx).await?;
    rows.into_iter().map(StoredEventRow::read).collect()
}
