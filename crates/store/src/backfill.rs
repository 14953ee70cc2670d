use std::collections::BTreeMap;

use chainflume_core::domain::{B256, BlockId, Event, Place};

use super::events::Stored;
use super::messages::Publication;
use super::open::OpenChain;
use super::{Backfill, ChainStore, Compared, blocks, checkpoint, dead_letters, events, projections};
use chainflume_db::StoreError;
use chainflume_db::convert::{int8, unsigned};
use chainflume_db::transaction::{self, Tx};

impl ChainStore {
    /// Stores the missing events of a range and changes no others; a second call changes nothing. No checkpoint moves.
    /// Differences are returned and not repaired: the store does not know which side is right.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the chain was rewound meanwhile: fetch again;
    /// [`StoreError::NotReached`]; [`StoreError::Invalid`].
    pub async fn backfill(&self, backfill: &Backfill) -> Result<Compared, StoreError> {
        let chain = &*self.chain;
        let ordered = events::in_order(chain, &backfill.events)?;
        check_range(chain, backfill, &ordered)?;

        let mut tx = transaction::begin(&self.pool).await?;
        let done = add(&mut tx, self, backfill, ordered, Publishing::Yes).await?;
        tx.commit().await?;

        Ok(done)
    }
}

/// Whether added events are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Publishing {
    Yes,
    No,
}

/// Adds the missing events of a backfill, in a transaction that locks the chain here. `ordered` are its events in chain order.
pub(super) async fn add(
    tx: &mut Tx,
    store: &ChainStore,
    backfill: &Backfill,
    ordered: Vec<&Event>,
    publishing: Publishing,
) -> Result<Compared, StoreError> {
    let chain = &*store.chain;
    let locked = checkpoint::lock_chain(tx, store).await?;
    check_fresh(backfill, locked.reorgs)?;
    let reached = check_reached(tx, chain, backfill).await?;
    let stored = events::at_places(tx, chain, &ordered).await?;
    let hashes = stored_hashes(tx, chain, &ordered).await?;
    let sorted = Sorted::new(chain, ordered, &stored, &hashes)?;
    let folded = events::fold(chain, &sorted.missing)?;
    events::insert(tx, chain, &sorted.missing).await?;
    dead_letters::resolve(tx, chain, &sorted.missing).await?;
    dead_letters::resolve(tx, chain, &sorted.present).await?;
    dead_letters::insert(tx, chain, &backfill.dead_letters).await?;
    let published = if publishing == Publishing::Yes { &sorted.missing[..] } else { &[] };
    let publication = Publication::begin(tx, chain, events::with_kinds(chain, published)).await?;
    projections::apply_late(tx, chain, &folded).await?;
    lower_start(tx, backfill).await?;
    publication.confirm(tx, chain, reached).await?;

    Ok(Compared {
        present: sorted.present.len() as u64,
        missing: sorted.missing.iter().map(|event| event.place).collect(),
        differing: sorted.differing,
        surplus: Vec::new(),
        not_followed: 0,
    })
}

/// Given events by what the store has at their place.
struct Sorted<'a> {
    missing: Vec<&'a Event>,
    present: Vec<&'a Event>,
    differing: Vec<Place>,
}

impl<'a> Sorted<'a> {
    fn new(
        chain: &OpenChain,
        ordered: Vec<&'a Event>,
        stored: &BTreeMap<Place, Stored>,
        hashes: &BTreeMap<u64, Vec<B256>>,
    ) -> Result<Self, StoreError> {
        let mut sorted = Self { missing: vec![], present: vec![], differing: vec![] };
        for event in ordered {
            let known = hashes.get(&event.place.block_number);
            match stored.get(&event.place) {
                Some(stored) if same(chain, stored, event)? => sorted.present.push(event),
                // If the store knows the block by another hash, one of the two is wrong: then it is a difference.
                None if known.is_none_or(|known| known.iter().all(|hash| *hash == event.block_hash)) => {
                    sorted.missing.push(event);
                }
                Some(_) | None => sorted.differing.push(event.place),
            }
        }
        Ok(sorted)
    }
}

