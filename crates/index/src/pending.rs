//! Blocks above the confirmed ones are read like live blocks, and published as pending instead of stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::{IndexerError, MAX_RETRY_AFTER};
use super::live::LiveRead;
use super::session::IndexSession;
use chainflume_core::canon::SourceGroup;
use chainflume_core::domain::BlockId;
use chainflume_node::{BlockWithLogs, Work};
use chainflume_ops::metrics;
use chainflume_store::Pending;

/// After the node stumbled over its newest blocks. Backends of one node often differ by a block for some hundred
/// milliseconds; more often would only burden a node that is in trouble.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Errors with pending blocks. Confirmed blocks must not wait for a head that only one of a node's backends has.
#[derive(Debug, Default)]
pub(super) struct PendingProgress {
    errors: u64,
    retry_at: Option<Instant>,
}

impl PendingProgress {
    /// The rest of the pause after an error.
    pub(super) fn rest(&self) -> Option<Duration> {
        self.retry_at?.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
    }

    fn succeeded(&mut self) {
        *self = Self::default();
    }

    fn failed(&mut self, chain: &str, error: &IndexerError) {
        self.errors += 1;
        let asked = match error {
            IndexerError::Chain(error) => error.retry_after(),
            _ => None,
        };
        let wait = asked.map_or(RETRY_AFTER, |asked| asked.clamp(RETRY_AFTER, MAX_RETRY_AFTER));
        self.retry_at = Some(Instant::now() + wait);
        metrics::step_error(chain, error.kind());
        if self.errors.is_power_of_two() {
            tracing::debug!(chain, errors = self.errors, %error, "pending blocks cannot be read; retried");
        }
    }
}

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
        // Most blocks of most chains have nothing of ours: they cost no transaction.
        if !events.is_empty() {
            let head = self.head().max(ids.last().map_or(0, |last| last.number));
            let expected = self.snapshot().expected(sources);
            let pending = Pending { expected, blocks: ids.clone(), events, head, seen_at: self.seen_at() };
            let started = Instant::now();
            let published = self.store().announce(&pending).await?;
            metrics::committed(&self.chain.settings.name, "pending", started.elapsed());
            metrics::pending(&self.chain.settings.name, published);
            tracing::debug!(chain = %self.chain.settings.name, to = ids.last().map(|id| id.number), published, "pending events published");
        }
        self.snapshot_mut().add_pending(sources, &ids, &with_events);
        Ok(())
    }

    /// Whether the parent link of the head shows that the newest pending block is canonical, and with it all that is stored.
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
