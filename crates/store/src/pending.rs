//! Pending events: published before they are confirmed. A row exists from the `pending` message to the message that ends it, and each
//! of these messages is written in the transaction that adds or deletes the row. So a restart finds exactly the events that wait.

use std::collections::BTreeMap;
use std::time::SystemTime;

use sqlx::postgres::PgConnection;

use chainflume_core::domain::{B256, BlockId, Event, Place};

use super::events::{Stored, StoredEventRow, readable};
use super::messages::EventRef;
use super::open::OpenChain;
use super::{ChainStore, Checkpoint, blocks, checkpoint, events, messages};
use chainflume_db::StoreError;
use chainflume_db::convert::{block_id, hash, int8};
use chainflume_db::transaction::{self, Tx};

/// Blocks above the checkpoints of a group of sources, with their events.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The checkpoints of the group's sources now.
    pub expected: Vec<Checkpoint>,
    /// The blocks, linked to each other, ascending.
    pub blocks: Vec<BlockId>,
    /// Every event of the group in them, in any order.
    pub events: Vec<Event>,
    /// The chain's head when they were read, for the confirmations in messages.
    pub head: u64,
    /// When that head was seen, to measure how long messages take.
    pub seen_at: Option<SystemTime>,
}

/// A block with a pending event of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingBlock {
    /// Name of the source, which may be no longer configured.
    pub source: String,
    /// The block.
    pub block: BlockId,
}

impl ChainStore {
    /// Publishes events as pending, unless their source does not publish them, or has published a later place already. So a
    /// second call changes nothing, and messages keep the order of the chain; an event that is left out is only confirmed
    /// later. Returns the number of published events. [`ChainStore::advance`] confirms them, [`ChainStore::rewind`] takes them
    /// back.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a checkpoint is not where expected, or something is stored or pending of another
    /// block at one of these heights; [`StoreError::Invalid`] when an event is not of these sources and blocks.
    pub async fn publish_pending(&self, pending: &Pending) -> Result<u64, StoreError> {
        let chain = &*self.chain;
        let ordered = events::in_order(chain, &pending.events)?;
        let refs = blocks::by_number(&pending.blocks)?;
        check_events(chain, pending, &ordered)?;
        let Some(lowest) = refs.keys().next() else { return Ok(0) };

        let mut tx = transaction::begin(&self.pool).await?;
        checkpoint::lock_chain(&mut tx, self).await?;
        checkpoint::check(&mut tx, chain, &pending.expected).await?;
        blocks::check(&mut tx, chain.id, &refs).await?;
        let published = published(&mut tx, chain, *lowest, &refs).await?;
        let mut unpublished =
            messages::published(&mut tx, chain, events::with_kinds(chain, &ordered)).await?;
        // `in_order` has refused events of unknown kinds.
        let newest =
            |event_ref: &EventRef<'_>| published.get(&chain.described(event_ref.kind_id).ok()?.source);
        unpublished
            .retain(|event_ref| newest(event_ref).is_none_or(|newest| *newest < event_ref.event.place));
        if !unpublished.is_empty() {
            let events: Vec<_> = unpublished.iter().map(|event_ref| event_ref.event).collect();
            events::write_while(&mut tx, chain, events::Table::Pending, &events, || ()).await?;
            messages::publish_pending(&mut tx, chain, &unpublished, (pending.head, pending.seen_at)).await?;
        }
        tx.commit().await?;

        Ok(unpublished.len() as u64)
    }

    /// Retracts pending events of sources that are no longer configured, or are blocked: they are not read any more, so no other
    /// message would end these events. If such a source returns, it reads the blocks as history. Returns their number.
    ///
    /// # Errors
    /// A database error.
    pub async fn retract_unfollowed(&self) -> Result<u64, StoreError> {
        let chain = &*self.chain;
        let sql = concat!(
            r"
            delete from pending_events where chain_id = $1
            and kind_id in (select id from event_kinds where source <> all($2)) returning
            ",
            readable!()
        );

        let mut tx = transaction::begin(&self.pool).await?;
        checkpoint::lock_chain(&mut tx, self).await?;
        let rows = sqlx::query_as(sql).bind(chain.id).bind(chain.followed()).fetch_all(&mut *tx).await?;
        let gone = in_order(rows)?;
        messages::retract_pending(&mut tx, chain, &gone).await?;
        tx.commit().await?;

        Ok(gone.len() as u64)
    }
}

/// Each event belongs to a source of the group, above its checkpoint, and to one of the blocks.
fn check_events(chain: &OpenChain, pending: &Pending, ordered: &[&Event]) -> Result<(), StoreError> {
    for event in ordered {
        let source = &chain.kind(event.fact.kind)?.source;
        let number = event.place.block_number;
        let checkpoint = pending.expected.iter().find(|checkpoint| checkpoint.source == *source);
        let above = checkpoint.is_some_and(|checkpoint| checkpoint.at.is_none_or(|at| at.number < number));
        if !above || !pending.blocks.contains(&BlockId { number, hash: event.block_hash }) {
            return Err(StoreError::invalid(format!(
                "the event of `{source}` at {} is not pending in these blocks",
                event.place
            )));
        }
    }
    Ok(())
}

