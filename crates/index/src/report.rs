//! Health, metrics and log lines of the loop.

use std::collections::BTreeMap;
use std::time::Instant;

use super::error::IndexerError;
use super::saved_limits::{provider_health, usage};
use super::session::{IndexSession, Observed};
use super::snapshot::ChainSnapshot;
use chainflume_core::canon::{Heads, ReadPlan};
use chainflume_core::domain::causes;
use chainflume_node::HeadSource;
use chainflume_ops::health::{ChainHeads, ChainState, SourceHealth, SourceIdle};
use chainflume_ops::metrics;
use chainflume_ops::telemetry::ErrorText;

impl IndexSession<'_> {
    /// Reports the state of each source. `committed`: the sources that have just advanced, and the number of their
    /// events by source name.
    pub(super) fn report_sources(&self, committed: Option<(&[usize], &BTreeMap<String, u64>)>) {
        let next = self.next_blocks();
        let now = Instant::now();
        self.chain.board.chain(&self.chain.settings.name, |chain| {
            let mut before = std::mem::take(&mut chain.sources);
            for (index, source) in self.chain.translator.sources().iter().enumerate() {
                let fresh = committed.is_some_and(|(group, _)| group.contains(&index)).then_some(now);
                let events = committed.and_then(|(_, events)| events.get(&source.name)).copied();
                let mut pace = before.get_mut(index).map(|s| std::mem::take(&mut s.pace)).unwrap_or_default();
                let tip = self.snapshot().tip(index).map(|tip| tip.number);
                let is_blocked = self.followed_sources.is_blocked(index);
                let idle = self.idle(index);
                self.log_completion(&source.name, idle, before.get(index));
                let next =
                    if is_blocked || idle.is_some() { tip.map_or(0, |tip| tip + 1) } else { next[index] };
                pace.mark(next, events.unwrap_or(0));
                chain.sources.push(SourceHealth {
                    name: source.name.clone(),
                    tip,
                    next,
                    committed_at: fresh.or_else(|| before.get(index).and_then(|source| source.committed_at)),
                    pace,
                    is_blocked,
                    idle,
                    end: source.end_block,
                    hindrance: self.followed_sources.hindrance(index),
                    unread: self.followed_sources.unread(index),
                    notes: self.followed_sources.notes(index),
                });
            }
        });
    }

    fn log_completion(&self, source: &str, idle: Option<SourceIdle>, before: Option<&SourceHealth>) {
        let was = before.is_some_and(|before| before.idle == idle);
        if let Some(SourceIdle::Complete { block }) = idle.filter(|_| !was) {
            tracing::info!(chain = %self.chain.settings.name, source, block, "source is complete: its last block is stored and final");
        }
    }

    /// Why a source reads no blocks although nothing is wrong with it.
    fn idle(&self, index: usize) -> Option<SourceIdle> {
        if self.followed_sources.is_blocked(index) {
            return None;
        }
        self.followed_sources.compared(index)?.start.map_or(Some(SourceIdle::AwaitsHead), |start| {
            let end = self.chain.translator.sources()[index].end_block?;
            let tip = self.snapshot().tip(index).map(|tip| tip.number);
            // A reorg may still undo blocks that are not final.
            let has_all = tip.map_or(start > end, |tip| tip >= end);
            let block = tip.unwrap_or(end);
            (has_all && block <= self.snapshot().final_number()).then_some(SourceIdle::Complete { block })
        })
    }

    /// Whether every source has stored its last block, and all stored blocks are final: no more blocks are read.
    pub(super) fn is_complete(&self) -> bool {
        let sources = 0..self.chain.translator.sources().len();
        let is_complete = |index| matches!(self.idle(index), Some(SourceIdle::Complete { .. }));
        sources.into_iter().all(is_complete)
            && self.snapshot().highest().is_none_or(|highest| highest <= self.snapshot().final_number())
    }

    pub(super) fn report_heads(&self, heads: &Heads) {
        let (confirmed, final_number) = (self.chain.policy.confirmed(heads), self.final_number());
        let pushed = self.wake.state() == HeadSource::Pushed;
        let latest_time = self.observed.newest.map(|head| head.timestamp);
        let node_behind = self.node_behind(heads);
        self.chain.board.chain(&self.chain.settings.name, |chain| {
            let has_moved = chain.heads.latest != Some(heads.latest);
            chain.heads = ChainHeads {
                latest: Some(heads.latest),
                latest_time,
                moved_at: if has_moved { Instant::now() } else { chain.heads.moved_at },
                confirmed,
                final_number,
                node_behind,
                pushed,
            };
        });
    }

    /// Blocks by which the node's head is below the stored blocks; 0 if a backend may lag so far. Such a node was
    /// replaced by one that still syncs, or by an old copy, and the chain cannot advance with it.
    fn node_behind(&self, heads: &Heads) -> u64 {
        let stored = self.attempt.snapshot.as_ref().and_then(ChainSnapshot::highest).unwrap_or(0);
        let behind = stored.saturating_sub(heads.latest);
        if behind > self.chain.policy.least_depth() { behind } else { 0 }
    }

    pub(super) fn report_state(&mut self, plan: &ReadPlan) {
        if self.observed.heads.is_none() || !self.attempt.compared {
            return;
        }
        let is_behind = self.observed.heads.is_some_and(|heads| self.node_behind(&heads) > 0);
        let state = if plan.history.is_some() || is_behind { ChainState::Syncing } else { ChainState::Live };
        let logged = &mut self.chain.logged_state;
        self.chain.board.chain(&self.chain.settings.name, |chain| {
            // While live blocks are read the state stays: a start near the head is not history.
            if chain.state != state
                && !(plan.live.is_some() && chain.state == ChainState::Syncing)
                && chain.errors.consecutive == 0
            {
                chain.state = state;
                // After an error the state is the same as before, and "chain recovered" was logged.
                if logged.replace(state) != Some(state) {
                    tracing::info!(chain = %self.chain.settings.name, head = chain.heads.latest, "chain is {}", state.as_str());
                }
            }
        });
    }

    pub(super) fn beat(&self) {
        let (usage, providers) = (usage(&self.chain.pool), provider_health(&self.chain.pool));
        self.chain.board.chain(&self.chain.settings.name, |chain| {
            chain.alive_at = Instant::now();
            (chain.node.rpc, chain.node.providers) = (usage, providers);
        });
    }

    /// Reports a success. Returns whether it ends a row of errors.
    pub(super) fn report_success(&self) -> bool {
        let mut ended = false;
        self.chain.board.chain(&self.chain.settings.name, |chain| {
            ended = std::mem::take(&mut chain.errors.consecutive) > 0;
            if ended {
                (chain.errors.last, chain.errors.last_kind) = (None, None);
            }
        });
        if ended && self.chain.error_streak.ended() {
            tracing::info!(chain = %self.chain.settings.name, "chain recovered");
        }
        ended
    }

    pub(super) fn report_failure(&mut self, error: &IndexerError, fatal: bool) {
        self.forget();
        if matches!(error, IndexerError::Chain(error) if error.is_wrong_chain()) {
            // The heads are those of another chain, and the tag history would refuse lower ones.
            self.observed = Observed::default();
        }
        metrics::step_error(&self.chain.settings.name, error.kind());
        let text = causes(error);
        let (mut errors, mut news) = (0, ErrorText::Same);
        self.chain.board.chain(&self.chain.settings.name, |chain| {
            chain.errors.consecutive += 1;
            errors = chain.errors.consecutive;
            news = ErrorText::after(chain.errors.last.as_deref(), &text);
            chain.state = if fatal { ChainState::Stopped } else { ChainState::Failing };
            (chain.errors.last, chain.errors.last_kind) = (Some(text.clone()), Some(error.kind()));
        });
        if let Some(suppressed) = self.chain.error_streak.failed(error.kind().as_str(), errors, news) {
            let (chain, suppressed) = (&self.chain.settings.name, suppressed.field());
            tracing::warn!(%chain, errors, suppressed, error = %text, "step failed; it is retried");
        }
    }
}
