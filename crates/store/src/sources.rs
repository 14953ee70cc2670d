//! What an operator decides about a stored source: its name, or its end. Each is one transaction that locks the registration
//! and the chain's row, so it works beside a running daemon and is done whole or not at all.

use chainflume_core::domain::{B256, BlockId};

use super::convert::block_id;
use super::open::Chain;
use super::outbox::Announcement;
use super::rewind::{Reason, begin_record, finish_record};
use super::transaction::{self, Tx};
use super::{Store, StoreError, events, pending, projections};

/// What was deleted of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emptied {
    /// Events.
    pub events: u64,
    /// Events that were announced as pending.
    pub pending: u64,
}

impl Store {
    /// Gives a stored source another name and keeps its data. Returns whether it was done: not where `old` is not stored or
    /// `new` is. Its typed views are dropped; the next start creates them under the new name.
    ///
    /// # Errors
    /// [`StoreError::View`] when something was built on one of its views: nothing is changed then.
    pub async fn rename_source(&self, old: &str, new: &str) -> Result<bool, StoreError> {
        self.drop_views(Some(old)).await?;
        let mut tx = transaction::begin(&self.pool, true).await?;
        if lock(&mut tx, old).await?.is_none() {
            return Ok(false);
        }
        let copied = sqlx::query(
            "insert into sources (name, chain_id, family, start_block, decimals, publish_from, verified_to) \
             select $2, chain_id, family, start_block, decimals, publish_from, verified_to from sources where name = $1 \
             on conflict on constraint sources_name_key do nothing",
        )
        .bind(old)
        .bind(new)
        .execute(&mut *tx)
        .await?;
        if copied.rows_affected() == 0 {
            return Ok(false);
        }
        for sql in [
            "update checkpoints set source = $2 where source = $1",
            "update event_kinds set source = $2 where source = $1",
            "update followed set source = $2 where source = $1",
            "update dead_letters set source = $2 where source = $1",
        ] {
            sqlx::query(sql).bind(old).bind(new).execute(&mut *tx).await?;
        }
        sqlx::query("delete from sources where name = $1").bind(old).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Deletes what is stored of a source and undoes what its events changed. What was announced is retracted. `forget` deletes
    /// its registration and its views too; else it begins anew at its start block. `None` where it is not stored.
    ///
    /// # Errors
    /// [`StoreError::View`] when something was built on one of its views: nothing is changed then.
    pub async fn empty_source(&self, name: &str, forget: bool) -> Result<Option<Emptied>, StoreError> {
        if forget {
            self.drop_views(Some(name)).await?;
        }
        let mut tx = transaction::begin(&self.pool, true).await?;
        let Some(chain_id) = lock(&mut tx, name).await? else { return Ok(None) };
        let chain = Chain::unconfigured(&mut tx, chain_id).await?;
        let emptied = take_all(&mut tx, &chain, name).await?;
        for sql in [
            "delete from dead_letters where source = $1",
            "delete from followed where source = $1",
            "delete from checkpoints where source = $1",
            "update sources set verified_to = null where name = $1",
        ] {
            sqlx::query(sql).bind(name).execute(&mut *tx).await?;
        }
        if forget {
            for sql in ["delete from event_kinds where source = $1", "delete from sources where name = $1"] {
                sqlx::query(sql).bind(name).execute(&mut *tx).await?;
            }
        }
        tx.commit().await?;
        Ok(Some(emptied))
    }
}

/// Locks the registration and the row of the source's chain; `None` where the source is not stored.
async fn lock(tx: &mut Tx, source: &str) -> Result<Option<i64>, StoreError> {
    transaction::lock(tx, transaction::REGISTRATION).await?;
    Ok(sqlx::query_scalar(
        "select c.chain_id from chains c join sources s on s.chain_id = c.chain_id where s.name = $1 for update of c",
    )
    .bind(source)
    .fetch_optional(&mut **tx)
    .await?)
}

/// Takes every event of a source back, as a repair takes back single ones, and deletes it.
async fn take_all(tx: &mut Tx, chain: &Chain, source: &str) -> Result<Emptied, StoreError> {
    let kinds: Vec<i32> = sqlx::query_scalar("select id from event_kinds where source = $1")
        .bind(source)
        .fetch_all(&mut **tx)
        .await?;
    let gone = pending::take_of(tx, chain, &kinds).await?;
    let tip = tip(tx, source).await?;
    let record = begin_record(tx, chain, (tip, tip), Reason::Repair).await?;
    let events = events::orphan_of(tx, chain, &kinds, record).await?;
    let folded = events::fold_orphaned(tx, record).await?;
    let orphaned = events::orphaned(tx, record).await?;
    let announced = orphaned.iter().map(|stored| (stored.kind_id, &stored.event));
    let announcement = Announcement::of_undone(tx, chain, announced).await?.taking_back(&gone);
    projections::undo(tx, chain, &folded).await?;
    finish_record(tx, chain, record, events).await?;
    announcement.retract(tx, chain).await?;
    // Of what reorgs took back before, too: the operator wants it gone.
    sqlx::query("delete from orphaned_events where kind_id = any($1)")
        .bind(&kinds)
        .execute(&mut **tx)
        .await?;
    Ok(Emptied { events, pending: gone.len() as u64 })
}

/// The checkpoint of a source, for the record; a source without one has no events.
async fn tip(tx: &mut Tx, source: &str) -> Result<BlockId, StoreError> {
    let row: Option<(i64, Vec<u8>)> =
        sqlx::query_as("select block_number, block_hash from checkpoints where source = $1")
            .bind(source)
            .fetch_optional(&mut **tx)
            .await?;
    row.map_or_else(|| Ok(BlockId { number: 0, hash: B256::ZERO }), |(number, hash)| block_id(number, &hash))
}
