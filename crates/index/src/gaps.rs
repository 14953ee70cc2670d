//! The past of what was added to a source: read beside the live blocks, which go first.
//!
//! Blocks that are final and far from the head are read in ranges. What lies above is read by hash, kept until it is linked to
//! the block that is held at its end, and stored at once: so none of it is of a branch that is not ours.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use super::error::IndexerError;
use super::history::report;
use super::session::Session;
use super::translate::{Desk, Translated, count};
use chainflume_core::domain::{B256, BlockId, BlockRange, Course, Gap, LogFilter, causes};
use chainflume_node::{Batch, BlockWithLogs, Depths, History};
use chainflume_ops::metrics;
use chainflume_store::{Backfill, Read};

/// Blocks read by hash at once.
const AT_ONCE: u64 = 16;
/// Blocks read by hash that are kept until they are linked. Where a tag is further behind, the lower ones are waited for until
/// they are final.
const MOST_YOUNG: u64 = 2_048;

/// A gap on its way to the store.
pub(super) struct Filling {
    source: usize,
    gap: Gap,
    next: u64,
    desk: Desk,
    filter: LogFilter,
    how: How,
}

enum How {
    /// In ranges, behind the hash of the last block that was read.
    Ranges(History, Option<B256>),
    /// By hash, all of them so far.
    Young(Vec<BlockWithLogs>),
}

impl Filling {
    /// The next batch that was read in ranges; never returns where nothing is. May be dropped and called again.
    pub(super) async fn next(filling: &mut Option<Self>) -> Option<Batch> {
        match filling {
            Some(Self { how: How::Ranges(history, _), .. }) => history.next().await,
            _ => std::future::pending().await,
        }
    }

    /// Whether blocks are to be read by hash.
    pub(super) fn is_young(filling: Option<&Self>) -> bool {
        matches!(filling, Some(Self { how: How::Young(_), .. }))
    }
}

