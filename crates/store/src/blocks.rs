//! The reorg window: number and hash of recent blocks.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;

use chainflume_core::domain::{B256, BlockId};

use chainflume_db::StoreError;
use chainflume_db::convert::{block_id, int8};
use chainflume_db::transaction::Tx;

/// The blocks of a chain's reorg window, ascending.
pub(super) async fn read(connection: &mut PgConnection, chain_id: i64) -> Result<Vec<BlockId>, StoreError> {
    let rows: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("select number, hash from blocks where chain_id = $1 order by number")
            .bind(chain_id)
            .fetch_all(connection)
            .await?;
    rows.iter().map(|(number, hash)| block_id(*number, hash)).collect()
}

/// The blocks by height. A conflict where two hashes are given for one height.
pub(super) fn by_number<'a>(
    refs: impl IntoIterator<Item = &'a BlockId>,
) -> Result<BTreeMap<u64, B256>, StoreError> {
    let mut by_number = BTreeMap::new();
    for id in refs {
        let hash = *by_number.entry(id.number).or_insert(id.hash);
        if hash != id.hash {
            return Err(StoreError::conflict(format!("block {} is given with two hashes", id.number)));
        }
    }
    Ok(by_number)
}

/// Conflict when the store knows another block at one of these heights, in the window or under a checkpoint
/// (a source that lags may be below the window).
///
/// The stored blocks are fetched, and the given ones are not sent: a range of history has thousands of blocks, and the
/// window usually has none of them.
pub(super) async fn check(tx: &mut Tx, chain_id: i64, refs: &BTreeMap<u64, B256>) -> Result<(), StoreError> {
    let (Some((first, _)), Some((last, _))) = (refs.first_key_value(), refs.last_key_value()) else {
        return Ok(());
    };
    let held: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        r"
        select number, hash from blocks where chain_id = $1 and number between $2 and $3
        union all
        select block_number, block_hash from source_groups where chain_id = $1 and block_number between $2 and $3
        order by 1
        ",
    )
    .bind(chain_id)
    .bind(int8("block number", *first)?)
    .bind(int8("block number", *last)?)
    .fetch_all(&mut **tx)
    .await?;
    for (number, hash) in held {
        let held = block_id(number, &hash)?;
        if refs.get(&held.number).is_some_and(|hash| *hash != held.hash) {
            return Err(StoreError::conflict(format!("another block {number} is stored")));
        }
    }
    Ok(())
}

/// Those that [`keep`] would keep: the newest at or below final, and all above.
pub(super) fn window(mut refs: BTreeMap<u64, B256>, final_number: u64) -> BTreeMap<u64, B256> {
    match refs.range(..=final_number).next_back().map(|(number, _)| *number) {
        Some(anchor) => refs.split_off(&anchor),
        None => refs,
    }
}

/// Raises the chain's final block, adds missing blocks to the window, and keeps all blocks above final and the newest one
/// at or below it, where the search for a common ancestor ends. One statement, because every block at the head waits for it.
pub(super) async fn keep(
    tx: &mut Tx,
    chain_id: i64,
    refs: &BTreeMap<u64, B256>,
    final_number: u64,
) -> Result<(), StoreError> {
    let (numbers, hashes) = arrays(refs)?;
    sqlx::query(
        r"
        with final as (
            update chains set final_number = greatest(final_number, $2) where chain_id = $1 returning final_number
        ), given as (
            select number, hash from unnest($3::bigint[], $4::bytea[]) as g (number, hash)
        ), anchor as (
            -- By the index from its end: on a chain that finalizes nothing for hours the window has many blocks.
            select greatest(
                (select max(g.number) from given g, final f where g.number <= f.final_number),
                (select max(b.number) from blocks b where b.chain_id = $1
                    and b.number <= (select final_number from final))
            ) as number
        ), added as (
            insert into blocks (chain_id, number, hash)
            select $1, g.number, g.hash from given g, anchor a where a.number is null or g.number >= a.number
            on conflict on constraint blocks_pkey do nothing
        )
        delete from blocks b using anchor a where b.chain_id = $1 and b.number < a.number
        ",
    )
    .bind(chain_id)
    .bind(int8("final block", final_number)?)
    .bind(numbers)
    .bind(hashes)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Deletes the blocks above `to` and makes sure that `to` is there.
pub(super) async fn rewind(tx: &mut Tx, chain_id: i64, to: BlockId) -> Result<(), StoreError> {
    sqlx::query("delete from blocks where chain_id = $1 and number > $2")
        .bind(chain_id)
        .bind(int8("block number", to.number)?)
        .execute(&mut **tx)
        .await?;
    sqlx::query("insert into blocks (chain_id, number, hash) values ($1, $2, $3) on conflict on constraint blocks_pkey do nothing")
        .bind(chain_id)
        .bind(int8("block number", to.number)?)
        .bind(to.hash.as_slice())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn arrays(refs: &BTreeMap<u64, B256>) -> Result<(Vec<i64>, Vec<&[u8]>), StoreError> {
    let numbers = refs.keys().map(|number| int8("block number", *number)).collect::<Result<_, _>>()?;
    Ok((numbers, refs.values().map(|hash| hash.as_slice()).collect()))
}
