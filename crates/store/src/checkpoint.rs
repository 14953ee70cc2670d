use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;

use chainflume_core::domain::BlockId;

use super::open::OpenChain;
use super::{ChainStore, PendingBlock, blocks, pending};
use chainflume_db::StoreError;
use chainflume_db::convert::{block_id, int8, unsigned};
use chainflume_db::transaction::{self, Tx};
use chainflume_db::{Epoch, chain_lease};

/// The durable tip of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the source.
    pub source: String,
    /// The newest block stored for it; `None` when nothing is stored yet.
    pub at: Option<BlockId>,
}

/// What the store holds of a chain, all read at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSnapshot {
    /// Of every configured source, in the order of the configuration.
    pub checkpoints: Vec<Checkpoint>,
    /// Hashes in the reorg window, ascending.
    pub blocks: Vec<BlockId>,
    /// Nothing at or below is undone.
    pub final_number: Option<u64>,
    /// Rewinds so far.
    pub reorgs: u64,
    /// Blocks of which events wait to be confirmed, once for each of their sources.
    pub pending: Vec<PendingBlock>,
}

/// A chain's row while this transaction has it locked.
pub(super) struct LockedChain {
    pub(super) final_number: Option<u64>,
    pub(super) reorgs: u64,
}

impl ChainStore {
    /// [`StoreSnapshot::reorgs`] as it is now: it grows with every rewind, and when a source is emptied.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn reorgs(&self) -> Result<u64, StoreError> {
        let reorgs: i64 = sqlx::query_scalar("select reorgs from chains where chain_id = $1")
            .bind(self.chain.id)
            .fetch_one(&self.pool)
            .await?;
        unsigned("reorgs", reorgs)
    }

    /// What the store holds of the chain.
    ///
    /// # Errors
    /// A database error.
    pub async fn held(&self) -> Result<StoreSnapshot, StoreError> {
        let mut tx = transaction::begin_snapshot(&self.pool).await?;
        let sql = "select final_number, reorgs from chains where chain_id = $1";
        let row = sqlx::query_as(sql).bind(self.chain.id).fetch_one(&mut *tx).await?;
        let LockedChain { final_number, reorgs } = locked(row)?;
        let held = StoreSnapshot {
            checkpoints: read(&mut tx, &self.chain).await?,
            blocks: blocks::read(&mut tx, self.chain.id).await?,
            final_number,
            reorgs,
            pending: pending::blocks(&mut tx, self.chain.id).await?,
        };
        tx.commit().await?;
        Ok(held)
    }
}

impl ChainStore {
    /// Whether a source is to be announced from the head on, and no head was known yet.
    ///
    /// # Errors
    /// A database error.
    pub async fn awaits_publication(&self) -> Result<bool, StoreError> {
        let sql = "select exists (select from sources where chain_id = $1 and name = any($2) and publish_from is null)";
        Ok(sqlx::query_scalar(sql)
            .bind(self.chain.id)
            .bind(&self.chain.sources)
            .fetch_one(&self.pool)
            .await?)
    }

    /// Sources that are to be announced from the head on, and for which no head was known yet, are announced above
    /// this one.
    ///
    /// # Errors
    /// A database error.
    pub async fn publish_above(&self, head: u64) -> Result<(), StoreError> {
        let mut tx = transaction::begin(&self.pool, true).await?;
        lock_chain(&mut tx, self).await?;
        sqlx::query("update sources set publish_from = $2 where chain_id = $1 and name = any($3) and publish_from is null")
            .bind(self.chain.id)
            .bind(int8("block number", head.saturating_add(1))?)
            .bind(&self.chain.sources)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }
}

impl ChainStore {
    /// For the holder of the chain's lease: from now on, every write of the result is refused once another has taken the
    /// lease. Without, a writer is fenced by checkpoints and the count of reorgs alone, as a command beside the
    /// daemon is.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another instance has taken it already; a database error.
    pub async fn lead(mut self, epoch: Epoch) -> Result<Self, StoreError> {
        // The lease may be older than the chain's row.
        let raised = sqlx::query(
            r"
            update chains c set epoch = l.epoch from leases l
            where c.chain_id = $1 and l.name = $2 and l.epoch = $3 and c.epoch <= l.epoch
            ",
        )
        .bind(self.chain.id)
        .bind(chain_lease(self.chain.number()))
        .bind(int8("epoch", epoch.number())?)
        .execute(&self.pool)
        .await?;
        if raised.rows_affected() == 0 {
            return Err(StoreError::fenced(chain_lease(self.chain.number())));
        }
        self.epoch = Some(epoch);
        Ok(self)
    }
}

