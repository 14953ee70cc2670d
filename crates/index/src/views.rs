use std::time::Duration;

use super::session::{HistoryRead, IndexSession};
use chainflume_core::domain::EventKind;
use chainflume_ops::metrics;
use chainflume_ops::supervise::{Beside, Loop};
use chainflume_store::ChainStore;

/// How long the chain waits for its views, so that they usually exist before the first event. A view that another
/// session has locked takes longer, and is created while the chain runs.
const MAX_WAIT_FOR_VIEWS: Duration = Duration::from_secs(2);
/// Each view waits for locks for two seconds, three times at most. A hundred locked views take ten minutes.
const HUNG_AFTER: Duration = Duration::from_mins(15);

impl IndexSession<'_> {
    /// Creates the typed views in a task of its own: the chain continues whether they succeed or not.
    ///
    /// # Panics
    /// When the task panics: the supervisor logs and counts it, and starts the chain again.
    pub(super) async fn make_views(&mut self, opened: &ChainStore) {
        // No view of a blocked source is created: the source would seem to be followed.
        let blocked = opened.comparison().blocked();
        let is_free = |kind: &&EventKind| !blocked.contains(kind.source.as_str());
        let kinds: Vec<EventKind> = opened.kinds().iter().filter(is_free).cloned().collect();
        let store = self.chain.store.clone();
        let (chain, chain_id) = (self.chain.settings.name.clone(), self.chain.settings.chain_id);
        let board = self.chain.board.clone();
        let this = Loop::new(format!("views {chain}"), HUNG_AFTER);
        let mut making = Beside::start(this, |_| async move {
            let problems: Vec<String> = match store.make_views(chain_id, &kinds).await {
                Ok(problems) => problems.iter().map(ToString::to_string).collect(),
                Err(error) => {
                    vec![format!("views cannot be checked: {error}; run `chainflume views` later")]
                }
            };
            for problem in &problems {
                tracing::warn!(%chain, "{problem}; events are stored in any case");
            }
            metrics::views_missing(&chain, problems.len() as u64);
            board.chain(&chain, |health| health.notices.views = problems);
        });
        // A task that takes longer is checked with each step.
        let _made_in_time = tokio::time::timeout(MAX_WAIT_FOR_VIEWS, making.ended()).await;
        self.views = Some(making);
    }

    /// # Panics
    /// When a task that runs beside the loop panicked or hangs: the supervisor starts the loop again with all its
    /// tasks.
    pub(super) fn check_tasks(&mut self) {
        self.chain.pool.check();
        self.wake.check();
        self.attempt.history_read.iter().for_each(HistoryRead::check);
        if self.views.as_mut().is_some_and(Beside::has_ended) {
            self.views = None;
        }
    }
}
