//! Pending blocks: blocks above the confirmed ones are read like live blocks, and their events are published as
//! pending.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::error::IndexerError;
use super::live::LiveRead;
use super::session::IndexSession;
use chainflume_core::canon::SourceGroup;
use chainflume_core::domain::BlockId;
use chainflume_node::{BlockWithLogs, Work};
use chainflume_ops::metrics;
use chainflume_store::Pending;

impl IndexSession<'_> {
    /// Publishes the next blocks of a group as pending.
    pub(super) async fn publish_pending(
        &mut self,
        group: SourceGroup,
        stop: &CancellationToken,
    ) -> Result<(), IndexerError> {
        let published = match stop.run_until_cancelled(self.read_live(&group)).await.transpose() {
            Ok(None) => return Ok(()),
            Ok(Some(LiveRead::Linked(blocks))) => self.store_pending(&group.sources, blocks).await,
            Ok(Some(LiveRead::Contradicted(at))) => self.check_contradiction(at, stop).await,
            Err(error) => Err(error),
        };
        match published {
            Err(error @ (IndexerError::Chain(_) | IndexerError::Moved(_))) if !error.is_fatal() => {
                self.pending.failed(&self.chain.settings.name, &error);
                self.report_to_provider(Work::Pending, &error);
                Ok(())
            }
            published => published.inspect(|()| {
                self.pending.succeeded();
                self.node.worked(Work::Pending, None);
            }),
        }
    }

    async fn store_pending(
        &mut self,
        sources: &[usize],
        blocks: Vec<BlockWithLogs>,
    ) -> Result<(), IndexerError> {
        let ids: Vec<BlockId> = blocks.iter().map(|block| block.block.id()).collect();
        let times: BTreeMap<u64, u64> = blocks.iter().map(|b| (b.block.number, b.block.timestamp)).collect();
        let logs = blocks.iter().flat_map(|block| &block.logs);
        let events = self.chain.translator.translate_pending(sources, logs, &times);
        let with_events: BTreeSet<u64> = events.iter().map(|event| event.place.block_number).collect();
        // Most blocks have no event of a source, and need no transaction.
        if !events.is_empty() {
            let head = self.head().max(ids.last().map_or(0, |last| last.number));
            let expected = self.snapshot().expected(sources);
            let pending = Pending { expected, blocks: ids.clone(), events, head, seen_at: self.seen_at() };
            let started = Instant::now();
            let published = self.store().publish_pending(&pending).await?;
            metrics::committed(&self.chain.settings.name, "pending", started.elapsed());
            metrics::pending(&self.chain.settings.name, published);
            tracing::debug!(chain = %self.chain.settings.name, to = ids.last().map(|id| id.number), published, "pending events published");
        }
        self.snapshot_mut().add_pending(sources, &ids, &with_events);
        Ok(())
    }

    /// Whether the parent link of the head proves that the newest pending block is canonical, and with it all stored
    /// blocks.
    pub(super) fn head_links(&self) -> bool {
        let published = self
            .snapshot()
            .newest_pending()
            .filter(|published| Some(published.number) == self.snapshot().highest());
        let (Some(published), Some(newest)) = (published, self.observed.newest) else { return false };
        newest.id() == published
            || (newest.number == published.number + 1 && newest.parent_hash == published.hash)
    }
}
