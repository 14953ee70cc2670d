use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::IndexerError;
use super::provider::PauseEnd;
use super::session::{GapRead, HistoryRead, IndexSession, MAX_WAIT};
use super::wiring::ChainIndexer;
use chainflume_core::canon::{Heads, ReadPlan, SourcePosition, plan};
use chainflume_db::Epoch;
use chainflume_node::Work;
use chainflume_ops::backoff::Backoff;

impl ChainIndexer {
    /// Runs as the chain's only writer, without a lease, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        self.run_turn(None, stop).await;
    }

    /// Runs steps until `stop`, or until another instance holds the lease. An error is logged, and the step is
    /// retried after a pause. An error that needs an operator stops this chain only. A commit is never interrupted.
    pub async fn run_turn(&mut self, epoch: Option<Epoch>, stop: CancellationToken) {
        let mut session = IndexSession::new(self, epoch);
        session.run(&stop).await;
        session.chain.saved_limits.save(&[&session.node, &session.past]).await;
    }
}

impl IndexSession<'_> {
    async fn run(&mut self, stop: &CancellationToken) {
        let mut backoff = Backoff::new(MIN_PAUSE, MAX_PAUSE);
        while !stop.is_cancelled() {
            let stepped = Box::pin(self.step(stop)).await;
            self.beat();
            self.chain.saved_limits.save_if_due(&[&self.node, &self.past]).await;
            let error = match stepped {
                Ok(StepProgress::Made) => {
                    if self.report_success() {
                        backoff.reset();
                        self.end_stop();
                    }
                    continue;
                }
                Ok(StepProgress::None) => continue,
                Err(IndexerError::Store(error)) if error.is_fenced() => {
                    tracing::warn!(chain = %self.chain.settings.name, %error, "another instance took the lease of this chain; this instance stands by");
                    return;
                }
                Err(error) if self.set_aside_source(&error) => continue,
                Err(error) => error,
            };
            self.report_to_provider(Work::Live, &error);
            let fatal = error.is_fatal() && !self.skip_provider(&error);
            self.report_failure(&error, fatal);
            if fatal {
                self.wait_while_stopped(&error, stop).await;
                continue;
            }
            let wait = error.wait(backoff.next_pause());
            if stop.run_until_cancelled(self.pause(wait)).await == Some(PauseEnd::Switched) {
                // Errors of the last provider must not delay the new one.
                backoff.reset();
            }
        }
    }

    /// One step: stores new blocks, or publishes pending blocks, or waits for a new head or a batch of old blocks.
    ///
    /// The parts are boxed: a thread of the runtime has two megabytes of stack, and a large future inside another is
    /// copied whenever the outer one is moved.
    async fn step(&mut self, stop: &CancellationToken) -> Result<StepProgress, IndexerError> {
        if !self.prepare(stop).await? {
            return Ok(StepProgress::None);
        }
        let plan = if self.attempt.compared { self.current_plan() } else { ReadPlan::default() };
        self.report_state(&plan);
        let ReadPlan { live, pending, history } = plan;
        Box::pin(self.maintain_indexes(history.as_ref().filter(|_| live.is_none()), stop)).await?;
        if let Some(group) = live {
            // A head that went back may make history live. Its rows that were written ahead would block the live
            // rows.
            self.cancel_unplanned_history(history.as_ref());
            return Box::pin(self.advance_live(group, stop)).await.map(|()| StepProgress::Made);
        }
        if let Some(group) = pending {
            return Box::pin(self.publish_pending(group, stop)).await.map(|()| StepProgress::None);
        }
        let is_syncing = history.is_some();
        Box::pin(self.start_gap(is_syncing)).await?;
        self.start_history(history);
        self.wait_for_work(stop).await
    }

    /// Switches to the provider that the pool chose, and reads what is stored. Returns whether the step can continue.
    async fn prepare(&mut self, stop: &CancellationToken) -> Result<bool, IndexerError> {
        self.check_tasks();
        self.take_provider();
        if self.attempt.snapshot.is_none() {
            let opened = stop.run_until_cancelled(Box::pin(self.open())).await.transpose()?;
            // The first head may have decided the first block of a source: then the chain is opened again.
            if opened.is_none() || self.opened.is_none() {
                return Ok(false);
            }
        }
        self.check_decisions().await?;
        Ok(self.attempt.snapshot.is_some())
    }

    /// Waits for a new head, a batch of history or a batch of a gap, and processes the first.
    async fn wait_for_work(&mut self, stop: &CancellationToken) -> Result<StepProgress, IndexerError> {
        let longest = self.pending.rest().map_or(MAX_WAIT, |rest| rest.min(MAX_WAIT));
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(StepProgress::None),
            () = self.switched.next() => Ok(StepProgress::None),
            () = self.wake.ready() => Box::pin(self.observe(stop)).await,
            () = self.chain.board.woken(&self.chain.settings.name) => {
                self.wake.poll_now();
                Ok(StepProgress::None)
            }
            batch = HistoryRead::next(&mut self.attempt.history_read) => {
                Box::pin(self.commit_history(batch, stop)).await.map(|()| StepProgress::Made)
            }
            batch = GapRead::next(&mut self.attempt.gap_read) => {
                Box::pin(self.store_gap_range(batch)).await.map(|()| StepProgress::None)
            }
            () = std::future::ready(()), if GapRead::reads_by_hash(self.attempt.gap_read.as_ref()) => {
                Box::pin(self.read_gap_by_hash()).await.map(|()| StepProgress::None)
            }
            () = tokio::time::sleep(longest) => Ok(StepProgress::None),
        }
    }

    /// The plan for the heads that were fetched last.
    pub(super) fn current_plan(&self) -> ReadPlan {
        self.observed.heads.as_ref().map_or_else(ReadPlan::default, |heads| self.plan(heads))
    }

    /// The plan for these heads.
    pub(super) fn plan(&self, heads: &Heads) -> ReadPlan {
        let mut zones = self.chain.policy.zones(heads);
        zones.pending_to = zones.pending_to.filter(|_| self.pending.rest().is_none());
        let positions: Vec<SourcePosition> = self
            .next_blocks()
            .into_iter()
            .enumerate()
            .map(|(index, next)| SourcePosition {
                next,
                next_pending: self.snapshot().next_pending(index),
                last: self.chain.translator.sources()[index].end_block.unwrap_or(u64::MAX),
            })
            .collect();
        plan(&positions, zones)
    }
}

/// Whether a step made progress. Only progress ends a streak of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepProgress {
    Made,
    None,
}

/// Longest pause between two tries: a node or database that recovers is noticed within this time.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// First pause between two tries.
const MIN_PAUSE: Duration = Duration::from_millis(100);
