use std::time::Duration;

use super::session::{HistoryRead, IndexSession};
use chainflume_core::domain::EventKind;
use chainflume_ops::metrics;
use chainflume_ops::supervise::{Beside, Loop};
use chainflume_store::ChainStore;

/// How long the chain waits for its views, so that they usually exist before the first event. One that another session holds a
/// lock on takes longer, and is made beside the chain.
const MOMENT: Duration = Duration::from_secs(2);
/// Each view waits for locks for two seconds, three times at most; a hundred views that are all locked take ten minutes.
const HUNG: Duration = Duration::from_mins(15);

impl IndexSession<'_> {
    /// Makes the typed views beside everything else: whatever becomes of them, the chain goes on.
    ///
    /// # Panics
    /// When the making of them panics: the supervisor logs and counts it, and starts the chain again.
    pub(super) async fn make_views(&mut self, opened: &ChainStore) {
        // Nothing of a blocked source is made: it would look as if it were followed.
        let blocked = opened.comparison().blocked();
        let is_free = |kind: &&EventKind| !blocked.contains(kind.source.as_str());
        let kinds: Vec<EventKind> = opened.kinds().iter().filter(is_free).cloned().collect();
        let store = self.chain.store.clone();
        let (chain, chain_id) = (self.chain.settings.name.clone(), self.chain.settings.chain_id);
        let board = self.chain.board.clone();
        let this = Loop::new(format!("views {chain}"), HUNG);
        let mut making = Beside::start(this, |_| async move {
            let troubles: Vec<String> = match store.make_views(chain_id, &kinds).await {
                Ok(troubles) => troubles.iter().map(ToString::to_string).collect(),
                Err(error) => {
                    vec![format!("no view could be looked at: {error}; run `chainflume views` later")]
                }
            };
            for trouble in &troubles {
                tracing::warn!(%chain, "{trouble}; events are stored all the same");
            }
            metrics::views_missing(&chain, troubles.len() as u64);
            board.chain(&chain, |health| health.notices.views = troubles);
        });
        // What takes longer is looked at with each step.
        let _made_in_time = tokio::time::timeout(MOMENT, making.ended()).await;
        self.views = Some(making);
    }

    /// # Panics
    /// When a task beside the loop panicked or hangs: the supervisor starts the loop again with all of them.
    pub(super) fn check_tasks(&mut self) {
        self.chain.pool.check();
        self.wake.check();
        self.attempt.history_read.iter().for_each(HistoryRead::check);
        if self.views.as_mut().is_some_and(Beside::has_ended) {
            self.views = None;
        }
    }
}
