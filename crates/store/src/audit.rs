//! Compares stored events with the chain as it is now.

mod disputed;

use std::collections::{BTreeMap, BTreeSet};

use chainflume_core::domain::{BlockId, BlockRange, Event, Place};

use super::backfill::{check_fresh, check_range, check_reached, same};
use super::events::Stored;
use super::messages::Publication;
use super::open::OpenChain;
use super::rewind::{UndoReason, begin_record, finish_record};
use super::undo::Undo;
use super::{
    Backfill, ChainStore, Compared, ProvenBlocks, blocks, checkpoint, dead_letters, events, projections,
};
use chainflume_db::StoreError;
use chainflume_db::convert::{int8, unsigned};
use chainflume_db::transaction::{self, Tx};
pub use disputed::DisputedEvent;

/// Stored events that are compared at once: some ten megabytes.
const PAGE: u32 = if cfg!(test) { 4 } else { 20_000 };

impl ChainStore {
    /// Compares the stored events of a source in a range with the given events, which must be complete. Writes nothing.
    ///
    /// # Errors
    /// As [`ChainStore::backfill`].
    pub async fn compare(&self, reread: &Backfill) -> Result<Compared, StoreError> {
        let chain = &*self.chain;
        let ordered = events::in_order(chain, &reread.events)?;
        check_range(chain, reread, &ordered)?;
        let (_, stored) = self.stored(reread).await?;
        Ok(Sides::new(self, ordered, &reread.source, &stored)?.compared())
    }

    /// The part of a range that one comparison should read: from its first block to the block at which the stored events of
    /// the source fill a page. A node without logs answers for any width, so its answer does not bound what is read here.
    ///
    /// # Errors
    /// A database error.
    pub async fn first_page(&self, source: &str, range: BlockRange) -> Result<BlockRange, StoreError> {
        let mut tx = transaction::begin_snapshot(&self.pool).await?;
        let beyond = events::beyond_page(&mut tx, &self.chain, source, range, PAGE).await?;
        let width = beyond.map_or(range.width(), |block| block.saturating_sub(range.from()));
        Ok(range.split_at_width(width.max(1)).0)
    }

    /// The stored events of the same source and range, and the snapshot that they were read in.
    async fn stored(&self, reread: &Backfill) -> Result<(Tx, BTreeMap<Place, Stored>), StoreError> {
        let chain = &*self.chain;
        let mut tx = transaction::begin_snapshot(&self.pool).await?;
        let reorgs: i64 = sqlx::query_scalar("select reorgs from chains where chain_id = $1")
            .bind(chain.id)
            .fetch_one(&mut *tx)
            .await?;
        check_fresh(reread, unsigned("reorgs", reorgs)?)?;
        check_reached(&mut tx, chain, reread).await?;
        let stored = events::of_source(&mut tx, chain, &reread.source, reread.range).await?;
        Ok((tx, stored))
    }

    /// Makes the stored events of a source in a range equal to the given events, with messages, in one transaction. Missing
    /// events are added. Surplus events are taken back as by a reorg, and differing ones are replaced, but only where
    /// `proven` allows it. Returns what was done.
    ///
    /// # Errors
    /// As [`ChainStore::backfill`]; [`StoreError::Conflict`] when the given blocks are not those of the checkpoints or the
    /// reorg window: then more than single events is wrong, and a rewind is the remedy.
    pub async fn repair(&self, reread: &Backfill, proven: &ProvenBlocks) -> Result<Compared, StoreError> {
        let chain = &*self.chain;
        let ordered = events::in_order(chain, &reread.events)?;
        check_range(chain, reread, &ordered)?;
        let mut tx = transaction::begin(&self.pool).await?;
        let locked = checkpoint::lock_chain(&mut tx, self).await?;
        check_fresh(reread, locked.reorgs)?;
        let reached = check_reached(&mut tx, chain, reread).await?;
        let stored = events::of_source(&mut tx, chain, &reread.source, reread.range).await?;
        let mut sides = Sides::new(self, ordered, &reread.source, &stored)?;
        sides.keep_unproven(proven);
        let compared = sides.compared();
        let given: Vec<BlockId> = sides.add.iter().map(|event| block_of(event)).collect();
        blocks::check(&mut tx, chain.id, &blocks::by_number(&given)?).await?;
        if !sides.take_back.is_empty() {
            take_back(&mut tx, chain, &reread.source, reached, &sides.take_back).await?;
        }
        add(&mut tx, chain, Audited { reread, proven }, &sides.add, reached).await?;
        tx.commit().await?;
        Ok(compared)
    }