impl ChainStore {
    /// The block stored at a height: from the checkpoints, the reorg window or an event; `None` where it is not stored.
    ///
    /// # Errors
    /// A database error.
    pub async fn hash_at(&self, number: u64) -> Result<Option<BlockId>, StoreError> {
        Ok(self.known_at_or_below(number).await?.filter(|known| known.number == number))
    }

    /// The highest block at or below a height whose hash is stored.
    ///
    /// # Errors
    /// A database error.
    pub async fn known_at_or_below(&self, number: u64) -> Result<Option<BlockId>, StoreError> {
        let row: Option<(i64, Vec<u8>)> = sqlx::query_as(
            r"
            (select number, hash from blocks where chain_id = $1 and number <= $2 order by number desc limit 1)
            union all
            (select block_number, block_hash from checkpoints where chain_id = $1 and block_number <= $2
                order by block_number desc limit 1)
            union all
            (select block_number, block_hash from events where chain_id = $1 and block_number <= $2
                order by block_number desc limit 1)
            order by 1 desc limit 1
            ",
        )
        .bind(self.chain.id)
        .bind(int8("block number", number)?)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|(number, hash)| block_id(number, &hash)).transpose()
    }
}

/// A transaction beside the chain's only writer, for the leader of the chain: it must not lock the chain's row. Nothing in it
/// outlives the lease: the next holder raises the epoch, and then ends every session with this mark. So either the
/// mark is seen there, or the new epoch here.
pub(super) async fn begin_beside(store: &ChainStore, durable: bool) -> Result<Tx, StoreError> {
    let mut tx = transaction::begin_marked(&store.pool, store.chain.id, durable).await?;
    if let Some(led) = store.epoch {
        let sql = "select epoch from chains where chain_id = $1";
        let epoch: i64 = sqlx::query_scalar(sql).bind(store.chain.id).fetch_one(&mut *tx).await?;
        check_epoch(store, led, epoch)?;
    }
    Ok(tx)
}

fn check_epoch(store: &ChainStore, led: Epoch, epoch: i64) -> Result<(), StoreError> {
    match led.number() == unsigned("epoch", epoch)? {
        true => Ok(()),
        false => Err(StoreError::fenced(chain_lease(store.chain.number()))),
    }
}

/// Makes this transaction the chain's only writer until it ends. A writer that leads the chain is refused when another
/// instance leads it now: no instance can take the lease from here on, because that raises the epoch in this row.
pub(super) async fn lock_chain(tx: &mut Tx, store: &ChainStore) -> Result<LockedChain, StoreError> {
    let chain = &store.chain;
    let sql = "select final_number, reorgs, epoch from chains where chain_id = $1 for update";
    let row: Option<(Option<i64>, i64, i64)> =
        sqlx::query_as(sql).bind(chain.id).fetch_optional(&mut **tx).await?;
    let gone = || StoreError::conflict(format!("chain {} is gone", chain.id));
    let (final_number, reorgs, epoch) = row.ok_or_else(gone)?;
    if let Some(led) = store.epoch {
        check_epoch(store, led, epoch)?;
    }
    locked((final_number, reorgs))
}

fn locked((final_number, reorgs): (Option<i64>, i64)) -> Result<LockedChain, StoreError> {
    Ok(LockedChain {
        final_number: final_number.map(|number| unsigned("final block", number)).transpose()?,
        reorgs: unsigned("reorgs", reorgs)?,
    })
}

/// The configured sources' checkpoints, in the configuration's order.
pub(super) async fn read(
    connection: &mut PgConnection,
    chain: &OpenChain,
) -> Result<Vec<Checkpoint>, StoreError> {
    let stored: Vec<(String, i64, Vec<u8>)> =
        sqlx::query_as("select source, block_number, block_hash from checkpoints where chain_id = $1")
            .bind(chain.id)
            .fetch_all(connection)
            .await?;
    // A map: with thousands of sources a search for each of them would take longer than the rest of a block.
    let stored: BTreeMap<String, (i64, Vec<u8>)> =
        stored.into_iter().map(|(source, number, hash)| (source, (number, hash))).collect();
    let checkpoint = |source: &String| {
        let at = stored.get(source).map(|(number, hash)| block_id(*number, hash)).transpose()?;
        Ok(Checkpoint { source: source.clone(), at })
    };
    chain.sources.iter().map(checkpoint).collect()
}

