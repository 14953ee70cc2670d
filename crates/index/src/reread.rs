//! Reads stored blocks again: to add missing events, to compare, or to repair.

mod report;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::age::old_enough;
use super::error::IndexerError;
use super::pieces::pieces;
use super::proof::{ProofNeed, ProofRequest};
use super::retry_limit::RetryLimit;
use super::saved_limits::use_saved_limits;
use super::translate::Translator;
use chainflume_core::canon::DepthPolicy;
use chainflume_core::domain::{BlockRange, Event, Place};
use chainflume_db::StoreError;
use chainflume_node::{
    AlternateProviders, Batch, ChainSettings, HistoryReader, HistoryRequest, Node, OnError, ReadDepths,
};
use chainflume_store::{Backfill, ChainStore, Compared, Read, Store, StoreSnapshot};
pub(super) use report::BatchOutcome;
pub use report::{Places, RereadReport};

/// Reads a closed range of one source again, beside a running daemon.
pub struct Rereader {
    /// The providers and limits of the chain.
    pub settings: ChainSettings,
    /// The providers. They are kept between runs, because each keeps the width of ranges that it accepts.
    pub providers: AlternateProviders,
    /// The provider of the first read: another one is used if there is one.
    pub avoided: Option<String>,
    /// The chain's sources.
    pub translator: Translator,
    /// The chain's store.
    pub store: ChainStore,
    /// Receives every error of the node. The read is retried.
    pub on_error: OnError,
    /// Whether comparisons pause so that live blocks are stored first.
    pub yields_to_live: bool,
    /// How long a node may fail at the same blocks before a run ends; `None` retries without end, as a daemon does.
    pub give_up_after: Option<Duration>,
    policy: DepthPolicy,
    /// The highest block that was old enough to be read by range. An old block stays old.
    aged: Option<u64>,
}

/// The purpose of reading blocks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Add missing events. Differing and surplus events do not change.
    Add,
    /// Only compare.
    Compare,
    /// Make the stored events equal to those on the chain.
    Repair,
    /// As [`Self::Repair`], only with the proof of receipts with the root of their header, and for 64 blocks of a
    /// batch at most.
    RepairProven,
}

/// A range of a source to read again, and the purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reread {
    /// Position of the source in the chain's list.
    pub source: usize,
    /// The blocks, none above the source's checkpoint.
    pub range: BlockRange,
    /// What to do.
    pub purpose: Purpose,
}

impl Rereader {
    /// A reader that has requested nothing yet.
    ///
    /// # Errors
    /// When no HTTP client can be made of the settings.
    pub fn new(
        settings: ChainSettings,
        policy: DepthPolicy,
        translator: Translator,
        store: ChainStore,
        on_error: OnError,
    ) -> Result<Self, IndexerError> {
        let providers = AlternateProviders::new(&settings)?;
        let (avoided, yields_to_live, give_up_after, aged) = (None, false, None, None);
        Ok(Self {
            settings,
            providers,
            avoided,
            translator,
            store,
            on_error,
            yields_to_live,
            give_up_after,
            policy,
            aged,
        })
    }

    /// Gives the providers the limits that the daemon has saved for them, with a width of `widest` blocks at most.
    pub async fn use_limits(&self, store: &Store, widest: Option<u64>) {
        for node in self.providers.by_preference() {
            use_saved_limits(store, &node, widest).await;
        }
    }

    /// Skips a provider with another block 0 than the stored one from now on.
    ///
    /// # Errors
    /// A database error.
    pub async fn require_stored_genesis(&self) -> Result<(), IndexerError> {
        self.providers.set_genesis(self.store.genesis().await?);
        Ok(())
    }

