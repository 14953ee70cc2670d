//! The provider in use: the pool chooses it, and the loop switches to it between two steps.

use std::sync::Arc;
use std::time::Duration;

use super::error::IndexerError;
use super::session::{IndexSession, MAX_WAIT, PendingProgress};
use chainflume_node::{HeadNotifier, Work};

/// Why a pause ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PauseEnd {
    /// The whole pause has passed.
    Elapsed,
    /// The pool chose another provider.
    Switched,
}

impl IndexSession<'_> {
    /// Pauses, and reports progress meanwhile. A switch of the provider ends the pause.
    pub(super) async fn pause(&mut self, mut wait: Duration) -> PauseEnd {
        while !wait.is_zero() {
            let part = wait.min(MAX_WAIT);
            if tokio::time::timeout(part, self.switched.next()).await.is_ok() {
                return PauseEnd::Switched;
            }
            self.beat();
            wait -= part;
        }
        PauseEnd::Elapsed
    }

    /// Switches to the provider that the pool chose. Answers of the last provider are dropped.
    pub(super) fn take_provider(&mut self) {
        let (live, past) = (self.chain.pool.live(), self.chain.pool.history());
        if !Arc::ptr_eq(&live, &self.node) {
            self.wake = HeadNotifier::new(&self.chain.settings, self.chain.pool.live_settings());
            self.node = live;
            let host = self.node.host().to_owned();
            self.chain.board.chain(&self.chain.settings.name, |chain| chain.node.provider = Some(host));
            // Errors of the last provider about its newest blocks do not count for the new one.
            (self.observed.tags_at, self.pending) = (None, PendingProgress::default());
            self.forget();
        }
        if !Arc::ptr_eq(&past, &self.past) {
            self.past = past;
            self.forget();
        }
    }

    /// Reports an error to the provider's health, unless the database caused it.
    pub(super) fn report_to_provider(&self, work: Work, error: &IndexerError) {
        match error {
            IndexerError::Chain(error) => self.node.work_failed(work, Some(error)),
            IndexerError::GaveUp { error, .. } => self.node.work_failed(work, Some(error)),
            IndexerError::Moved(_) => self.node.work_failed(work, None),
            IndexerError::Store(_) | IndexerError::TooDeep { .. } => {}
        }
    }

    /// Skips a provider that is on another chain or contradicts a final block. Returns whether a retry may help. It
    /// may unless all providers do the same. A single provider that was on the right chain in this turn is retried
    /// too, because a gateway may answer for another chain for some seconds.
    pub(super) fn skip_provider(&self, error: &IndexerError) -> bool {
        match error {
            IndexerError::Chain(_) => self.chain.pool.has_several() || self.opened.is_some(),
            IndexerError::TooDeep { .. } => self.chain.pool.distrust(&self.node),
            _ => false,
        }
    }

    /// Whether a stopped chain can continue: its node is on the right chain again, or a provider agrees with the final block again.
    pub(super) async fn is_resolved(&self, error: &IndexerError) -> bool {
        match error {
            IndexerError::Chain(error) if error.is_wrong_chain() => self.node.check_chain().await.is_ok(),
            IndexerError::TooDeep { ours, .. } => self.chain.pool.agrees_on(*ours).await,
            _ => false,
        }
    }
}
