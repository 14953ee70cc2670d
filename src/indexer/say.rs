//! What the loop says of itself: board, metrics and log.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::IndexerError;
use super::memory::{spent, stand};
use super::spine::ChainIndexer;
use crate::canon::Heads;
use crate::chain::WakeState;
use crate::domain::causes;
use crate::health::{ChainState, SourceHealth};
use crate::metrics;

impl ChainIndexer {
    pub(super) fn say_sources(&self, committed: Option<&[usize]>) {
        let next = self.next_blocks();
        let now = Instant::now();
        self.board.chain(&self.settings.name, |chain| {
            let before = std::mem::take(&mut chain.sources);
            for (index, source) in self.translator.sources().iter().enumerate() {
                let fresh = committed.is_some_and(|group| group.contains(&index)).then_some(now);
                chain.sources.push(SourceHealth {
                    name: source.name.clone(),
                    tip: self.view().tip(index).map(|tip| tip.number),
                    next: next[index],
                    committed_at: fresh.or_else(|| before.get(index).and_then(|source| source.committed_at)),
                });
            }
        });
    }

    pub(super) fn say_heads(&self, heads: &Heads) {
        let (confirmed, final_number) = (self.policy.confirmed(heads), self.final_number());
        let pushed = self.wake.state() == WakeState::Pushed;
        self.board.chain(&self.settings.name, |chain| {
            if chain.head != Some(heads.latest) {
                chain.head_moved_at = Instant::now();
            }
            (chain.head, chain.confirmed, chain.final_number, chain.pushed) =
                (Some(heads.latest), confirmed, final_number, pushed);
        });
    }

    pub(super) fn say_state(&self, live: bool, history: bool) {
        if self.heads.is_none() || !self.looked {
            return;
        }
        let state = if history { ChainState::Syncing } else { ChainState::Live };
        self.board.chain(&self.settings.name, |chain| {
            // While live blocks are being read the state stays: a start near the head is not history.
            if chain.state != state
                && !(live && chain.state == ChainState::Syncing)
                && chain.consecutive_errors == 0
            {
                tracing::info!(chain = %self.settings.name, head = chain.head, "chain is {}", state.as_str());
                chain.state = state;
            }
        });
    }

    pub(super) fn beat(&self) {
        let (spent, providers) = (spent(&self.pool), stand(&self.pool));
        self.board.chain(&self.settings.name, |chain| {
            chain.alive_at = Instant::now();
            (chain.rpc, chain.providers) = (spent, providers);
        });
    }

    /// Whether this success ends a row of errors.
    pub(super) fn succeeded(&self) -> bool {
        let mut ended = false;
        self.board.chain(&self.settings.name, |chain| {
            ended = std::mem::take(&mut chain.consecutive_errors) > 0;
            if ended {
                (chain.last_error, chain.last_error_kind) = (None, None);
                tracing::info!(chain = %self.settings.name, "recovered");
            }
        });
        ended
    }

    pub(super) fn failed(&mut self, error: &IndexerError, fatal: bool) {
        self.forget();
        metrics::step_error(&self.settings.name, error.kind());
        let text = causes(error);
        self.board.chain(&self.settings.name, |chain| {
            chain.consecutive_errors += 1;
            // A node that is away for a night says so a dozen times, not ten thousand.
            if chain.consecutive_errors.is_power_of_two() || chain.last_error.as_ref() != Some(&text) {
                tracing::warn!(chain = %self.settings.name, errors = chain.consecutive_errors, error = %text, "step failed");
            }
            chain.state = if fatal { ChainState::Stopped } else { ChainState::Failing };
            (chain.last_error, chain.last_error_kind) = (Some(text), Some(error.kind()));
        });
    }

    /// Until the end, or until an operator has taken the chain back.
    pub(super) async fn keep_stopped(&self, stop: &CancellationToken) {
        tracing::error!(chain = %self.settings.name, "chain stopped; an operator has to decide");
        let before = self.rewinds().await;
        let mut beat = tokio::time::interval(Duration::from_secs(1));
        while stop.run_until_cancelled(beat.tick()).await.is_some() {
            self.beat();
            let now = self.rewinds().await;
            if before.is_some() && now.is_some() && now != before {
                tracing::warn!(chain = %self.settings.name, "chain was taken back; going on from there");
                return;
            }
        }
    }

    /// How often the chain was taken back; `None` while that cannot be told.
    async fn rewinds(&self) -> Option<u64> {
        let held = self.opened.as_ref()?.held().await;
        held.ok().map(|held| held.reorgs)
    }
}
