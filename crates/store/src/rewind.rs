use std::collections::BTreeMap;

use chainflume_core::domain::BlockId;

use super::open::OpenChain;
use super::undo::Undo;
use super::{ChainStore, Checkpoint, blocks, checkpoint, dead_letters, events, followed, messages, pending};
use chainflume_db::StoreError;
use chainflume_db::convert::int8;
use chainflume_db::transaction::{self, Tx};

/// A step back of a whole chain.
#[derive(Clone, Debug)]
pub struct Rewind {
    /// The checkpoint of every source of the chain now.
    pub expected: Vec<Checkpoint>,
    /// The common ancestor: the newest block that stays.
    pub to: BlockId,
    /// Whether an operator asks for it: then final blocks are undone too.
    pub by_operator: bool,
}

/// Why events were taken back: the reason of a record in `reorgs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoReason {
    /// A reorg of the chain.
    Reorg,
    /// `chainflume rewind`.
    Rewind,
    /// The audit or `verify --repair` proved that they are not on the chain.
    Repair,
    /// An operator deleted their source.
    Removal,
}

impl UndoReason {
    /// The word in `reorgs.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reorg => "reorg",
            Self::Rewind => "rewind",
            Self::Repair => "repair",
            Self::Removal => "removal",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Reorg, Self::Rewind, Self::Repair, Self::Removal];
        all.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// What a rewind did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewound {
    /// Events taken back.
    pub events: u64,
    /// Pending events taken back.
    pub retracted: u64,
    /// Blocks between the highest checkpoint before and the ancestor; 0 when nothing was above it.
    pub depth: u64,
    /// The checkpoint of every source now. A source whose start block is above the ancestor has no checkpoint any more: nothing
    /// of it is stored, and it begins anew.
    pub checkpoints: Vec<Checkpoint>,
}

impl ChainStore {
    /// Undoes everything above a block, in one transaction: events move to `orphaned_events`, what they changed is undone,
    /// checkpoints above go back to the block, and what was published is retracted, pending events included. The inverse of [`ChainStore::advance`] and [`ChainStore::publish_pending`].
    ///
    /// # Errors
    /// [`StoreError::BelowFinal`]; [`StoreError::Conflict`] when a checkpoint is not where expected or
    /// another block is stored at the ancestor's height.
    pub async fn rewind(&self, rewind: &Rewind) -> Result<Rewound, StoreError> {
        let chain = &*self.chain;
        let to = rewind.to;

        let mut tx = transaction::begin(&self.pool).await?;
        let locked = checkpoint::lock_chain(&mut tx, self).await?;
        let chain = &chain.refreshed(&mut tx).await?;
        let below = locked.final_number.filter(|number| to.number < *number);
        if let Some(final_number) = below.filter(|_| !rewind.by_operator) {
            return Err(StoreError::BelowFinal { to: to.number, final_number });
        }
        blocks::check(&mut tx, chain.id, &BTreeMap::from([(to.number, to.hash)])).await?;
        check_events(&mut tx, chain, to).await?;
        let tip = checkpoint::rewind(&mut tx, chain, &rewind.expected, to).await?;
        let gone = pending::take_above(&mut tx, chain, to.number).await?;
        let retracted = gone.len() as u64;
        let Some(tip) = tip else {
            messages::retract_pending(&mut tx, chain, &gone).await?;
            tx.commit().await?;
            return Ok(Rewound { events: 0, retracted, depth: 0, checkpoints: rewind.expected.clone() });
        };
        let reason = if rewind.by_operator { UndoReason::Rewind } else { UndoReason::Reorg };
        let reorg = begin_record(&mut tx, chain, (to, tip), reason).await?;
        let events = events::orphan(&mut tx, chain, to.number, reorg).await?;
        let undo = Undo::begin(&mut tx, chain, reorg).await?;
        dead_letters::rewind(&mut tx, chain, to.number).await?;
        blocks::rewind(&mut tx, chain.id, to).await?;
        lower_marks(&mut tx, chain, to.number).await?;
        followed::rewind(&mut tx, chain, to.number).await?;
        finish_record(&mut tx, chain, reorg, events).await?;
        let checkpoints = checkpoint::read(&mut tx, chain).await?;
        undo.retract(&mut tx, &gone).await?;
        tx.commit().await?;

        Ok(Rewound { events, retracted, depth: tip.number - to.number, checkpoints })
    }
}

/// A conflict if the stored events at the ancestor's height are of another block.
async fn check_events(tx: &mut Tx, chain: &OpenChain, to: BlockId) -> Result<(), StoreError> {
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

/// Lowers the final block and the verified blocks to the ancestor.
async fn lower_marks(tx: &mut Tx, chain: &OpenChain, to: u64) -> Result<(), StoreError> {
    let to = int8("block number", to)?;
    for sql in [
        "update chains set final_number = $2 where chain_id = $1 and final_number > $2",
        "update sources set verified_to = $2 where chain_id = $1 and verified_to > $2",
    ] {
        sqlx::query(sql).bind(chain.id).bind(to).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Opens the record of what is taken back; [`finish_record`] adds the number of events.
pub(super) async fn begin_record(
    tx: &mut Tx,
    chain: &OpenChain,
    (to, tip): (BlockId, BlockId),
    reason: UndoReason,
) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(
        r"
        insert into reorgs
            (chain_id, ancestor_number, ancestor_hash, old_tip_number, old_tip_hash, depth, events, reason)
        values ($1, $2, $3, $4, $5, $4::bigint - $2::bigint, 0, $6) returning id
        ",
    )
    .bind(chain.id)
    .bind(int8("block number", to.number)?)
    .bind(to.hash.as_slice())
    .bind(int8("block number", tip.number)?)
    .bind(tip.hash.as_slice())
    .bind(reason.as_str())
    .fetch_one(&mut **tx)
    .await?)
}

/// Adds to the record what was taken back, and raises the count of reorgs, by which a reader notices that the chain changed.
pub(super) async fn finish_record(
    tx: &mut Tx,
    chain: &OpenChain,
    reorg: i64,
    events: u64,
) -> Result<(), StoreError> {
    sqlx::query("update reorgs set events = events + $2 where id = $1")
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
