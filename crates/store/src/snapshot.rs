use chainflume_core::domain::BlockId;

use super::checkpoint::{self, LockedChain};
use super::{ChainStore, Checkpoint, PendingBlock, blocks, pending};
use chainflume_db::StoreError;
use chainflume_db::transaction;

/// The state of a chain in the store, read at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSnapshot {
    /// Of every configured source, in the order of the configuration.
    pub checkpoints: Vec<Checkpoint>,
    /// Hashes in the reorg window, ascending.
    pub blocks: Vec<BlockId>,
    /// The newest final block: nothing at or below it is undone.
    pub final_number: Option<u64>,
    /// Number of rewinds so far.
    pub reorgs: u64,
    /// Blocks of which events wait to be confirmed, once for each of their sources.
    pub pending: Vec<PendingBlock>,
}

impl ChainStore {
    /// The state of the chain in the store.
    ///
    /// # Errors
    /// A database error.
    pub async fn snapshot(&self) -> Result<StoreSnapshot, StoreError> {
        let mut tx = transaction::begin_snapshot(&self.pool).await?;
        let sql = "select final_number, reorgs from chains where chain_id = $1";
        let row = sqlx::query_as(sql).bind(self.chain.id).fetch_one(&mut *tx).await?;
        let LockedChain { final_number, reorgs } = checkpoint::locked(row)?;
        let held = StoreSnapshot {
            checkpoints: checkpoint::read(&mut tx, &self.chain).await?,
            blocks: blocks::read(&mut tx, self.chain.id).await?,
            final_number,
            reorgs,
            pending: pending::blocks(&mut tx, self.chain.id).await?,
        };
        tx.commit().await?;
        Ok(held)
    }
}
