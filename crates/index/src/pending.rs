//! Ahead of what is confirmed: blocks up to the head are read as live ones are, and told instead of stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::{IndexerError, MAX_RETRY_AFTER};
use super::live::Run;
use super::session::Session;
use chainflume_core::canon::Group;
use chainflume_core::domain::BlockId;
use chainflume_node::{BlockWithLogs, Work};
use chainflume_ops::metrics;
use chainflume_store::Pending;

/// After the node stumbled over its newest blocks. Backends of one node often differ by a block for some hundred
/// milliseconds; more often would only burden a node that is in trouble.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// How telling ahead goes. Its trouble is its own: what is confirmed must not wait for a head that only one of a node's
/// backends has.
#[derive(Debug, Default)]
pub(super) struct Telling {
    errors: u64,
    not_before: Option<Instant>,
}

impl Telling {
    /// How much longer it rests, if it does.
    pub(super) fn rest(&self) -> Option<Duration> {
        self.not_before?.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
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
        let wait = asked.map_or(AGAIN_AFTER, |asked| asked.clamp(AGAIN_AFTER, MAX_RETRY_AFTER));
        self.not_before = Some(Instant::now() + wait);
        metrics::step_error(chain, error.kind());
        if self.errors.is_power_of_two() {
            tracing::debug!(chain, errors = self.errors, %error, "what is pending cannot be told yet");
        }
    }
}

impl Session<'_> {
    /// Tells the next blocks of a group as pending.
    pub(super) async fn tell_pending(
        &mut self,
        group: Group,
        stop: &CancellationToken,
    ) -> Result<(), IndexerError> {
        let told = match stop.run_until_cancelled(self.read_run(&group)).await.transpose() {
            Ok(None) => return Ok(()),
            Ok(Some(Run::Linked(blocks))) => self.announce(&group.sources, blocks).await,
            Ok(Some(Run::Broken(at))) => self.settle_break(at, stop).await,
            Err(error) => Err(error),
        };
        match told {
            Err(error @ (IndexerError::Chain(_) | IndexerError::Moved(_))) if !error.is_fatal() => {
                self.telling.failed(&self.chain.settings.name, &error);
                self.blame(Work::Pending, &error);
                Ok(())
            }
            told => told.inspect(|()| {
                self.telling.succeeded();
                self.node.worked(Work::Pending, None);
            }),
        }
    }

    async fn announce(&mut self, sources: &[usize], blocks: Vec<BlockWithLogs>) -> Result<(), IndexerError> {
        let ids: Vec<BlockId> = blocks.iter().map(|block| block.block.id()).collect();
        let times: BTreeMap<u64, u64> = blocks.iter().map(|b| (b.block.number, b.block.timestamp)).collect();
        let logs = blocks.iter().flat_map(|block| &block.logs);
        let events = self.chain.translator.foresee(sources, logs, &times);
        let with_events: BTreeSet<u64> = events.iter().map(|event| event.place.block_number).collect();
        // Most blocks of most chains have nothing of ours: they cost no transaction.
        if !events.is_empty() {
            let head = self.head().max(ids.last().map_or(0, |last| last.number));
            let expected = self.view().expected(sources);
            let pending = Pending { expected, blocks: ids.clone(), events, head, seen_at: self.seen_at() };
            let started = Instant::now();
            let told = self.store().announce(&pending).await?;
            metrics::committed(&self.chain.settings.name, "pending", started.elapsed());
            metrics::pending(&self.chain.settings.name, told);
            tracing::debug!(chain = %self.chain.settings.name, to = ids.last().map(|id| id.number), told, "told as pending");
        }
        self.view_mut().announced(sources, &ids, &with_events);
        Ok(())
    }

    /// Whether the head shows by its own link that the newest block that was told is canonical, and with it all we hold.
    pub(super) fn newest_links(&self) -> bool {
        let told = self.view().newest_told().filter(|told| Some(told.number) == self.view().highest());
        let (Some(told), Some(newest)) = (told, self.observed.newest) else { return false };
        newest.id() == told || (newest.number == told.number + 1 && newest.parent_hash == told.hash)
    }
}
