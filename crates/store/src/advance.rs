use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use chainflume_core::domain::{B256, BlockId, DeadLetter, Event, ProjectionDelta};

use super::messages::Publication;
use super::open::OpenChain;
use super::stage::Staged;
use super::{ChainStore, Checkpoint, blocks, checkpoint, dead_letters, events, pending, projections};
use chainflume_db::StoreError;
use chainflume_db::transaction::{self, Durability, Tx};

/// A step forward of a group of sources that are at one block, or join there.
#[derive(Clone, Debug)]
pub struct Advance {
    /// The checkpoints of the group's sources now; `None` for one that begins.
    pub expected: Vec<Checkpoint>,
    /// Their checkpoint afterwards.
    pub to: BlockId,
    /// Blocks whose hash is known, for the reorg window; `to` is added by itself.
    pub refs: Vec<BlockId>,
    /// The newest final block, as far as known. The stored one never falls.
    pub final_number: u64,
    /// Every confirmed event of the group between its checkpoints and `to`, in any order.
    pub events: Vec<Event>,
    /// Logs of these sources in the same blocks that could not become events.
    pub dead_letters: Vec<DeadLetter>,
    /// The chain's head when the step was read, for the confirmations in messages.
    pub head: u64,
    /// When that head was seen, to measure how long messages take; `None` for history.
    pub seen_at: Option<SystemTime>,
    /// `false` lets the commit return before it is on disk: for history, where a crash re-does work.
    pub durable: bool,
}

/// What an advance did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advanced {
    /// Events stored.
    pub events: u64,
    /// Wallets that staked in this step and have no row in `users`, where unknown ones are not created.
    pub unknown_users: u64,
    /// Pending events taken back: what was published at the head is not what is confirmed.
    pub retracted: u64,
}

impl ChainStore {
    /// Stores a step: events, what they change, dead letters, the reorg window and the checkpoints in one
    /// transaction, or nothing. Pending events of the range are confirmed or retracted in it. [`ChainStore::rewind`] is the inverse.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a checkpoint is not where expected or another block is stored at a
    /// height given here; [`StoreError::Overlap`] when one of the logs is stored already;
    /// [`StoreError::Invalid`] when the step contradicts itself.
    pub async fn advance(&self, advance: &Advance) -> Result<Advanced, StoreError> {
        self.advance_staged(advance, None).await
    }

    /// As [`Self::advance`], for a step whose events [`Self::stage`] wrote: exactly these.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub async fn advance_staged(
        &self,
        advance: &Advance,
        staged: Option<Staged>,
    ) -> Result<Advanced, StoreError> {
        let step = Step::new(&self.chain, advance)?;
        let is_staged = staged.is_some();
        let durability = if advance.durable { Durability::Disk } else { Durability::None };
        let mut tx = match staged {
            Some(staged) => staged.into_tx(&step.ordered)?,
            None => transaction::begin_with(&self.pool, durability).await?,
        };
        match step.store(self, &mut tx, is_staged).await {
            Ok(advanced) => {
                tx.commit().await?;
                Ok(advanced)
            }
            Err(error) => {
                drop(tx);
                Err(self.name_holder(error, &step.ordered).await)
            }
        }
    }

    /// A violated primary key of `events` means that a log is stored already; this finds the log and its source.
    async fn name_holder(&self, error: StoreError, events: &[&Event]) -> StoreError {
        if error.constraint() != Some("events_pkey") {
            return error;
        }
        match events::holder(&self.pool, &self.chain, events).await {
            Ok(Some((place, source_name))) => {
                let claims = events.iter().find(|event| event.place == place);
                let kind = claims.and_then(|event| self.chain.kind(event.fact.kind).ok());
                let claimant = kind.map_or_else(|| source_name.clone(), |kind| kind.source.clone());
                StoreError::Overlap { place, source_name, claimant }
            }
            Ok(None) | Err(_) => error,
        }
    }
}

/// A step that was checked: it does not contradict itself.
struct Step<'a> {
    advance: &'a Advance,
    ordered: Vec<&'a Event>,
    /// Every block whose hash it contains.
    seen: BTreeMap<u64, B256>,
    window: BTreeMap<u64, B256>,
    folded: ProjectionDelta,
}

