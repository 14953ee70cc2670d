//! How checkpoints move. Sources that are at the same block and move together share a row of `source_groups`, so that a block at
//! the head moves one row. The row has a digest of the sources' names: a writer compares it with the digest of its own sources.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{Checkpoint, read};
use crate::open::OpenChain;
use chainflume_core::domain::BlockId;
use chainflume_db::StoreError;
use chainflume_db::convert::{block_id, int8};
use chainflume_db::transaction::Tx;

/// Digest of the names of a group's sources, in any order.
fn digest<'a>(names: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    let mut digest = Sha256::new();
    for name in names {
        digest.update(name);
        digest.update([0]);
    }
    digest.finalize().to_vec()
}

/// The block of all of these, and the digest of their names; `None` if they are at different blocks.
fn as_group(expected: &[Checkpoint]) -> Option<(BlockId, Vec<u8>)> {
    let at = expected.first()?.at?;
    let together = expected.iter().all(|checkpoint| checkpoint.at == Some(at));
    together.then(|| (at, digest(expected.iter().map(|checkpoint| checkpoint.source.as_str()))))
}

fn moved_on() -> StoreError {
    StoreError::conflict("a source's checkpoint is not where it was")
}

/// Moves every expected checkpoint to `to`, or none: the compare-and-set that fences off a second writer.
pub(crate) async fn advance(
    tx: &mut Tx,
    chain: &OpenChain,
    expected: &[Checkpoint],
    to: BlockId,
) -> Result<(), StoreError> {
    if expected.is_empty() || move_group(tx, chain, expected, to).await? {
        return Ok(());
    }
    let members = digest(expected.iter().map(|checkpoint| checkpoint.source.as_str()));
    let group: i64 = sqlx::query_scalar(
        "insert into source_groups (chain_id, block_number, block_hash, members) values ($1, $2, $3, $4) returning id",
    )
    .bind(chain.id)
    .bind(int8("block number", to.number)?)
    .bind(to.hash.as_slice())
    .bind(members)
    .fetch_one(&mut **tx)
    .await?;
    regroup(tx, chain, expected, group).await
}

