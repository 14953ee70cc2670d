use std::collections::BTreeMap;

use crate::domain::BlockId;

use super::convert::int8;
use super::open::Chain;
use super::outbox::Announcement;
use super::transaction::{self, Tx};
use super::{ChainStore, Checkpoint, StoreError, blocks, checkpoint, dead_letters, events, projections};

/// A step back of a whole chain.
#[derive(Clone, Debug)]
pub struct Rewind {
    /// Every source of the chain as it stands now.
    pub expected: Vec<Checkpoint>,
    /// The common ancestor: the newest block that stays.
    pub to: BlockId,
}

/// What a rewind did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewound {
    /// Events taken back.
    pub events: u64,
    /// Blocks between the highest checkpoint before and the ancestor; 0 when nothing was above it.
    pub depth: u64,
    /// Every source as it stands now. One whose start block lies above the ancestor has no checkpoint any
    /// more: nothing of it is stored, and it begins anew.
    pub checkpoints: Vec<Checkpoint>,
}

impl ChainStore {
    /// Undoes everything above a block, in one transaction: events move to `orphaned_events`, what they
    /// changed is undone, checkpoints above go back to the block. [`ChainStore::advance`] is the inverse.
    ///
    /// # Errors
    /// [`StoreError::BelowFinal`]; [`StoreError::Conflict`] when a checkpoint is not where expected or
    /// another block is stored at the ancestor's height.
    pub async fn rewind(&self, rewind: &Rewind) -> Result<Rewound, StoreError> {
        let chain = &*self.chain;
        let to = rewind.to;

        let mut tx = transaction::begin(&self.pool, true).await?;
        let locked = checkpoint::lock_chain(&mut tx, chain).await?;
        let chain = &chain.refreshed(&mut tx).await?;
        if let Some(final_number) = locked.final_number.filter(|number| to.number < *number) {
            return Err(StoreError::BelowFinal { to: to.number, final_number });
        }
        blocks::check(&mut tx, chain.id, &BTreeMap::from([(to.number, to.hash)])).await?;
        check_events(&mut tx, chain, to).await?;
        let Some(tip) = checkpoint::rewind(&mut tx, chain, &rewind.expected, to).await? else {
            return Ok(Rewound { events: 0, depth: 0, checkpoints: rewind.expected.clone() });
        };
        let reorg = begin_record(&mut tx, chain, to, tip).await?;
        let events = events::orphan(&mut tx, chain, to.number, reorg).await?;
        let folded = events::fold_orphaned(&mut tx, reorg).await?;
        let orphaned = events::orphaned(&mut tx, reorg).await?;
        let announced = orphaned.iter().map(|stored| (stored.kind_id, &stored.event));
        let announcement = Announcement::begin(&mut tx, chain, announced).await?;
        dead_letters::rewind(&mut tx, chain, to.number).await?;
        projections::undo(&mut tx, chain, &folded).await?;
        blocks::rewind(&mut tx, chain.id, to).await?;
        finish_record(&mut tx, chain, reorg, events).await?;
        let checkpoints = checkpoint::read(&mut tx, chain).await?;
        announcement.retract(&mut tx, chain).await?;
        tx.commit().await?;

        Ok(Rewound { events, depth: tip.number - to.number, checkpoints })
    }
}

/// The ancestor must be the block whose events are stored.
async fn check_events(tx: &mut Tx, chain: &Chain, to: BlockId) -> Result<(), StoreError> {
    let other: bool = sqlx::query_scalar(
        "select exists (select from events where chain_id = $1 and block_number = $2 and block_hash <> $3)",
    )
    .bind(chain.id)
    .bind(int8("block number", to.number)?)
    .bind(to.hash.as_slice())
    .fetch_one(&mut **tx)
    .await?;
    if other {
        return Err(StoreError::conflict(format!("events of another block {} are stored", to.number)));
    }
    Ok(())
}

async fn begin_record(tx: &mut Tx, chain: &Chain, to: BlockId, tip: BlockId) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(
        "insert into reorgs (chain_id, ancestor_number, ancestor_hash, old_tip_number, old_tip_hash, depth, events) \
         values ($1, $2, $3, $4, $5, $4 - $2, 0) returning id",
    )
    .bind(chain.id)
    .bind(int8("block number", to.number)?)
    .bind(to.hash.as_slice())
    .bind(int8("block number", tip.number)?)
    .bind(tip.hash.as_slice())
    .fetch_one(&mut **tx)
    .await?)
}

async fn finish_record(tx: &mut Tx, chain: &Chain, reorg: i64, events: u64) -> Result<(), StoreError> {
    sqlx::query("update reorgs set events = $2 where id = $1")
        .bind(reorg)
        .bind(int8("events", events)?)
        .execute(&mut **tx)
        .await?;
    sqlx::query("update chains set reorgs = reorgs + 1 where chain_id = $1")
        .bind(chain.id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
