//! New blocks: each is linked to the block below, and its logs are fetched by block hash.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;

use super::error::IndexerError;
use super::session::IndexSession;
use super::translate::{Translated, count};
use chainflume_core::canon::SourceGroup;
use chainflume_core::domain::{BlockId, BlockRange, BlockRef, LogFilter};
use chainflume_node::{BlockWithLogs, HeaderWithLogs, Work};
use chainflume_ops::metrics;
use chainflume_store::{Advance, Staged};

/// Maximum number of blocks that are read and committed together while the loop is a little behind: enough to hide
/// the node's latency, few enough to commit within milliseconds.
const LIVE_BATCH: u64 = 16;

/// A read of new blocks.
pub(super) enum LiveRead {
    /// The blocks follow each other and what is stored.
    Linked(Vec<BlockWithLogs>),
    /// A block contradicts what is stored at this height.
    Contradicted(u64),
}

impl IndexSession<'_> {
    /// Reads the next blocks of a group and stores them.
    pub(super) async fn advance_live(
        &mut self,
        group: SourceGroup,
        stop: &CancellationToken,
    ) -> Result<(), IndexerError> {
        let Some(run) = stop.run_until_cancelled(self.read_live(&group)).await.transpose()? else {
            return Ok(());
        };
        match run {
            LiveRead::Linked(blocks) => {
                self.node.worked(Work::Live, None);
                self.commit_live(&group.sources, blocks).await
            }
            LiveRead::Contradicted(at) => self.check_contradiction(at, stop).await,
        }
    }

    /// Reads the next blocks of a group with their logs, up to [`LIVE_BATCH`].
    pub(super) async fn read_live(&mut self, group: &SourceGroup) -> Result<LiveRead, IndexerError> {
        let (range, _) = group.range.split_at_width(LIVE_BATCH);
        let filter = self.chain.translator.filter(&group.sources);
        let run = self.read_linked(&group.sources, &filter, range).await;
        if run.is_err() {
            self.node.could_not_read(Work::Live, &filter, range);
        }
        run
    }

    async fn read_linked(
        &mut self,
        sources: &[usize],
        filter: &LogFilter,
        range: BlockRange,
    ) -> Result<LiveRead, IndexerError> {
        let near = self.near(sources, filter, range).await?;
        let blocks: Vec<BlockRef> = near.iter().map(|near| near.block()).collect();
        if let Some(at) = self.snapshot().contradicted(&blocks, sources) {
            return Ok(LiveRead::Contradicted(at));
        }
        if let Some(pair) = blocks.windows(2).find(|pair| pair[1].parent_hash != pair[0].hash) {
            return Err(IndexerError::Moved(format!(
                "block {} does not follow the one below",
                pair[1].number
            )));
        }
        let logs = near.into_iter().map(|near| Box::pin(self.chain.pool.with_logs(&self.node, filter, near)));
        let blocks = try_join_all(logs).await?;
        if self.snapshot().parent_of(range.from(), sources).is_none() {
            // No link shows yet that these blocks are of this chain.
            self.node.check_chain().await?;
        }
        Ok(LiveRead::Linked(blocks))
    }

    /// The blocks of the range, up to the first that the node lacks. The first block may have come with the head.
    async fn near(
        &mut self,
        sources: &[usize],
        filter: &LogFilter,
        range: BlockRange,
    ) -> Result<Vec<HeaderWithLogs>, IndexerError> {
        let mut blocks = Vec::from_iter(self.take_prefetched(sources, range.from()));
        let others: Vec<u64> = (range.from()..=range.to()).skip(blocks.len()).collect();
        if !others.is_empty() {
            blocks.extend(self.node.headers_with_logs(filter, &others).await?);
        }
        if blocks.is_empty() {
            let reason =
                format!("{} lacks block {}, which is below its head", self.node.host(), range.from());
            return Err(IndexerError::Moved(reason));
        }
        Ok(blocks)
    }

    async fn commit_live(
        &mut self,
        sources: &[usize],
        blocks: Vec<BlockWithLogs>,
    ) -> Result<(), IndexerError> {
        let refs: Vec<BlockId> = blocks.iter().map(|block| block.block.id()).collect();
        let times: BTreeMap<u64, u64> = blocks.iter().map(|b| (b.block.number, b.block.timestamp)).collect();
        let logs = blocks.iter().flat_map(|block| &block.logs);
        let translated = self.chain.translator.translate(sources, logs, &times);
        let newest = times.last_key_value().map_or(0, |(_, time)| *time);
        self.advance(sources, BlockBatch { refs, translated, staged: None, durable: true }).await?;
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_block = age.saturating_sub(Duration::from_secs(newest));
        metrics::live_latency(&self.chain.settings.name, since_block, self.woken_at.elapsed());
        Ok(())
    }

    /// Commits a batch of blocks for a group of sources, and remembers it.
    pub(super) async fn advance(&mut self, sources: &[usize], batch: BlockBatch) -> Result<(), IndexerError> {
        let BlockBatch { refs, translated: Translated { events, dead_letters }, staged, durable } = batch;
        let Some(to) = refs.last().copied() else { return Ok(()) };
        let final_number = self.final_number();
        let expected = self.snapshot().expected(sources);
        let head = self.head().max(to.number);
        // The latency of a message is measured only at the head: history is read long after it happened.
        let seen_at = durable.then(|| self.seen_at()).flatten();
        let advance =
            Advance { expected, to, refs, final_number, events, dead_letters, head, seen_at, durable };
        let started = Instant::now();
        let advanced = self.store().advance_staged(&advance, staged).await?;
        let kind = if durable { "live" } else { "history" };
        metrics::committed(&self.chain.settings.name, kind, started.elapsed());
        metrics::unknown_users(&self.chain.settings.name, advanced.unknown_users);
        metrics::pending_retracted(&self.chain.settings.name, advanced.retracted);
        let counted = count(self.chain.translator.kinds(), &advance.events, &advance.dead_letters);
        tracing::debug!(chain = %self.chain.settings.name, to = %to, events = advance.events.len(), kind, "advanced");
        self.snapshot_mut().advanced(sources, to, &advance.refs, final_number);
        self.report_sources(Some((sources, &counted)));
        Ok(())
    }

    /// When the loop read the head that made this step possible.
    pub(super) fn seen_at(&self) -> Option<SystemTime> {
        SystemTime::now().checked_sub(self.woken_at.elapsed())
    }
}

/// Blocks to commit together.
pub(super) struct BlockBatch {
    /// The blocks to store, ascending; the last is the new checkpoint.
    pub refs: Vec<BlockId>,
    /// Their logs, translated.
    pub translated: Translated,
    /// Their events, where they were written ahead.
    pub staged: Option<Staged>,
    /// Whether the commit waits for the disk.
    pub durable: bool,
}