/// The blocks with pending events, by source, ascending.
pub(super) async fn blocks(
    connection: &mut PgConnection,
    chain_id: i64,
) -> Result<Vec<PendingBlock>, StoreError> {
    let rows: Vec<(i64, String, Vec<u8>)> = sqlx::query_as(
        r"
        select distinct p.block_number, k.source, p.block_hash
        from pending_events p join event_kinds k on k.id = p.kind_id where p.chain_id = $1 order by 1, 2
        ",
    )
    .bind(chain_id)
    .fetch_all(connection)
    .await?;
    let read = |(number, source, hash): (i64, String, Vec<u8>)| {
        Ok(PendingBlock { source, block: block_id(number, &hash)? })
    };
    rows.into_iter().map(read).collect()
}

/// The newest place that each source published as pending, in blocks from `lowest` on. A conflict if one of these blocks differs
/// from the block in `refs` at its height.
async fn published(
    tx: &mut Tx,
    chain: &OpenChain,
    lowest: u64,
    refs: &BTreeMap<u64, B256>,
) -> Result<BTreeMap<String, Place>, StoreError> {
    let rows: Vec<(String, i64, i64, i64, Vec<u8>)> = sqlx::query_as(
        r"
        select k.source, p.block_number, p.tx_index, p.log_index, p.block_hash
        from pending_events p join event_kinds k on k.id = p.kind_id
        where p.chain_id = $1 and p.block_number >= $2 order by 2, 3, 4
        ",
    )
    .bind(chain.id)
    .bind(int8("block number", lowest)?)
    .fetch_all(&mut **tx)
    .await?;
    let mut published = BTreeMap::new();
    for (source, number, tx_index, log_index, block) in rows {
        let place = events::place(number, tx_index, log_index)?;
        let block = hash(&block)?;
        if refs.get(&place.block_number).is_some_and(|known| *known != block) {
            return Err(StoreError::conflict(format!("another block {number} is pending")));
        }
        published.insert(source, place);
    }
    Ok(published)
}

/// Ends the pending events of these sources up to block `to`. `confirmed` are their confirmed events. Returns the pending events to
/// retract: those that are not among the confirmed ones, because they were in another block or the source does not follow them.
pub(super) async fn end(
    tx: &mut Tx,
    chain: &OpenChain,
    sources: &[Checkpoint],
    to: u64,
    confirmed: &[&Event],
) -> Result<Vec<Stored>, StoreError> {
    let to = int8("block number", to)?;
    // First asks whether anything is pending: otherwise the names of the sources would be sent with every block.
    let some = "select exists (select from pending_events where chain_id = $1 and block_number <= $2)";
    if !sqlx::query_scalar::<_, bool>(some).bind(chain.id).bind(to).fetch_one(&mut **tx).await? {
        return Ok(Vec::new());
    }
    let sql = concat!(
        r"
        delete from pending_events where chain_id = $1 and block_number <= $2
        and kind_id in (select id from event_kinds where source = any($3)) returning
        ",
        readable!()
    );
    let sources: Vec<&str> = sources.iter().map(|checkpoint| checkpoint.source.as_str()).collect();
    let rows = sqlx::query_as(sql).bind(chain.id).bind(to).bind(sources).fetch_all(&mut **tx).await?;
    let mut ended = in_order(rows)?;
    if !ended.is_empty() {
        let known: BTreeMap<_, _> = events::with_kinds(chain, confirmed)
            .map(|(kind_id, event)| (event.place, (kind_id, event.block_hash)))
            .collect();
        ended.retain(|published| {
            known.get(&published.event.place) != Some(&(published.kind_id, published.event.block_hash))
        });
    }
    Ok(ended)
}

/// Removes what is pending above a block, in chain order.
pub(super) async fn take_above(
    tx: &mut Tx,
    chain: &OpenChain,
    above: u64,
) -> Result<Vec<Stored>, StoreError> {
    let sql = concat!(
        "delete from pending_events where chain_id = $1 and block_number > $2 returning ",
        readable!()
    );
    let rows =
        sqlx::query_as(sql).bind(chain.id).bind(int8("block number", above)?).fetch_all(&mut **tx).await?;
    in_order(rows)
}

/// Removes what is pending of these kinds, in chain order.
pub(super) async fn take_of(
    tx: &mut Tx,
    chain: &OpenChain,
    kinds: &[i32],
) -> Result<Vec<Stored>, StoreError> {
    let sql = concat!(
        "delete from pending_events where chain_id = $1 and kind_id = any($2) returning ",
        readable!()
    );
    in_order(sqlx::query_as(sql).bind(chain.id).bind(kinds).fetch_all(&mut **tx).await?)
}

fn in_order(rows: Vec<StoredEventRow>) -> Result<Vec<Stored>, StoreError> {
    let mut stored = rows.into_iter().map(StoredEventRow::read).collect::<Result<Vec<_>, _>>()?;
    stored.sort_by_key(|stored| stored.event.place);
    Ok(stored)
}
