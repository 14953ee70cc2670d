//! Whom the loop asks: the pool names the provider, and the loop follows between two steps.

use std::sync::Arc;

use super::error::IndexerError;
use super::spine::ChainIndexer;
use crate::chain::Wake;

impl ChainIndexer {
    /// Asks whom the pool names from now on. What the last one said of the chain is asked anew.
    pub(super) fn follow_provider(&mut self) {
        let (live, past) = (self.pool.live(), self.pool.history());
        if !Arc::ptr_eq(&live, &self.node) {
            self.wake = Wake::new(&self.settings, self.pool.live_settings());
            self.node = live;
            let host = self.node.host().to_owned();
            self.board.chain(&self.settings.name, |chain| chain.provider = Some(host));
            self.tags_at = None;
            self.forget();
        }
        if !Arc::ptr_eq(&past, &self.past) {
            self.past = past;
            self.forget();
        }
    }

    /// Of several nodes one on another chain is left alone, and so is one that contradicts what is final, until all do.
    pub(super) fn may_ask_another(&self, error: &IndexerError) -> bool {
        match error {
            IndexerError::Chain(_) => self.pool.has_several(),
            IndexerError::TooDeep { .. } => self.pool.distrust(&self.node),
            _ => false,
        }
    }
}