impl Session<'_> {
    /// Makes sure that the lowest gap is being read, if there is one and nothing is in its way.
    pub(super) async fn read_gaps(&mut self, syncs: bool) -> Result<(), IndexerError> {
        // A node learns how wide a question may be from one reader of ranges at a time: sources that sync go first.
        if syncs && matches!(&self.attempt.filling, Some(Filling { how: How::Ranges(..), .. })) {
            self.attempt.filling = None;
        }
        if self.attempt.filling.is_some() || !self.attempt.looked {
            return Ok(());
        }
        let Some((source, gap)) = self.next_gap() else { return Ok(()) };
        let Some((range, is_young)) = self.how(gap.range) else { return Ok(()) };
        if syncs && !is_young {
            return Ok(());
        }
        if !self.indexed {
            // A first history does without indexes, by which what is added here finds what there is.
            if self.store().is_deferred().await? {
                if syncs {
                    return Ok(());
                }
                // What was written ahead holds locks that indexes wait for.
                self.attempt.reading = None;
            }
            self.build_indexes().await?;
        }
        let gap = Gap { range, ..gap };
        let (filter, desk) = self.chain.translator.part(source, &gap.items);
        tracing::debug!(chain = %self.chain.settings.name, source, %range, is_young, "reading the past of a source");
        let how = match is_young {
            true => How::Young(Vec::new()),
            false => How::Ranges(self.history_of(&filter, range), None),
        };
        self.attempt.filling = Some(Filling { source, next: range.from(), gap, desk, filter, how });
        Ok(())
    }

    fn next_gap(&self) -> Option<(usize, Gap)> {
        let first = |(source, course): (usize, &Course)| Some((source, course.gaps.first()?.clone()));
        self.following.with_gaps().filter_map(first).min_by_key(|(_, gap)| gap.range.from())
    }

    /// Which of these blocks are read now, and whether by hash.
    fn how(&self, range: BlockRange) -> Option<(BlockRange, bool)> {
        let zones = self.chain.policy.zones(self.observed.heads.as_ref()?);
        let old = self.view().final_number().min(zones.live_from.checked_sub(1)?);
        match BlockRange::new(range.from(), range.to().min(old)) {
            Some(old) => Some((old, false)),
            None => Some((range, true)).filter(|(range, _)| range.width() <= MOST_YOUNG),
        }
    }

    fn history_of(&self, filter: &LogFilter, range: BlockRange) -> History {
        History::new(
            (self.past.clone(), &self.chain.settings.name),
            self.chain.settings.history,
            (filter.clone(), range),
            Depths { final_number: self.final_number(), aged: self.aged() },
            report(&self.chain.board, &self.chain.settings.name, &self.chain.troubles),
        )
    }

    /// Stores a batch that was read in ranges; `None` is the end of them.
    pub(super) async fn land_gap(&mut self, batch: Option<Batch>) -> Result<(), IndexerError> {
        let (Some(Filling { how: How::Ranges(_, link), next, desk, .. }), Some(batch)) =
            (&mut self.attempt.filling, batch)
        else {
            self.attempt.filling = None;
            return Ok(());
        };
        let is_linked = link.replace(batch.last.hash) == Some(batch.parent_hash);
        *next = batch.range.to().saturating_add(1);
        let translated = desk.translate(&batch.logs, &batch.times);
        if !is_linked {
            // No link shows yet that these blocks are of this chain.
            self.past.check_chain().await?;
        }
        self.fill(batch.range, translated, Vec::new()).await
    }

    /// Reads the next blocks by hash, and stores all of them once they are linked to what we hold.
    pub(super) async fn read_young(&mut self) -> Result<(), IndexerError> {
        let read = self.read_some().await;
        match read {
            Ok(true) => self.land_young().await,
            Ok(false) => Ok(()),
            // As with what is told ahead: the head, or what is near it, may be with one of a node's backends alone.
            Err(error @ (IndexerError::Chain(_) | IndexerError::Moved(_))) if !error.is_fatal() => {
                if let Some(Filling { source, .. }) = self.attempt.filling.take() {
                    self.trouble(source, &error);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether that were the last.
    async fn read_some(&mut self) -> Result<bool, IndexerError> {
        let Some(Filling { gap, next, filter, how: How::Young(known), .. }) = &mut self.attempt.filling
        else {
            return Ok(false);
        };
        let numbers: Vec<u64> = (*next..=gap.range.to()).take(AT_ONCE.try_into().unwrap_or(1)).collect();
        let near = self.node.near(filter, &numbers).await?;
        let mut below = known.last().map(|block| block.block.hash);
        for near in &near {
            let block = near.block();
            if below.is_some_and(|below| below != block.parent_hash) {
                let reason = format!("block {} does not follow the one below", block.number);
                return Err(IndexerError::Moved(reason));
            }
            below = Some(block.hash);
        }
        if near.is_empty() {
            let reason = format!("{} lacks block {next}, which is below its head", self.node.host());
            return Err(IndexerError::Moved(reason));
        }
        let logs = near.into_iter().map(|near| Box::pin(self.chain.pool.with_logs(&self.node, filter, near)));
        known.extend(try_join_all(logs).await?);
        *next = known.last().map_or(*next, |block| block.block.number.saturating_add(1));
        Ok(*next > gap.range.to())
    }

    async fn land_young(&mut self) -> Result<(), IndexerError> {
        let Some(Filling { source, gap, desk, how: How::Young(blocks), .. }) = &mut self.attempt.filling
        else {
            return Ok(());
        };
        let (source, range, blocks) = (*source, gap.range, std::mem::take(blocks));
        let times: BTreeMap<u64, u64> = blocks.iter().map(|b| (b.block.number, b.block.timestamp)).collect();
        let refs =
            blocks.iter().filter(|block| !block.logs.is_empty()).map(|block| block.block.id()).collect();
        let translated = desk.translate(blocks.iter().flat_map(|block| &block.logs), &times);
        let last = blocks.last().map(|block| block.block.id());
        let held = self.store().hash_at(range.to()).await?;
        if held.is_none() || held != last {
            self.attempt.filling = None;
            let error = IndexerError::Moved(format!("block {} is not the one that is held", range.to()));
            self.trouble(source, &error);
            return Ok(());
        }
        self.fill(range, translated, refs).await?;
        self.attempt.filling = None;
        Ok(())
    }

    async fn fill(
        &mut self,
        range: BlockRange,
        read: Translated,
        refs: Vec<BlockId>,
    ) -> Result<(), IndexerError> {
        let Some(Filling { source, gap, .. }) = &self.attempt.filling else { return Ok(()) };
        let (index, items) = (*source, gap.items.clone());
        let source = self.chain.translator.sources()[index].name.clone();
        let Translated { events, dead_letters } = read;
        let told = self.store().tells_past(&source);
        let backfill = Backfill { source, range, reorgs: self.view().reorgs(), events, dead_letters };
        let filled = self.store().fill(&backfill, &Read { items, refs: refs.clone(), told }).await;
        match filled {
            Ok(compared) if compared.differing.is_empty() => {
                count(self.chain.translator.kinds(), &backfill.events, &backfill.dead_letters);
                self.view_mut().filled(&refs);
                self.following.read_to(index, range.to());
                self.say_sources(None);
                Ok(())
            }
            Ok(compared) => {
                let place = compared.differing.first().map(ToString::to_string).unwrap_or_default();
                self.attempt.filling = None;
                self.following.rest(
                    index,
                    format!("something else is stored at {place}, or its block under another hash; see `chainflume verify`"),
                );
                self.say_sources(None);
                Ok(())
            }
            Err(error) => {
                let error = IndexerError::from(error);
                if error.is_fatal() {
                    self.attempt.filling = None;
                    self.trouble(index, &error);
                    return Ok(());
                }
                Err(error)
            }
        }
    }

    fn trouble(&mut self, source: usize, error: &IndexerError) {
        metrics::step_error(&self.chain.settings.name, error.kind());
        tracing::debug!(chain = %self.chain.settings.name, source, error = %causes(error), "the past of a source waits");
        self.following.rest(source, causes(error));
        self.say_sources(None);
    }
}