    /// How far each configured source was compared, in the configuration's order; `None` where nothing was.
    ///
    /// # Errors
    /// A database error.
    pub async fn verified(&self) -> Result<Vec<Option<u64>>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "select name, verified_to from sources where chain_id = $1 and verified_to is not null",
        )
        .bind(self.chain.id)
        .fetch_all(&self.pool)
        .await?;
        let rows: BTreeMap<String, i64> = rows.into_iter().collect();
        let one = |name| rows.get(name).map(|to| unsigned("block number", *to)).transpose();
        self.chain.sources.iter().map(one).collect()
    }

    /// Records that everything of a source up to block `to` was compared. `reorgs` is the count before the comparison.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the chain was rewound since then: the comparison is void.
    pub async fn set_verified(&self, source: &str, to: u64, reorgs: u64) -> Result<(), StoreError> {
        let done = sqlx::query(
            r"
            update sources s set verified_to = $3 from chains c
            where s.chain_id = $1 and s.name = $2 and c.chain_id = s.chain_id and c.reorgs = $4
            ",
        )
        .bind(self.chain.id)
        .bind(source)
        .bind(int8("block number", to)?)
        .bind(int8("reorgs", reorgs)?)
        .execute(&self.pool)
        .await?;
        match done.rows_affected() {
            1 => Ok(()),
            _ => Err(StoreError::conflict("the chain was rewound since its blocks were compared")),
        }
    }
}

/// Given and stored events, sorted by what has to be done.
struct Sides<'a> {
    present: u64,
    /// Given and not stored, or stored otherwise: the events at `missing` and at `differing`.
    add: Vec<&'a Event>,
    /// Stored and not given, or given otherwise.
    take_back: Vec<Place>,
    missing: Vec<Place>,
    differing: Vec<Place>,
    not_followed: u64,
}

impl<'a> Sides<'a> {
    fn new(
        store: &ChainStore,
        ordered: Vec<&'a Event>,
        source: &str,
        stored: &BTreeMap<Place, Stored>,
    ) -> Result<Self, StoreError> {
        let chain = &*store.chain;
        let mut left: BTreeSet<Place> = stored.keys().copied().collect();
        let (add, take_back, missing, differing) = (vec![], vec![], vec![], vec![]);
        let mut sides = Self { present: 0, add, take_back, missing, differing, not_followed: 0 };
        for event in ordered {
            match stored.get(&event.place) {
                Some(stored) if same(chain, stored, event)? => {
                    left.remove(&event.place);
                    sides.present += 1;
                    continue;
                }
                Some(_) => sides.differing.push(event.place),
                None => sides.missing.push(event.place),
            }
            sides.add.push(event);
        }
        let given: BTreeSet<Place> = sides.differing.iter().copied().collect();
        let all = left.len();
        let followed = |place: &Place| stored.get(place).is_some_and(|event| store.follows(source, event));
        sides.take_back = left.into_iter().filter(|place| given.contains(place) || followed(place)).collect();
        sides.not_followed = (all - sides.take_back.len()) as u64;
        Ok(sides)
    }

    /// Keeps stored events that are not proven wrong, and adds nothing in their places.
    fn keep_unproven(&mut self, proven: &ProvenBlocks) {
        let differing: BTreeSet<Place> = self.differing.iter().copied().collect();
        self.take_back.retain(|place| proven.places.contains(place));
        self.differing.retain(|place| proven.places.contains(place));
        self.add.retain(|event| !differing.contains(&event.place) || proven.places.contains(&event.place));
    }

    fn compared(&self) -> Compared {
        let differing: BTreeSet<&Place> = self.differing.iter().collect();
        let surplus = self.take_back.iter().filter(|place| !differing.contains(place));
        Compared {
            present: self.present,
            missing: self.missing.clone(),
            differing: self.differing.clone(),
            surplus: surplus.copied().collect(),
            not_followed: self.not_followed,
        }
    }
}

fn block_of(event: &Event) -> BlockId {
    BlockId { number: event.place.block_number, hash: event.block_hash }
}

/// Takes single events of a source back, as a rewind takes back all events above a block. `reached` is the number of the
/// source's checkpoint.
async fn take_back(
    tx: &mut Tx,
    chain: &OpenChain,
    source: &str,
    reached: u64,
    places: &[Place],
) -> Result<(), StoreError> {
    let chain = &chain.refreshed(tx).await?;
    let tip = checkpoint::of(tx, chain, source).await?;
    let tip = tip.ok_or_else(|| StoreError::NotReached { source_name: source.to_owned(), to: reached })?;
    let record = begin_record(tx, chain, (tip, tip), UndoReason::Repair).await?;
    let gone = events::orphan_at(tx, chain, places, record).await?;
    let undo = Undo::begin(tx, chain, record).await?;
    finish_record(tx, chain, record, gone).await?;
    undo.retract(tx, &[]).await
}

/// A range as it was read again, and the blocks of it that are proven.
#[derive(Clone, Copy)]
struct Audited<'a> {
    reread: &'a Backfill,
    proven: &'a ProvenBlocks,
}

/// Adds what is missing, and resolves the dead letters of the range. Those of blocks of which nothing is proven stay.
async fn add(
    tx: &mut Tx,
    chain: &OpenChain,
    audited: Audited<'_>,
    missing: &[&Event],
    reached: u64,
) -> Result<(), StoreError> {
    let Audited { reread, proven } = audited;
    let folded = events::fold(chain, missing)?;
    events::insert(tx, chain, missing).await?;
    let all: Vec<&Event> = reread.events.iter().collect();
    dead_letters::resolve(tx, chain, &all).await?;
    dead_letters::insert(tx, chain, &reread.dead_letters).await?;
    dead_letters::forget_others(tx, chain, reread, proven).await?;
    let publication = Publication::begin(tx, chain, events::with_kinds(chain, missing)).await?;
    projections::apply_late(tx, chain, &folded).await?;
    publication.confirm(tx, chain, reached).await
}
