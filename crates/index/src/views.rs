use std::time::Duration;

use super::session::Session;
use chainflume_core::domain::EventKind;
use chainflume_ops::metrics;
use chainflume_store::ChainStore;

/// So long the chain waits for its views, so that they are usually there before the first event. One that somebody holds a
/// lock on takes longer, and is made beside the chain.
const MOMENT: Duration = Duration::from_secs(2);

impl Session<'_> {
    /// Makes the typed views beside everything else: whatever becomes of them, the chain goes on.
    pub(super) async fn make_views(&self, opened: &ChainStore) {
        // Nothing of a blocked source is made: it would look as if it were followed.
        let is_free = |kind: &&EventKind| !opened.comparison().is_blocked(&kind.source);
        let kinds: Vec<EventKind> = opened.kinds().iter().filter(is_free).cloned().collect();
        let store = self.chain.store.clone();
        let (chain, chain_id) = (self.chain.settings.name.clone(), self.chain.settings.chain_id);
        let board = self.chain.board.clone();
        let made = tokio::spawn(async move {
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
            board.chain(&chain, |health| health.view_troubles = troubles);
        });
        // Dropped at the end of the wait, the task goes on by itself.
        let _ = tokio::time::timeout(MOMENT, made).await;
    }
}
