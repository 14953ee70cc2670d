//! The end of a stored source, in pages: each is a transaction that takes the newest events there are left, as a rewind does. The
//! first one marks the source and takes its checkpoint away, so that no daemon goes on with it; the last one takes the mark away.

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

/// Rows that one transaction deletes: a second or two of the chain's time, and some ten megabytes of memory.
pub const PAGE: u32 = 10_000;

/// Which source is to be emptied, and how.
#[derive(Clone, Copy, Debug)]
pub struct SourceDeletion<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether its registration and its views are deleted too; else it begins anew at its start block.
    pub forget: bool,
    /// The digest of its configuration, where it has one: see [`chainflume_core::domain::ConfiguredSource::digest`].
    pub asked: Option<&'a str>,
    /// Events in one transaction; a block is never divided.
    pub page: u32,
}

/// What was deleted of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletedRows {
    /// Events.
    pub events: u64,
    /// Events that were announced as pending.
    pub pending: u64,
}

impl Store {
    /// Deletes what is stored of a source and undoes what its events changed. What was announced is retracted. `report` gets the
    /// number of events deleted so far. `None` where it is not stored. Interrupted anywhere, the next call goes on.
    ///
    /// # Errors
    /// [`StoreError::View`] when something was built on one of its views, and [`StoreError::Led`]: nothing is changed then,
    /// unless a daemon started meanwhile.
    pub async fn empty_source(
        &self,
        emptying: &SourceDeletion<'_>,
        mut report: impl FnMut(u64),
    ) -> Result<Option<DeletedRows>, StoreError> {
        self.check_free(emptying.name, emptying.asked).await?;
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

    /// Marks the source, takes its checkpoint away and what is pending of it back; returns how much that was.
    async fn begin_emptying(
        &self,
        emptying: &SourceDeletion<'_>,
    ) -> Result<Option<(ChainStore, u64)>, StoreError> {
        let mut tx = transaction::begin(&self.pool, true).await?;
        let Some((source, chain)) = locked(&mut tx, emptying).await? else { return Ok(None) };
        let record = match source.emptying {
            Some(record) => record,
            None => mark(&mut tx, &chain, &source.name).await?,
        };
        checkpoint::forget(&mut tx, emptying.name).await?;
        let kinds = kinds(&mut tx, emptying.name).await?;
        let gone = pending::take_of(&mut tx, &chain, &kinds).await?;
        finish_record(&mut tx, &chain, record, 0).await?;
        messages::retract(&mut tx, &chain, gone.iter()).await?;
        tx.commit().await?;
        Ok(Some((ChainStore::beside(self, chain), gone.len() as u64)))
    }

    /// Takes the newest events back, as a repair takes back single ones, and deletes them. Returns how many; `None` where
    /// another command has ended it.
    async fn empty_page(&self, emptying: &SourceDeletion<'_>) -> Result<Option<u64>, StoreError> {
        let mut tx = transaction::begin(&self.pool, true).await?;
        let Some((source, chain)) = locked(&mut tx, emptying).await? else { return Ok(None) };
        let Some(record) = source.emptying else { return Ok(None) };
        let kinds = kinds(&mut tx, emptying.name).await?;
        let Some(from) = events::last_page(&mut tx, &kinds, emptying.page).await? else { return Ok(Some(0)) };
        let events = events::orphan_of(&mut tx, &chain, (&kinds, from), record).await?;
        let undo = Undo::begin(&mut tx, &chain, record).await?;
        finish_record(&mut tx, &chain, record, events).await?;
        undo.retract(&mut tx, &[]).await?;
        // The record is the same for every page, and only what is new in it was undone.
        sqlx::query("delete from orphaned_events where reorg_id = $1").bind(record).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(Some(events))
    }

    /// Deletes what is left beside the events, and takes the mark away.
    async fn end_emptying(&self, emptying: &SourceDeletion<'_>) -> Result<(), StoreError> {
        for sql in [
            // Of what reorgs took back before, too: the operator wants it gone.
            r"
            delete from orphaned_events where ctid = any(array(select o.ctid from orphaned_events o
            where o.kind_id in (select id from event_kinds where source = $1) limit $2))
            ",
            "delete from dead_letters where id in (select id from dead_letters where source = $1 limit $2)",
        ] {
            self.in_pages(sql, (emptying.name, emptying.page)).await?;
        }
        let mut tx = transaction::begin(&self.pool, true).await?;
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

    /// Runs a statement, which deletes `$2` rows of `$1` at most, until nothing is left.
    async fn in_pages(&self, sql: &'static str, (source, page): (&str, u32)) -> Result<(), StoreError> {
        loop {
            let mut tx = transaction::begin(&self.pool, true).await?;
            let done = sqlx::query(sql).bind(source).bind(i64::from(page)).execute(&mut *tx).await?;
            tx.commit().await?;
            if done.rows_affected() == 0 {
                return Ok(());
            }
        }
    }
}

/// The source and its chain, locked; `None` where it is not stored.
async fn locked(
    tx: &mut Tx,
    emptying: &SourceDeletion<'_>,
) -> Result<Option<(LockedSource, OpenChain)>, StoreError> {
    let Some(source) = lock(tx, emptying.name).await? else { return Ok(None) };
    source.check_free(tx, emptying.asked).await?;
    let chain = OpenChain::unconfigured(tx, source.chain_id).await?;
    Ok(Some((source, chain)))
}

/// Opens the record of the source's deletion, which has the checkpoint it had.
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

/// The checkpoint of a source, for the record; a source without one has no events.
async fn tip(tx: &mut Tx, source: &str) -> Result<BlockId, StoreError> {
    let row: Option<(i64, Vec<u8>)> =
        sqlx::query_as("select block_number, block_hash from checkpoints where source = $1")
            .bind(source)
            .fetch_optional(&mut **tx)
            .await?;
    row.map_or_else(|| Ok(BlockId { number: 0, hash: B256::ZERO }), |(number, hash)| block_id(number, &hash))
}
