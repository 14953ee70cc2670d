//! Whom the loop asks: the pool names the provider, and the loop follows between two steps.

use std::sync::Arc;
use std::time::Duration;

use super::error::IndexerError;
use super::pending::Telling;
use super::session::Session;
use super::spine::BEAT;
use chainflume_node::{Wake, Work};

/// How a pause ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paused {
    /// It is over.
    Ended,
    /// Another provider is asked from now on.
    Switched,
}

impl Session<'_> {
    /// A pause may be longer than a loop may hang, and ends where another provider can be asked.
    pub(super) async fn pause(&mut self, mut wait: Duration) -> Paused {
        while !wait.is_zero() {
            let part = wait.min(BEAT);
            if tokio::time::timeout(part, self.switched.next()).await.is_ok() {
                return Paused::Switched;
            }
            self.beat();
            wait -= part;
        }
        Paused::Ended
    }

    /// Asks whom the pool names from now on. What the last one said of the chain is asked anew.
    pub(super) fn follow_provider(&mut self) {
        let (live, past) = (self.chain.pool.live(), self.chain.pool.history());
        if !Arc::ptr_eq(&live, &self.node) {
            self.wake = Wake::new(&self.chain.settings, self.chain.pool.live_settings());
            self.node = live;
            let host = self.node.host().to_owned();
            self.chain.board.chain(&self.chain.settings.name, |chain| chain.provider = Some(host));
            // The last one's trouble with its newest blocks was its own.
            (self.observed.tags_at, self.telling) = (None, Telling::default());
            self.forget();
        }
        if !Arc::ptr_eq(&past, &self.past) {
            self.past = past;
            self.forget();
        }
    }

    /// What the node answered, or did not answer, was of no use to this work. The database's trouble is not its.
    pub(super) fn blame(&self, work: Work, error: &IndexerError) {
        match error {
            IndexerError::Chain(error) => self.node.stumbled(work, Some(error)),
            IndexerError::Moved(_) => self.node.stumbled(work, None),
            IndexerError::Store(_) | IndexerError::TooDeep { .. } => {}
        }
    }

    /// Whether another try may help with an error that would stop the chain. Of several nodes one on another chain is left
    /// alone, and so is one that contradicts what is final, until all do. The only node that has been on the right chain in
    /// this turn is asked again: a gateway may answer for another chain for some seconds.
    pub(super) fn may_help_itself(&self, error: &IndexerError) -> bool {
        match error {
            IndexerError::Chain(_) => self.chain.pool.has_several() || self.opened.is_some(),
            IndexerError::TooDeep { .. } => self.chain.pool.distrust(&self.node),
            _ => false,
        }
    }

    /// Whether a chain that stopped may go on, because its node is on the right chain again or does not contradict it any
    /// more.
    pub(super) async fn may_go_on(&self, error: &IndexerError) -> bool {
        match error {
            IndexerError::Chain(error) if error.is_wrong_chain() => self.node.check_chain().await.is_ok(),
            IndexerError::TooDeep { ours, .. } => {
                let shown = self.node.show(&[ours.number]).await;
                shown.is_ok_and(|shown| shown.blocks.iter().flatten().any(|block| block.hash == ours.hash))
            }
            _ => false,
        }
    }
}