impl<'a> Step<'a> {
    fn new(chain: &OpenChain, advance: &'a Advance) -> Result<Self, StoreError> {
        let ordered = events::in_order(chain, &advance.events)?;
        check_range(chain, advance, &ordered)?;
        let refs = blocks::by_number(advance.refs.iter().chain([&advance.to]))?;
        let seen = blocks_seen(&refs, &ordered)?;
        let folded = events::fold(chain, &ordered)?;
        Ok(Self { advance, ordered, seen, window: blocks::window(refs, advance.final_number), folded })
    }

    async fn store(&self, store: &ChainStore, tx: &mut Tx, is_staged: bool) -> Result<Advanced, StoreError> {
        let (chain, Self { advance, ordered, folded, .. }) = (&*store.chain, self);
        checkpoint::lock_chain(tx, store).await?;
        blocks::check(tx, chain.id, &self.seen).await?;
        checkpoint::advance(tx, chain, &advance.expected, advance.to).await?;
        // Stakes are rolled up under a lock that all chains share. So the rows are written before: a session that holds the lock
        // must not wait for the rows of its client, and PostgreSQL ends no client that freezes inside `COPY`.
        let mut unwritten: &[&Event] = if is_staged { &[] } else { ordered };
        if !folded.stakes.is_empty() {
            events::write(tx, chain, std::mem::take(&mut unwritten)).await?;
        }
        events::tally(tx, chain, ordered).await?;
        dead_letters::insert(tx, chain, &advance.dead_letters).await?;
        let gone = pending::end(tx, chain, &advance.expected, advance.to.number, ordered).await?;
        let publication =
            Publication::begin(tx, chain, events::with_kinds(chain, ordered)).await?.with_retractions(&gone);
        let unknown_users = projections::apply(tx, chain, folded).await?;
        blocks::keep(tx, chain.id, &self.window, advance.final_number).await?;
        let confirmation = publication.resolve(tx, chain).await?;
        // The messages are composed while the database stores the events.
        let write_messages = || confirmation.write(chain, advance.head);
        let drafts =
            events::write_while(tx, chain, events::Table::Events, unwritten, write_messages).await??;
        chainflume_outbox::append(tx, chain.id, drafts, advance.seen_at).await?;
        Ok(Advanced { events: ordered.len() as u64, unknown_users, retracted: gone.len() as u64 })
    }
}

/// The step goes forward, and each event belongs to a source of the group, above its checkpoint.
fn check_range(chain: &OpenChain, advance: &Advance, ordered: &[&Event]) -> Result<(), StoreError> {
    let to = advance.to.number;
    let mut above = BTreeMap::new();
    let sources: BTreeSet<&str> = chain.sources.iter().map(String::as_str).collect();
    for checkpoint in &advance.expected {
        let at = checkpoint.at.map(|at| at.number);
        if at.is_some_and(|at| at >= to) {
            return Err(StoreError::invalid(format!(
                "`{}` is at block {to} or above already",
                checkpoint.source
            )));
        }
        if !sources.contains(checkpoint.source.as_str()) {
            return Err(StoreError::invalid(format!(
                "chain {} has no source `{}`",
                chain.id, checkpoint.source
            )));
        }
        above.insert(checkpoint.source.as_str(), at);
    }
    for event in ordered {
        let source = chain.kind(event.fact.kind)?.source.as_str();
        let number = event.place.block_number;
        let inside = above.get(source).is_some_and(|at| number <= to && at.is_none_or(|at| at < number));
        if !inside {
            return Err(StoreError::invalid(format!(
                "the event of `{source}` at {} is not of this step",
                event.place
            )));
        }
    }
    Ok(())
}

/// Every block whose hash this step contains: its refs and the blocks of its events.
fn blocks_seen(refs: &BTreeMap<u64, B256>, ordered: &[&Event]) -> Result<BTreeMap<u64, B256>, StoreError> {
    let mut ids: Vec<BlockId> = refs.iter().map(|(&number, &hash)| BlockId { number, hash }).collect();
    ids.extend(
        ordered.iter().map(|event| BlockId { number: event.place.block_number, hash: event.block_hash }),
    );
    blocks::by_number(&ids)
}
