//! Deletes a stored source in pages. Each page is a transaction that takes back the newest remaining events, as a rewind does. The
//! first one marks the source and removes its checkpoint, so that no daemon continues it; the last one removes the mark.

use chainflume_core::domain::{B256, BlockId};

use super::messages;
use super::open::OpenChain;
use super::rewind::{UndoReason, begin_record, finish_record};
use super::sources::{LockedSource, lock};
use super::undo::Undo;
use super::{ChainStore, Store, checkpoint, events, pending};
use chainflume_db::StoreError;
use chainflume_db::convert::block_id;
use chainflume_db::transaction::{self, Tx};

/// Rows that one transaction deletes: it blocks the chain for a second or two and takes some ten megabytes of memory.
pub const PAGE: u32 = 10_000;

/// The source to delete from, and how.
#[derive(Clone, Copy, Debug)]
pub struct SourceDeletion<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether its registration and its views are deleted too; otherwise it begins anew at its start block.
    pub forget: bool,
    /// The digest of its configuration ([`chainflume_core::domain::ConfiguredSource::digest`]); `None` if it is not configured.
    pub digest: Option<&'a str>,
    /// Events in one transaction, about: a block is never divided.
    pub page: u32,
}

/// What was deleted of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletedRows {
    /// Events.
    pub events: u64,
    /// Events that were published as pending.
    pub pending: u64,
}

impl Store {
    /// Deletes what is stored of a source, undoes what its events changed, and retracts what was published of them. `report` gets
    /// the number of events deleted so far. Returns `None` for a source that is not stored. After an interruption the next call
    /// continues.
    ///
    /// # Errors
    /// [`StoreError::View`] when another object depends on one of its views; [`StoreError::Led`]. Nothing is changed then, unless
    /// a daemon started meanwhile.
    pub async fn empty_source(
        &self,
        emptying: &SourceDeletion<'_>,
        mut report: impl FnMut(u64),
    ) -> Result<Option<DeletedRows>, StoreError> {
        self.check_free(emptying.name, emptying.digest).await?;
        if emptying.forget {
            self.drop_views(Some(emptying.name)).await?;
        }
        let Some((chain, pending)) = self.begin_emptying(emptying).await? else { return Ok(None) };
        // Each page is found by index.
        chain.build_indexes().await?;
        let mut emptied = DeletedRows { events: 0, pending };
        while let Some(events @ 1..) = self.empty_page(emptying).await? {
            emptied.events += events;
            report(emptied.events);
        }
        self.end_emptying(emptying).await?;
        Ok(Some(emptied))
    }

    /// Marks the source, removes its checkpoint and retracts its pending events; returns their number.
    async fn begin_emptying(
        &self,
        emptying: &SourceDeletion<'_>,
    ) -> Result<Option<(ChainStore, u64)>, StoreError> {
        let mut tx = transaction::begin(&self.pool).await?;
        let Some((source, chain)) = locked(&mut tx, emptying).await? else { return Ok(None) };
        let record = match source.emptying {
            Some(record) => record,
            None => mark(&mut tx, &chain, &source.name).await?,
        };
        checkpoint::forget(&mut tx, emptying.name).await?;
        let kinds = kinds(&mut tx, emptying.name).await?;
        let gone = pending::take_of(&mut tx, &chain, &kinds).await?;
        finish_record(&mut tx, &chain, record, 0).await?;
        messages::retract_pending(&mut tx, &chain, &gone).await?;
        tx.commit().await?;
        Ok(Some((ChainStore::beside(self, chain), gone.len() as u64)))
    }