    /// Reads the range for its purpose. Calls `progress` with the last block of each batch that is done.
    ///
    /// # Errors
    /// When the source has not stored the range yet, the database fails, or [`Self::give_up_after`] ends the run. Batches that were
    /// committed before stay, and a second run changes nothing in them.
    pub async fn run(
        &mut self,
        reread: Reread,
        mut progress: impl FnMut(u64),
    ) -> Result<RereadReport, IndexerError> {
        self.require_stored_genesis().await?;
        let Reread { source, range, purpose } = reread;
        let (mut node, aged) = self.begin(range).await?;
        if purpose != Purpose::Compare {
            // To add or undo events needs the indexes. To compare does not.
            self.store.build_indexes().await?;
        }
        let (mut report, retries) = (RereadReport::default(), RetryLimit::new(self.give_up_after));
        let mut rest = Some(range);
        while let Some(left) = rest {
            let held = self.store.snapshot().await?;
            self.check_reached(&held, source, range)?;
            let left = self.store.first_page(&self.translator.sources()[source].name, left).await?;
            let filter = self.translator.filter(&[source]);
            let depths = ReadDepths { final_number: held.final_number.unwrap_or(0), aged };
            let mut history = HistoryReader::new(
                node.clone(),
                &self.settings.name,
                self.settings.history,
                HistoryRequest { filter, range: left, depths },
                retries.counted(self.on_error.clone()),
            );
            loop {
                let batch = tokio::select! {
                    biased;
                    batch = history.next() => batch,
                    error = retries.ended() => return Err(error),
                    other = self.replacement_for(&node, range) => {
                        node = other?;
                        break;
                    }
                };
                let Some(batch) = batch else { break };
                let to = batch.range.to();
                match self.process(reread, &node, batch, held.reorgs).await {
                    Ok(outcome) => {
                        report.add(&outcome);
                        rest = to.checked_add(1).and_then(|next| BlockRange::new(next, range.to()));
                    }
                    // A reorg since the range was read, or the repair of the batch before: the blocks may be
                    // orphaned, so they are read again.
                    Err(IndexerError::Store(StoreError::Conflict { .. }))
                        if self.was_rewound(&held).await? =>
                    {
                        break;
                    }
                    Err(error) => return Err(error),
                }
                retries.done_to(to);
                progress(to);
            }
        }
        if purpose == Purpose::Add && report.is_empty() {
            self.find_omissions(&node, source, range, &mut report).await;
        }
        Ok(report)
    }

    /// Another provider, once the one in use fails.
    async fn replacement_for(&self, node: &Arc<Node>, range: BlockRange) -> Result<Arc<Node>, IndexerError> {
        let other = self.providers.replacement_for(node, self.avoided.as_deref()).await;
        match self.check_branch(&other, range).await {
            Err(error @ IndexerError::TooDeep { .. }) => Err(error),
            // Any other error comes again when the range is read.
            _ => Ok(other),
        }
    }

    /// The first candidate that works and is on the right chain, with the highest block that may be read by range.
    async fn begin(&mut self, range: BlockRange) -> Result<(Arc<Node>, u64), IndexerError> {
        let mut nodes = self.providers.candidates(self.avoided.as_deref()).into_iter().peekable();
        loop {
            let node = nodes.next().expect("a chain has at least one provider");
            match self.providers.with_probe_timeout(self.old_enough(&node, range)).await {
                Ok(aged) => {
                    self.providers.mark_used(&node);
                    return Ok((node, *self.aged.insert(aged)));
                }
                Err(error) if nodes.peek().is_none() => return Err(error),
                Err(error) => {
                    tracing::debug!(chain = %self.settings.name, host = node.host(), %error, "a provider does not serve the range; the next one is tried");
                }
            }
        }
    }

    /// Checks the node's chain and branch, and returns the highest block that may be read by range.
    async fn old_enough(&self, node: &Node, range: BlockRange) -> Result<u64, IndexerError> {
        node.check_chain().await?;
        self.check_branch(node, range).await?;
        match self.aged.filter(|aged| range.to() <= *aged) {
            Some(aged) => Ok(aged),
            None => old_enough(node, &self.policy, node.head().await?).await,
        }
    }

    /// Checks that the node has the stored final block at the end of the range or above. On another branch, events of the range would
    /// be added that are not on the stored one.
    async fn check_branch(&self, node: &Node, range: BlockRange) -> Result<(), IndexerError> {
        let held = self.store.held_at_or_above(range.to()).await?;
        let final_number = self.store.snapshot().await?.final_number;
        let Some(ours) = held.filter(|held| Some(held.number) <= final_number) else { return Ok(()) };
        match node.identified_headers(&[ours.number]).await?.first().copied().flatten() {
            Some(header) if header.block().hash != ours.hash => {
                Err(IndexerError::TooDeep { ours, theirs: header.block().hash })
            }
            _ => Ok(()),
        }
    }

    /// Whether a rewind happened since.
    async fn was_rewound(&self, since: &StoreSnapshot) -> Result<bool, StoreError> {
        Ok(self.store.snapshot().await?.reorgs != since.reorgs)
    }

