//! Opens hints again whose confirming event a reorg undid. They keep the block at which they are due.

use sqlx::postgres::PgPool;

use super::{ComparedChain, Comparison};
use chainflume_db::StoreError;
use chainflume_db::convert::int8;
use chainflume_db::transaction;

/// The newest reorg of a chain after a given one.
const NEWEST: &str = "select max(id) from reorgs where chain_id = $1 and id > $2";

/// After a restart only the reorgs of a day are processed again: a hint is due long before that. For a followed hint
/// the receipt decides. The removal of a source also undoes events, but the chain still has them.
const REOPEN: &str = r"
    update inbound_hints h set state = 'open', compared_at = now()
    from (
        select distinct o.tx_hash from reorgs r join orphaned_events o on o.reorg_id = r.id
        where r.chain_id = $1 and r.id > $2 and r.id <= $3 and r.detected_at > now() - interval '1 day'
            and r.reason <> 'removal'
    ) lost
    where h.chain_id = $1 and h.tx_hash = lost.tx_hash and h.state = 'confirmed' and not h.followed
        and not exists (
            select from events e where e.chain_id = $1 and e.tx_hash = h.tx_hash
            and e.block_number >= h.due_block - 2 * $4 and e.block_number <= h.due_block
            and (h.address is null or e.address = h.address)
        )
";

impl Comparison {
    /// Opens the hints again whose events were undone by reorgs since the last round.
    pub(super) async fn reopen(&self, chain: &ComparedChain) -> Result<(), StoreError> {
        let chain_id = int8("chain id", chain.chain_id)?;
        let looked_at = self.looked_at(chain.chain_id);
        let Some(newest) = newest(&self.pool, chain_id, looked_at).await? else { return Ok(()) };
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        let reopen = sqlx::query(REOPEN).bind(chain_id).bind(looked_at).bind(newest);
        reopen.bind(int8("blocks", chain.window)?).execute(&mut *tx).await?;
        tx.commit().await?;
        self.reorgs().insert(chain.chain_id, newest);
        Ok(())
    }

    fn looked_at(&self, chain_id: u64) -> i64 {
        self.reorgs().get(&chain_id).copied().unwrap_or(0)
    }
}

async fn newest(pool: &PgPool, chain_id: i64, looked_at: i64) -> Result<Option<i64>, StoreError> {
    let mut tx = transaction::begin_look(pool).await?;
    let newest = sqlx::query_scalar(NEWEST).bind(chain_id).bind(looked_at).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(newest)
}