/// Where one source stands.
pub(super) async fn of(tx: &mut Tx, chain: &OpenChain, source: &str) -> Result<Option<BlockId>, StoreError> {
    let sql = "select block_number, block_hash from checkpoints where chain_id = $1 and source = $2";
    let row: Option<(i64, Vec<u8>)> =
        sqlx::query_as(sql).bind(chain.id).bind(source).fetch_optional(&mut **tx).await?;
    row.map(|(number, hash)| block_id(number, &hash)).transpose()
}

/// Moves every expected checkpoint to `to`, or none: the compare-and-set that fences off a second writer.
pub(super) async fn advance(
    tx: &mut Tx,
    chain: &OpenChain,
    expected: &[Checkpoint],
    to: BlockId,
) -> Result<(), StoreError> {
    let (mut fresh, mut sources, mut numbers, mut hashes) = (vec![], vec![], vec![], vec![]);
    for checkpoint in expected {
        match &checkpoint.at {
            None => fresh.push(checkpoint.source.as_str()),
            Some(at) => {
                sources.push(checkpoint.source.as_str());
                numbers.push(int8("block number", at.number)?);
                hashes.push(at.hash.as_slice());
            }
        }
    }
    let to_number = int8("block number", to.number)?;
    let mut done = 0;
    if !sources.is_empty() {
        let moved = sqlx::query(
            r"
            update checkpoints c set block_number = $2, block_hash = $3, updated_at = now()
            from unnest($4::text[], $5::bigint[], $6::bytea[]) as e (source, number, hash)
            where c.chain_id = $1 and c.source = e.source and c.block_number = e.number and c.block_hash = e.hash
            ",
        )
        .bind(chain.id)
        .bind(to_number)
        .bind(to.hash.as_slice())
        .bind(sources)
        .bind(numbers)
        .bind(hashes);
        done += moved.execute(&mut **tx).await?.rows_affected();
    }
    if !fresh.is_empty() {
        let begun = sqlx::query(
            r"
            insert into checkpoints (source, chain_id, block_number, block_hash)
            select source, $1, $2, $3 from unnest($4::text[]) as e (source)
            on conflict on constraint checkpoints_pkey do nothing
            ",
        )
        .bind(chain.id)
        .bind(to_number)
        .bind(to.hash.as_slice())
        .bind(fresh);
        done += begun.execute(&mut **tx).await?.rows_affected();
    }
    if done != expected.len() as u64 {
        return Err(StoreError::conflict("a source's checkpoint is not where it was"));
    }
    Ok(())
}

/// Conflict unless every one of these sources stands where expected: the compare without the set.
pub(super) async fn check(tx: &mut Tx, chain: &OpenChain, expected: &[Checkpoint]) -> Result<(), StoreError> {
    let stored = read(tx, chain).await?;
    let stored: BTreeMap<&str, Option<BlockId>> =
        stored.iter().map(|checkpoint| (checkpoint.source.as_str(), checkpoint.at)).collect();
    let stands = |expected: &Checkpoint| stored.get(expected.source.as_str()) == Some(&expected.at);
    match expected.iter().all(stands) {
        true => Ok(()),
        false => Err(StoreError::conflict("a source's checkpoint is not where it was")),
    }
}

/// Takes every checkpoint above `to` back to it, after checking that all stand where expected. Sources
/// that are no longer configured go along. A source that begins above `to` has nothing left and so no
/// checkpoint: it begins anew, like in a fresh sync. Returns the highest checkpoint before, if any was above.
pub(super) async fn rewind(
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
        return Err(StoreError::conflict("a source's checkpoint is not where it was"));
    }
    let to_number = int8("block number", to.number)?;
    let tip: Option<(i64, Vec<u8>)> = sqlx::query_as(
        r"
        select block_number, block_hash from checkpoints where chain_id = $1 and block_number > $2
        order by block_number desc, source limit 1
        ",
    )
    .bind(chain.id)
    .bind(to_number)
    .fetch_optional(&mut **tx)
    .await?;
    sqlx::query(
        r"
        delete from checkpoints c using sources s
        where c.chain_id = $1 and c.block_number > $2 and s.name = c.source and s.start_block > $2
        ",
    )
    .bind(chain.id)
    .bind(to_number)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        r"
        update checkpoints set block_number = $2, block_hash = $3, updated_at = now()
        where chain_id = $1 and block_number > $2
        ",
    )
    .bind(chain.id)
    .bind(to_number)
    .bind(to.hash.as_slice())
    .execute(&mut **tx)
    .await?;
    tip.map(|(number, hash)| block_id(number, &hash)).transpose()
}