/// Moves the row of a group that has these sources and no others; `false` where there is none at that block.
async fn move_group(
    tx: &mut Tx,
    chain: &OpenChain,
    expected: &[Checkpoint],
    to: BlockId,
) -> Result<bool, StoreError> {
    let Some((at, members)) = as_group(expected) else { return Ok(false) };
    let moved = sqlx::query(
        r"
        update source_groups set block_number = $2, block_hash = $3, updated_at = now()
        where chain_id = $1 and block_number = $4 and block_hash = $5 and members = $6
        ",
    )
    .bind(chain.id)
    .bind(int8("block number", to.number)?)
    .bind(to.hash.as_slice())
    .bind(int8("block number", at.number)?)
    .bind(at.hash.as_slice())
    .bind(members)
    .execute(&mut **tx)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// Moves each source into a new group, if it is where expected. Groups without sources go.
async fn regroup(
    tx: &mut Tx,
    chain: &OpenChain,
    expected: &[Checkpoint],
    group: i64,
) -> Result<(), StoreError> {
    let names: Vec<&str> = expected.iter().map(|checkpoint| checkpoint.source.as_str()).collect();
    let number =
        |checkpoint: &Checkpoint| checkpoint.at.map(|at| int8("block number", at.number)).transpose();
    let numbers = expected.iter().map(number).collect::<Result<Vec<_>, _>>()?;
    let hashes: Vec<Option<Vec<u8>>> =
        expected.iter().map(|checkpoint| checkpoint.at.map(|at| at.hash.to_vec())).collect();
    let left: Vec<i64> = sqlx::query_scalar(
        "select distinct group_id from sources where chain_id = $1 and name = any($2) and group_id is not null",
    )
    .bind(chain.id)
    .bind(&names)
    .fetch_all(&mut **tx)
    .await?;
    let moved = sqlx::query(
        r"
        update sources s set group_id = $2
        from unnest($3::text[], $4::bigint[], $5::bytea[]) as e (source, number, hash)
            left join source_groups g on g.chain_id = $1 and g.id = any($6)
                and g.block_number = e.number and g.block_hash = e.hash
        where s.chain_id = $1 and s.name = e.source and s.group_id is not distinct from g.id
            and (e.number is null) = (g.id is null)
        ",
    )
    .bind(chain.id)
    .bind(group)
    .bind(names)
    .bind(numbers)
    .bind(hashes)
    .bind(&left)
    .execute(&mut **tx)
    .await?;
    if moved.rows_affected() != expected.len() as u64 {
        return Err(moved_on());
    }
    tidy(tx, &left).await
}

/// Cleans up after sources left these groups: deletes empty groups, and forgets the digests of the others.
async fn tidy(tx: &mut Tx, groups: &[i64]) -> Result<(), StoreError> {
    for sql in [
        "delete from source_groups g where g.id = any($1) and not exists (select from sources s where s.group_id = g.id)",
        "update source_groups set members = null where id = any($1)",
    ] {
        sqlx::query(sql).bind(groups).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Removes the checkpoint of a source.
pub(crate) async fn forget(tx: &mut Tx, source: &str) -> Result<(), StoreError> {
    let group: Option<Option<i64>> = sqlx::query_scalar("select group_id from sources where name = $1")
        .bind(source)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(group) = group.flatten() else { return Ok(()) };
    sqlx::query("update sources set group_id = null where name = $1").bind(source).execute(&mut **tx).await?;
    tidy(tx, &[group]).await
}

/// Forgets the digest of a renamed source's group, which is of the old names.
pub(crate) async fn renamed(tx: &mut Tx, source: &str) -> Result<(), StoreError> {
    sqlx::query(
        "update source_groups set members = null where id = (select group_id from sources where name = $1)",
    )
    .bind(source)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Conflict unless every one of these sources is where expected: the compare without the set.
pub(crate) async fn check(tx: &mut Tx, chain: &OpenChain, expected: &[Checkpoint]) -> Result<(), StoreError> {
    if let Some((at, members)) = as_group(expected) {
        let sql = r"
            select exists (select from source_groups
            where chain_id = $1 and block_number = $2 and block_hash = $3 and members = $4)
        ";
        let is_there: bool = sqlx::query_scalar(sql)
            .bind(chain.id)
            .bind(int8("block number", at.number)?)
            .bind(at.hash.as_slice())
            .bind(members)
            .fetch_one(&mut **tx)
            .await?;
        if is_there {
            return Ok(());
        }
    }
    let stored = read(tx, chain).await?;
    let stored: BTreeMap<&str, Option<BlockId>> =
        stored.iter().map(|checkpoint| (checkpoint.source.as_str(), checkpoint.at)).collect();
    let is_there = |expected: &Checkpoint| stored.get(expected.source.as_str()) == Some(&expected.at);
    match expected.iter().all(is_there) {
        true => Ok(()),
        false => Err(moved_on()),
    }
}

/// Moves every checkpoint above `to` back to it, those of sources that are no longer configured included, after checking
/// that all are where expected. A source that begins above `to` has nothing left and so no checkpoint: it begins anew, as in
/// a fresh sync. Returns the highest checkpoint before, if any was above.
pub(crate) async fn rewind(
    tx: &mut Tx,
    chain: &OpenChain,
    expected: &[Checkpoint],
    to: BlockId,
) -> Result<Option<BlockId>, StoreError> {
    let mut stored = read(tx, chain).await?;
    let mut expected = expected.to_vec();
    for side in [&mut stored, &mut expected] {
        side.sort_by(|a, b| a.source.cmp(&b.source));
    }
    if stored != expected {
        return Err(moved_on());
    }
    let to_number = int8("block number", to.number)?;
    let above: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(
        r"
        select id, block_number, block_hash from source_groups where chain_id = $1 and block_number > $2
        order by block_number desc, id
        ",
    )
    .bind(chain.id)
    .bind(to_number)
    .fetch_all(&mut **tx)
    .await?;
    let Some((_, number, hash)) = above.first() else { return Ok(None) };
    let tip = block_id(*number, hash)?;
    let groups: Vec<i64> = above.iter().map(|(id, ..)| *id).collect();
    let begin_anew =
        sqlx::query("update sources set group_id = null where group_id = any($1) and start_block > $2")
            .bind(&groups)
            .bind(to_number)
            .execute(&mut **tx)
            .await?;
    if begin_anew.rows_affected() > 0 {
        tidy(tx, &groups).await?;
    }
    sqlx::query(
        "update source_groups set block_number = $2, block_hash = $3, updated_at = now() where id = any($1)",
    )
    .bind(&groups)
    .bind(to_number)
    .bind(to.hash.as_slice())
    .execute(&mut **tx)
    .await?;
    Ok(Some(tip))
}
