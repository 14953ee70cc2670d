//! Gaps: old blocks of events and contracts that were added to a source. They are read between live blocks, which
//! have precedence.
//!
//! Blocks that are final and far from the head are read in ranges. Blocks above them are read by hash, kept until
//! they link to the stored block at their end, and stored in one transaction. So none of them is of another branch.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use super::error::IndexerError;
use super::history::error_reporter;
use super::session::{GapMode, GapRead, IndexSession};
use super::translate::{Translated, count};
use chainflume_core::domain::{BlockId, BlockRange, LogFilter, SourceComparison, SourceGap, causes};
use chainflume_node::{Batch, HistoryReader, HistoryRequest};
use chainflume_ops::metrics;
use chainflume_store::{Backfill, Read};

/// Blocks read by hash at once.
const BLOCKS_PER_READ: u64 = 16;
/// Maximum number of blocks that are read by hash and kept until they are linked. A gap with more blocks above the
/// final one waits until fewer are left.
const MAX_BLOCKS_BY_HASH: u64 = 2_048;

impl IndexSession<'_> {
    /// Starts to read the lowest gap, if there is one and nothing prevents it. While sources sync, only blocks near the head are read.
    pub(super) async fn start_gap(&mut self, is_syncing: bool) -> Result<(), IndexerError> {
        // The width of ranges adapts to one reader at a time: sources that sync have precedence.
        if is_syncing && matches!(&self.attempt.gap_read, Some(GapRead { mode: GapMode::ByRange(..), .. })) {
            self.attempt.gap_read = None;
        }
        if self.attempt.gap_read.is_some() || !self.attempt.compared {
            return Ok(());
        }
        let Some((source, gap)) = self.next_gap() else { return Ok(()) };
        let Some((range, by_hash)) = self.gap_mode(gap.range) else { return Ok(()) };
        if is_syncing && !by_hash {
            return Ok(());
        }
        if !self.indexed {
            // A first history is written without indexes, and a gap needs them to find stored events.
            if self.store().is_deferred().await? {
                if is_syncing {
                    return Ok(());
                }
                // Rows that were written ahead hold locks that block the build.
                self.attempt.history_read = None;
            }
            self.build_indexes().await?;
        }
        let gap = SourceGap { range, ..gap };
        let (filter, translator) = self.chain.translator.part(source, &gap.items);
        tracing::debug!(chain = %self.chain.settings.name, source, %range, by_hash, "reading a gap of a source");
        let mode = match by_hash {
            true => GapMode::ByHash(Vec::new()),
            false => GapMode::ByRange(self.history_of(&filter, range), None),
        };
        self.attempt.gap_read = Some(GapRead { source, next: range.from(), gap, translator, filter, mode });
        Ok(())
    }

    fn next_gap(&self) -> Option<(usize, SourceGap)> {
        let first =
            |(source, compared): (usize, &SourceComparison)| Some((source, compared.gaps.first()?.clone()));
        self.followed_sources.with_gaps().filter_map(first).min_by_key(|(_, gap)| gap.range.from())
    }

    /// Which of these blocks are read now, and whether they are read by hash.
    fn gap_mode(&self, range: BlockRange) -> Option<(BlockRange, bool)> {
        let zones = self.chain.policy.zones(self.observed.heads.as_ref()?);
        let old = self.snapshot().final_number().min(zones.live_from.checked_sub(1)?);
        match BlockRange::new(range.from(), range.to().min(old)) {
            Some(old) => Some((old, false)),
            None => Some((range, true)).filter(|(range, _)| range.width() <= MAX_BLOCKS_BY_HASH),
        }
    }

    fn history_of(&self, filter: &LogFilter, range: BlockRange) -> HistoryReader {
        HistoryReader::new(
            self.past.clone(),
            &self.chain.settings.name,
            self.chain.settings.history,
            HistoryRequest { filter: filter.clone(), range, depths: self.depths() },
            error_reporter(&self.chain.board, &self.chain.settings.name, &self.chain.error_streak),
        )
    }

    /// Stores a batch that was read in ranges; `None` ends the gap.
    pub(super) async fn store_gap_range(&mut self, batch: Option<Batch>) -> Result<(), IndexerError> {
        let (Some(GapRead { mode: GapMode::ByRange(_, link), next, translator, .. }), Some(batch)) =
            (&mut self.attempt.gap_read, batch)
        else {
            self.attempt.gap_read = None;
            return Ok(());
        };
        let is_linked = link.replace(batch.last.hash) == Some(batch.parent_hash);
        *next = batch.range.to().saturating_add(1);
        let translated = translator.translate(&batch.logs, &batch.times);
        if !is_linked {
            // No parent link proves yet that these blocks are of this chain.
            self.past.check_chain().await?;
        }
        self.store_gap(batch.range, translated, Vec::new()).await
    }

    /// Reads the next blocks by hash, and stores all of them once they link to stored blocks.
    pub(super) async fn read_gap_by_hash(&mut self) -> Result<(), IndexerError> {
        let read = self.fetch_gap_blocks().await;
        match read {
            Ok(true) => self.store_gap_by_hash().await,
            Ok(false) => Ok(()),
            // As with pending blocks: only one backend of a node may have the blocks near the head.
            Err(error @ (IndexerError::Chain(_) | IndexerError::Moved(_))) if !error.is_fatal() => {
                if let Some(GapRead { source, .. }) = self.attempt.gap_read.take() {
                    self.postpone_gap(source, &error);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches the next blocks of the gap. Returns whether they are the last.
    async fn fetch_gap_blocks(&mut self) -> Result<bool, IndexerError> {
        let Some(GapRead { gap, next, filter, mode: GapMode::ByHash(known), .. }) =
            &mut self.attempt.gap_read
        else {
            return Ok(false);
        };
        let numbers: Vec<u64> =
            (*next..=gap.range.to()).take(BLOCKS_PER_READ.try_into().unwrap_or(1)).collect();
        let near = self.node.headers_with_logs(filter, &numbers).await?;
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

    async fn store_gap_by_hash(&mut self) -> Result<(), IndexerError> {
        let Some(GapRead { source, gap, translator, mode: GapMode::ByHash(blocks), .. }) =
            &mut self.attempt.gap_read
        else {
            return Ok(());
        };
        let (source, range, blocks) = (*source, gap.range, std::mem::take(blocks));
        let times: BTreeMap<u64, u64> = blocks.iter().map(|b| (b.block.number, b.block.timestamp)).collect();
        let refs =
            blocks.iter().filter(|block| !block.logs.is_empty()).map(|block| block.block.id()).collect();
        let translated = translator.translate(blocks.iter().flat_map(|block| &block.logs), &times);
        let last = blocks.last().map(|block| block.block.id());
        let held = self.store().hash_at(range.to()).await?;
        if held.is_none() || held != last {
            self.attempt.gap_read = None;
            let error = IndexerError::Moved(format!("block {} differs from the stored one", range.to()));
            self.postpone_gap(source, &error);
            return Ok(());
        }
        self.store_gap(range, translated, refs).await?;
        self.attempt.gap_read = None;
        Ok(())
    }

    async fn store_gap(
        &mut self,
        range: BlockRange,
        read: Translated,
        refs: Vec<BlockId>,
    ) -> Result<(), IndexerError> {
        let Some(GapRead { source, gap, .. }) = &self.attempt.gap_read else { return Ok(()) };
        let (index, items) = (*source, gap.items.clone());
        let source = self.chain.translator.sources()[index].name.clone();
        let Translated { events, dead_letters } = read;
        let published = self.store().publishes_past(&source);
        let backfill = Backfill { source, range, reorgs: self.snapshot().reorgs(), events, dead_letters };
        let filled = self.store().fill(&backfill, &Read { items, refs: refs.clone(), published }).await;
        match filled {
            Ok(compared) if compared.differing.is_empty() => {
                count(self.chain.translator.kinds(), &backfill.events, &backfill.dead_letters);
                self.snapshot_mut().gap_stored(&refs);
                self.followed_sources.read_to(index, range.to());
                self.report_sources(None);
                Ok(())
            }
            Ok(compared) => {
                let place = compared.differing.first().map(ToString::to_string).unwrap_or_default();
                self.attempt.gap_read = None;
                self.followed_sources.postpone(
                    index,
                    format!("another event is stored at {place}, or its block has another hash; see `chainflume verify`"),
                );
                self.report_sources(None);
                Ok(())
            }
            Err(error) => {
                let error = IndexerError::from(error);
                if error.is_fatal() {
                    self.attempt.gap_read = None;
                    self.postpone_gap(index, &error);
                    return Ok(());
                }
                Err(error)
            }
        }
    }

    fn postpone_gap(&mut self, source: usize, error: &IndexerError) {
        metrics::step_error(&self.chain.settings.name, error.kind());
        tracing::debug!(chain = %self.chain.settings.name, source, error = %causes(error), "reading a gap of a source failed; it is retried");
        self.followed_sources.postpone(source, causes(error));
        self.report_sources(None);
    }
}
