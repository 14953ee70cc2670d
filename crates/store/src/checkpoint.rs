mod groups;

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;

use chainflume_core::domain::BlockId;

use super::open::OpenChain;
use super::{ChainStore, blocks};
use chainflume_db::StoreError;
use chainflume_db::convert::{block_id, int8, unsigned};
use chainflume_db::transaction::{self, Durability, Tx};
use chainflume_db::{Epoch, LeaseName};

pub(super) use groups::{advance, check, forget, renamed, rewind};

/// The durable tip of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the source.
    pub source: String,
    /// The newest block stored for it; `None` when nothing is stored yet.
    pub at: Option<BlockId>,
}

/// The decisions about a chain's sources that wait for the first head of a synced node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AwaitedHead {
    /// From which block on a source publishes.
    pub publication: bool,
    /// At which block a source begins.
    pub start: bool,
}

/// A chain's row while this transaction has it locked.
pub(super) struct LockedChain {
    pub(super) final_number: Option<u64>,
    pub(super) reorgs: u64,
}

impl ChainStore {
    /// [`super::StoreSnapshot::reorgs`] as it is now: it grows with every rewind, and when a source is emptied.
    ///
    /// # Errors
    /// A database error.
    pub async fn reorgs(&self) -> Result<u64, StoreError> {
        let reorgs: i64 = sqlx::query_scalar("select reorgs from chains where chain_id = $1")
            .bind(self.chain.id)
            .fetch_one(&self.pool)
            .await?;
        unsigned("reorgs", reorgs)
    }
}

impl ChainStore {
    /// The decisions that wait for the first head of a synced node.
    ///
    /// # Errors
    /// A database error.
    pub async fn awaits_first_head(&self) -> Result<AwaitedHead, StoreError> {
        let sql = r"
            select coalesce(bool_or(publish_from is null), false), coalesce(bool_or(start_block is null), false)
            from sources where chain_id = $1 and name = any($2)
        ";
        let (publication, start) =
            sqlx::query_as(sql).bind(self.chain.id).bind(&self.chain.sources).fetch_one(&self.pool).await?;
        Ok(AwaitedHead { publication, start })
    }

    /// Raises the final block of a chain whose sources have all stored their last block: no advance raises it any more.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the chain was rewound since `reorgs` was read; a database error.
    pub async fn settle(&self, final_number: u64, reorgs: u64) -> Result<(), StoreError> {
        let mut tx = transaction::begin(&self.pool).await?;
        if lock_chain(&mut tx, self).await?.reorgs != reorgs {
            return Err(StoreError::conflict("the chain was rewound since its final block was read"));
        }
        blocks::keep(&mut tx, self.chain.id, &BTreeMap::new(), final_number).await?;
        Ok(tx.commit().await?)
    }

    /// Makes the decisions that wait for the first head. A source that publishes from the head publishes above it. A source
    /// that begins at the latest block begins with it, and publishes from there. Earlier decisions stay.
    ///
    /// # Errors
    /// A database error.
    pub async fn decide_by_head(&self, head: u64) -> Result<(), StoreError> {
        let mut tx = transaction::begin(&self.pool).await?;
        lock_chain(&mut tx, self).await?;
        sqlx::query(
            r"
            update sources set start_block = coalesce(start_block, $2),
                publish_from = coalesce(publish_from, case when start_block is null then $2 else $2 + 1 end)
            where chain_id = $1 and name = any($3) and (publish_from is null or start_block is null)
            ",
        )
        .bind(self.chain.id)
        .bind(int8("block number", head)?)
        .bind(&self.chain.sources)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }
}

impl ChainStore {
    /// The chain as the holder of its lease writes it: each write is refused once another instance has taken the lease. A
    /// command beside the daemon has no lease, and only checkpoints and the count of reorgs fence it.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another instance has taken the lease already; a database error.
    pub async fn as_leader(mut self, epoch: Epoch) -> Result<Self, StoreError> {
        // The lease may be older than the chain's row.
        let raised = sqlx::query(
            r"
            update chains c set epoch = l.epoch from leases l
            where c.chain_id = $1 and l.name = $2 and l.epoch = $3 and c.epoch <= l.epoch
            ",
        )
        .bind(self.chain.id)
        .bind(LeaseName::chain(self.chain.number()))
        .bind(int8("epoch", epoch.number())?)
        .execute(&self.pool)
        .await?;
        if raised.rows_affected() == 0 {
            return Err(StoreError::fenced(LeaseName::chain(self.chain.number())));
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
            (select block_number, block_hash from source_groups where chain_id = $1 and block_number <= $2
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

/// A transaction of the chain's leader beside the one that locks the chain's row; this one must not lock it. The next leader
/// raises the epoch and then ends every session with the mark of this chain. So either that leader finds the mark, or this
/// transaction finds the new epoch: nothing in it outlives the lease.
pub(super) async fn begin_beside(store: &ChainStore, durability: Durability) -> Result<Tx, StoreError> {
    let mut tx = transaction::begin_marked(&store.pool, store.chain.id, durability).await?;
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
        false => Err(StoreError::fenced(LeaseName::chain(store.chain.number()))),
    }
}

/// Makes this transaction the chain's only writer until it ends. Refuses a leader whose lease another instance has taken. No
/// instance can take the lease from here on, because that raises the epoch in this row.
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

pub(super) fn locked((final_number, reorgs): (Option<i64>, i64)) -> Result<LockedChain, StoreError> {
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

/// The checkpoint of one source.
pub(super) async fn of(tx: &mut Tx, chain: &OpenChain, source: &str) -> Result<Option<BlockId>, StoreError> {
    let sql = "select block_number, block_hash from checkpoints where chain_id = $1 and source = $2";
    let row: Option<(i64, Vec<u8>)> =
        sqlx::query_as(sql).bind(chain.id).bind(source).fetch_optional(&mut **tx).await?;
    row.map(|(number, hash)| block_id(number, &hash)).transpose()
}
