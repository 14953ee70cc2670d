//! What holds at any moment, whatever was committed, undone or torn: looked at in one snapshot.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use chainflume_devchain::DevChain;
use sqlx::postgres::PgPool;

use super::ground::Ground;
use super::plan::World;
use super::sources::index_of;
use crate::fold::{fold, held};

/// Source and block to the number of logs kept of it.
type Kept = BTreeMap<(String, B256), u64>;

/// Folds events anew, the plain way, and compares with what the store folded; counts the differences.
const FOLDS: &str = "\
with moves as ( \
    select address, account as holder, -amount as change from events where projection = 'b' \
    union all \
    select address, counterparty, amount from events where projection = 'b' \
), balances as ( \
    select address, holder, sum(change) as balance, count(*) as events from moves \
    where holder <> decode(repeat('00', 20), 'hex') group by 1, 2 \
), staked as ( \
    select address, account, sum(amount) as amount, count(*) as events, max(block_time) as last_at \
    from events where projection = 's' group by 1, 2 \
), given as ( \
    select address, token_id, counterparty, block_number, tx_index, log_index from events where projection = 'o' \
    union all \
    select address, generate_series(token_id, (args ->> 'toTokenId')::numeric), counterparty, block_number, tx_index, log_index \
    from events where projection = 'r' \
), owned as ( \
    select distinct on (address, token_id) address, token_id, counterparty as owner from given \
    order by address, token_id, block_number desc, tx_index desc, log_index desc \
), counted as ( \
    select k.id, count(e.kind_id) as events from event_kinds k left join events e on e.kind_id = k.id group by 1 \
) \
select \
    (select count(*) from balances b full join token_balances t \
        on t.token = b.address and t.account = b.holder and t.balance = b.balance and t.events = b.events \
        where t.token is null or b.address is null) as balances, \
    (select count(*) from staked s full join stakes t \
        on t.contract = s.address and t.account = s.account and t.amount = s.amount \
            and t.events = s.events and t.last_at = s.last_at \
        where t.contract is null or s.address is null) as stakes, \
    (select count(*) from (select * from owned where owner <> decode(repeat('00', 20), 'hex')) o full join nft_owners t \
        on t.contract = o.address and t.token_id = o.token_id and t.owner = o.owner \
        where t.contract is null or o.address is null) as owners, \
    (select count(*) from counted c join event_kinds k using (id) where k.events <> c.events) as counters";

/// Source, block and number of the events that are published and not confirmed yet.
pub async fn published(pool: &PgPool) -> Result<Vec<(String, B256, u64)>, String> {
    let rows: Vec<(String, Vec<u8>, i64)> = sqlx::query_as(
        "select k.source, p.block_hash, count(*) from pending_events p join event_kinds k on k.id = p.kind_id \
         group by 1, 2",
    )
    .fetch_all(pool)
    .await
    .map_err(words)?;
    let read =
        |(source, hash, count): (String, Vec<u8>, i64)| (source, hash_of(&hash), count.cast_unsigned());
    Ok(rows.into_iter().map(read).collect())
}

/// The messages, one after the other, leave what the tables hold.
async fn messages(tx: &mut sqlx::PgTransaction<'_>) -> Result<(), String> {
    let text: Vec<String> = sqlx::query_scalar("select message from outbox order by seq")
        .fetch_all(&mut **tx)
        .await
        .map_err(words)?;
    let folded = fold(&text)?;
    let held = held(tx).await.map_err(words)?;
    match (folded.confirmed == held.confirmed, folded.pending == held.pending) {
        (true, true) => Ok(()),
        sides => Err(format!("messages do not fold to the tables (events, pending events): {sides:?}")),
    }
}