/// Whether the stored event is the given one, arguments compared as JSON: `jsonb` keeps no spelling.
pub(super) fn same(chain: &OpenChain, stored: &Stored, given: &Event) -> Result<bool, StoreError> {
    let json =
        |text: &Option<String>| text.as_deref().map(serde_json::from_str::<serde_json::Value>).transpose();
    let args = match (json(&stored.event.fact.args), json(&given.fact.args)) {
        (Ok(stored), Ok(given)) => stored == given,
        _ => false,
    };
    let mut stored_event = stored.event.clone();
    stored_event.fact.kind = given.fact.kind;
    stored_event.fact.args.clone_from(&given.fact.args);
    Ok(args && stored.kind_id == chain.kind(given.fact.kind)?.id && stored_event == *given)
}

pub(super) fn check_range(
    chain: &OpenChain,
    backfill: &Backfill,
    ordered: &[&Event],
) -> Result<(), StoreError> {
    for event in ordered {
        let source = &chain.kind(event.fact.kind)?.source;
        if *source != backfill.source || !backfill.range.contains(event.place.block_number) {
            return Err(StoreError::invalid(format!(
                "the event of `{source}` at {} is not of `{}` in {}",
                event.place, backfill.source, backfill.range
            )));
        }
    }
    blocks::by_number(
        &ordered
            .iter()
            .map(|event| BlockId { number: event.place.block_number, hash: event.block_hash })
            .collect::<Vec<_>>(),
    )?;
    Ok(())
}

/// A conflict if the chain was rewound after the logs were fetched; `reorgs` is the count now.
pub(super) fn check_fresh(backfill: &Backfill, reorgs: u64) -> Result<(), StoreError> {
    if reorgs != backfill.reorgs {
        return Err(StoreError::conflict("the chain was rewound since these logs were fetched"));
    }
    Ok(())
}

/// The number of the source's checkpoint, which must be at or above the range. The head is at least as high.
pub(super) async fn check_reached(
    tx: &mut Tx,
    chain: &OpenChain,
    backfill: &Backfill,
) -> Result<u64, StoreError> {
    let to = backfill.range.to();
    let reached: Option<i64> = sqlx::query_scalar(
        "select block_number from checkpoints where chain_id = $1 and source = $2 and block_number >= $3",
    )
    .bind(chain.id)
    .bind(&backfill.source)
    .bind(int8("block number", to)?)
    .fetch_optional(&mut **tx)
    .await?;
    let reached =
        reached.ok_or_else(|| StoreError::NotReached { source_name: backfill.source.clone(), to })?;
    unsigned("block number", reached)
}

/// The hashes by which the store knows the blocks of `events`: from other events and from the reorg window.
async fn stored_hashes(
    tx: &mut Tx,
    chain: &OpenChain,
    events: &[&Event],
) -> Result<BTreeMap<u64, Vec<B256>>, StoreError> {
    let mut numbers: Vec<i64> = events
        .iter()
        .map(|event| int8("block number", event.place.block_number))
        .collect::<Result<_, _>>()?;
    numbers.dedup();
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        r"
        select block_number, block_hash from events where chain_id = $1 and block_number = any($2)
        union
        select number, hash from blocks where chain_id = $1 and number = any($2)
        union
        select block_number, block_hash from source_groups where chain_id = $1 and block_number = any($2)
        ",
    )
    .bind(chain.id)
    .bind(numbers)
    .fetch_all(&mut **tx)
    .await?;
    let mut hashes: BTreeMap<u64, Vec<B256>> = BTreeMap::new();
    for (number, hash) in rows {
        let id = chainflume_db::convert::block_id(number, &hash)?;
        hashes.entry(id.number).or_default().push(id.hash);
    }
    Ok(hashes)
}

/// A backfill below where the source began extends it: a rewind must know how far down its events go.
async fn lower_start(tx: &mut Tx, backfill: &Backfill) -> Result<(), StoreError> {
    sqlx::query("update sources set start_block = least(start_block, $2) where name = $1")
        .bind(&backfill.source)
        .bind(int8("start block", backfill.range.from())?)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