    /// Takes back a page of the newest events, as a repair takes back single ones, and deletes them. Returns their number; `None`
    /// if another command has finished the deletion.
    async fn empty_page(&self, emptying: &SourceDeletion<'_>) -> Result<Option<u64>, StoreError> {
        let mut tx = transaction::begin(&self.pool).await?;
        let Some((source, chain)) = locked(&mut tx, emptying).await? else { return Ok(None) };
        let Some(record) = source.emptying else { return Ok(None) };
        let kinds = kinds(&mut tx, emptying.name).await?;
        let Some(from) = events::last_page(&mut tx, &kinds, emptying.page).await? else { return Ok(Some(0)) };
        let events = events::orphan_of(&mut tx, &chain, (&kinds, from), record).await?;
        let undo = Undo::begin(&mut tx, &chain, record).await?;
        finish_record(&mut tx, &chain, record, events).await?;
        undo.retract(&mut tx, &[]).await?;
        // All pages use one record. Its events were undone here, so the next page must not find them.
        sqlx::query("delete from orphaned_events where reorg_id = $1").bind(record).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(Some(events))
    }

    /// Deletes what is left besides the events, and removes the mark.
    async fn end_emptying(&self, emptying: &SourceDeletion<'_>) -> Result<(), StoreError> {
        for sql in [
            // Also what earlier reorgs took back: the operator wants all of it deleted.
            r"
            delete from orphaned_events where ctid = any(array(select o.ctid from orphaned_events o
            where o.kind_id in (select id from event_kinds where source = $1) limit $2))
            ",
            "delete from dead_letters where id in (select id from dead_letters where source = $1 limit $2)",
        ] {
            self.in_pages(sql, emptying).await?;
        }
        let mut tx = transaction::begin(&self.pool).await?;
        if locked(&mut tx, emptying).await?.is_none_or(|(source, _)| source.emptying.is_none()) {
            return Ok(());
        }
        let end: &[&'static str] = match emptying.forget {
            true => &["delete from event_kinds where source = $1", "delete from sources where name = $1"],
            false => &[
                "delete from followed where source = $1",
                "update sources set emptying = null, verified_to = null where name = $1",
            ],
        };
        for sql in end {
            sqlx::query(*sql).bind(emptying.name).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Runs a statement until it deletes nothing more. It deletes at most `$2` rows of the source `$1`.
    async fn in_pages(&self, sql: &'static str, emptying: &SourceDeletion<'_>) -> Result<(), StoreError> {
        let (source, page) = (emptying.name, i64::from(emptying.page));
        loop {
            let mut tx = transaction::begin(&self.pool).await?;
            let done = sqlx::query(sql).bind(source).bind(page).execute(&mut *tx).await?;
            tx.commit().await?;
            if done.rows_affected() == 0 {
                return Ok(());
            }
        }
    }
}

/// The source and its chain, locked; `None` if the source is not stored.
async fn locked(
    tx: &mut Tx,
    emptying: &SourceDeletion<'_>,
) -> Result<Option<(LockedSource, OpenChain)>, StoreError> {
    let Some(source) = lock(tx, emptying.name).await? else { return Ok(None) };
    source.check_free(tx, emptying.digest).await?;
    let chain = OpenChain::unconfigured(tx, source.chain_id).await?;
    Ok(Some((source, chain)))
}

/// Opens the record of the source's deletion, with the checkpoint that it had.
async fn mark(tx: &mut Tx, chain: &OpenChain, source: &str) -> Result<i64, StoreError> {
    let tip = tip(tx, source).await?;
    let record = begin_record(tx, chain, (tip, tip), UndoReason::Removal).await?;
    sqlx::query("update sources set emptying = $2, verified_to = null where name = $1")
        .bind(source)
        .bind(record)
        .execute(&mut **tx)
        .await?;
    Ok(record)
}

async fn kinds(tx: &mut Tx, source: &str) -> Result<Vec<i32>, StoreError> {
    let sql = "select id from event_kinds where source = $1";
    Ok(sqlx::query_scalar(sql).bind(source).fetch_all(&mut **tx).await?)
}

/// The checkpoint of a source, for the record; a source without a checkpoint has no events.
async fn tip(tx: &mut Tx, source: &str) -> Result<BlockId, StoreError> {
    let row: Option<(i64, Vec<u8>)> =
        sqlx::query_as("select block_number, block_hash from checkpoints where source = $1")
            .bind(source)
            .fetch_optional(&mut **tx)
            .await?;
    row.map_or_else(|| Ok(BlockId { number: 0, hash: B256::ZERO }), |(number, hash)| block_id(number, &hash))
}