/// Every source holds exactly the logs of the branch of its checkpoint, from its start block to the
/// checkpoint: none is missing, none is above, none is of another branch. And projections follow the events.
pub async fn look(pool: &PgPool, ground: &Ground, world: &World) -> Result<(), String> {
    let mut tx = pool.begin_with("begin isolation level repeatable read read only").await.map_err(words)?;
    let checkpoints: Vec<(String, i64, Vec<u8>)> =
        sqlx::query_as("select source, block_number, block_hash from checkpoints")
            .fetch_all(&mut *tx)
            .await
            .map_err(words)?;
    let kept: Vec<(String, Vec<u8>, i64)> = sqlx::query_as(
        "select source, block_hash, sum(kept)::bigint from ( \
             select k.source, e.block_hash, count(*) as kept from events e join event_kinds k on k.id = e.kind_id \
             group by 1, 2 \
             union all \
             select source, block_hash, count(*) from dead_letters group by 1, 2 \
         ) t group by 1, 2",
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(words)?;
    let folds: (i64, i64, i64, i64) = sqlx::query_as(FOLDS).fetch_one(&mut *tx).await.map_err(words)?;
    messages(&mut tx).await?;
    tx.commit().await.map_err(words)?;

    let kept: Kept = kept
        .into_iter()
        .map(|(source, hash, count)| ((source, hash_of(&hash)), count.cast_unsigned()))
        .collect();
    let mut due = Kept::new();
    for (source, number, hash) in checkpoints {
        let at = (number.cast_unsigned(), hash_of(&hash));
        expect(ground, world, (&source, at), &mut due)?;
    }
    compare(ground, &kept, &due)?;
    if folds != (0, 0, 0, 0) {
        return Err(format!(
            "projections do not follow from events (balances, stakes, owners, counters): {folds:?}"
        ));
    }
    Ok(())
}

/// What a source at this block has to hold.
fn expect(
    ground: &Ground,
    world: &World,
    (source, (number, mut hash)): (&str, (u64, B256)),
    due: &mut Kept,
) -> Result<(), String> {
    let index = index_of(source).ok_or_else(|| format!("a source that is not configured: {source}"))?;
    let start = world.starts[index];
    for height in (start..=number).rev() {
        let block = ground.block(&hash).filter(|block| block.number == height);
        let Some(block) = block else {
            return Err(format!("{source} is at {number}, on a block {height} that never was: {hash}"));
        };
        if block.logs[index] > 0 {
            due.insert((source.to_owned(), hash), block.logs[index]);
        }
        hash = block.parent;
    }
    Ok(())
}

fn compare(ground: &Ground, kept: &Kept, due: &Kept) -> Result<(), String> {
    let place =
        |hash: &B256| ground.block(hash).map_or("never seen".to_owned(), |block| block.number.to_string());
    let wrong = kept.iter().find(|(key, count)| due.get(key) != Some(count));
    if let Some(((source, hash), count)) = wrong {
        let due = due.get(&(source.clone(), *hash)).copied().unwrap_or(0);
        return Err(format!("{source} keeps {count} logs of block {} ({hash}), due are {due}", place(hash)));
    }
    let missing = due.iter().find(|(key, _)| !kept.contains_key(key));
    match missing {
        None => Ok(()),
        Some(((source, hash), count)) => {
            Err(format!("{source} keeps none of the {count} logs of block {} ({hash})", place(hash)))
        }
    }
}

fn words(error: sqlx::Error) -> String {
    format!("the test cannot read its own database: {error}")
}

/// What a fresh sync cannot be compared with: the reorg window and the record of what was orphaned.
pub async fn implausible(pool: &PgPool, chain: &DevChain, ground: &Ground) -> Option<String> {
    let window: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("select number, hash from blocks").fetch_all(pool).await.expect("a table");
    for (number, hash) in window {
        let canonical = chain.block(number.cast_unsigned()).map(|block| block.hash.to_vec());
        if canonical.as_ref() != Some(&hash) {
            return Some(format!("blocks holds another block {number} than the chain"));
        }
    }
    let orphaned: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("select distinct block_number, block_hash from orphaned_events")
            .fetch_all(pool)
            .await
            .expect("a table");
    let wrongly = orphaned.into_iter().find(|(_, hash)| !ground.is_gone(&hash_of(hash)));
    wrongly.map(|(number, _)| format!("events of block {number} were undone, and it was never dropped"))
}

fn hash_of(bytes: &[u8]) -> B256 {
    B256::try_from(bytes).expect("a hash has 32 bytes")
}