    /// Checks before any request that the source has stored the range. The store checks it again when it writes.
    fn check_reached(
        &self,
        held: &StoreSnapshot,
        source: usize,
        range: BlockRange,
    ) -> Result<(), StoreError> {
        let name = &self.translator.sources()[source].name;
        let stored = held.checkpoints.iter().find(|checkpoint| checkpoint.source == *name);
        match stored.and_then(|checkpoint| checkpoint.at) {
            Some(at) if at.number >= range.to() => Ok(()),
            _ => Err(StoreError::NotReached { source_name: name.clone(), to: range.to() }),
        }
    }

    async fn process(
        &mut self,
        reread: Reread,
        node: &Arc<Node>,
        batch: Batch,
        reorgs: u64,
    ) -> Result<BatchOutcome, IndexerError> {
        let translated = self.translator.translate(&[reread.source], &batch.logs, &batch.times);
        let others = other_places(&batch, &translated.events);
        let mut read = Backfill {
            source: self.translator.sources()[reread.source].name.clone(),
            range: batch.range,
            reorgs,
            events: translated.events,
            dead_letters: translated.dead_letters,
        };
        drop(batch);
        let compared = match reread.purpose {
            Purpose::Add => {
                let compared = self.store.comparison().sources.get(reread.source);
                let items = compared.map(|compared| compared.listens.clone()).unwrap_or_default();
                let read_of = Read { items, refs: Vec::new(), published: true };
                // A node that leaves logs out returns no error, but stored events show it.
                let mut surplus = self.store.compare(&read).await?.surplus;
                surplus.retain(|place| !others.contains(place));
                return Ok(Compared { surplus, ..self.store.fill(&read, &read_of).await? }.into());
            }
            Purpose::Compare => self.compare(&mut read).await?,
            Purpose::Repair => return self.repair(node, reread.source, &mut read, others).await,
            Purpose::RepairProven => {
                return self.repair_proven(node, reread.source, &mut read, others).await;
            }
        };
        if compared.agrees() {
            return Ok(compared.into());
        }
        // On another chain everything would differ.
        if let Err(error) = node.check_chain().await
            && error.is_wrong_chain()
        {
            return Err(error.into());
        }
        if compared.surplus.is_empty() && compared.differing.is_empty() {
            return Ok(compared.into());
        }
        // One answer that lacks stored events is no difference yet: the node may have left them out.
        let request = ProofRequest { others, need: ProofNeed::Any };
        let proof = self.prove(node, reread.source, &mut read, request).await?;
        // Only proven logs change the events that were read. Without them the first comparison is still right.
        let mut compared = match proof.proven.blocks.is_empty() {
            true => compared,
            false => self.compare(&mut read).await?,
        };
        let before = compared.surplus.len();
        compared.surplus.retain(|place| !proof.there.contains(place));
        compared.not_followed += (before - compared.surplus.len()) as u64;
        Ok(BatchOutcome { compared, unproven: Vec::new(), reasons: proof.reasons })
    }

    async fn compare(&self, read: &mut Backfill) -> Result<Compared, StoreError> {
        match self.yields_to_live {
            true => self.compare_in_pieces(read).await,
            false => self.store.compare(read).await,
        }
    }

    /// Compares piece by piece, and pauses after each for as long as it took: live blocks need the same processors.
    async fn compare_in_pieces(&self, read: &mut Backfill) -> Result<Compared, StoreError> {
        let mut all = Compared::default();
        for (range, of_events) in pieces(read) {
            let started = Instant::now();
            let piece = Backfill {
                source: read.source.clone(),
                range,
                reorgs: read.reorgs,
                events: read.events[of_events].to_vec(),
                dead_letters: Vec::new(),
            };
            let compared = self.store.compare(&piece).await?;
            all.present += compared.present;
            all.missing.extend(compared.missing);
            all.differing.extend(compared.differing);
            all.surplus.extend(compared.surplus);
            all.not_followed += compared.not_followed;
            tokio::time::sleep(started.elapsed()).await;
        }
        Ok(all)
    }
}

/// Places of logs that are no events. An event that is stored there is on the chain, and the source decodes it
/// differently now.
fn other_places(batch: &Batch, events: &[Event]) -> BTreeSet<Place> {
    if batch.logs.len() == events.len() {
        return BTreeSet::new();
    }
    let events: BTreeSet<Place> = events.iter().map(|event| event.place).collect();
    batch.logs.iter().map(|log| log.place).filter(|place| !events.contains(place)).collect()
}
