//! Opens the chain at the beginning of each turn and after an error: checks the node's chain, registers the sources,
//! and reads what is stored.

use super::error::IndexerError;
use super::session::IndexSession;
use super::snapshot::ChainSnapshot;

impl IndexSession<'_> {
    /// The next unread block of each source.
    pub(super) fn next_blocks(&self) -> Vec<u64> {
        let next = |index: usize| {
            let start = self.followed_sources.compared(index).and_then(|compared| compared.start);
            match start.filter(|_| !self.followed_sources.is_blocked(index)) {
                Some(start) => {
                    self.snapshot().tip(index).map_or(start, |tip| start.max(tip.number.saturating_add(1)))
                }
                // Above every head, so that no read is planned.
                None => u64::MAX,
            }
        };
        (0..self.chain.translator.sources().len()).map(next).collect()
    }

    /// Checks which chain the node is on, registers the chain and its sources, and reads what is stored.
    pub(super) async fn open(&mut self) -> Result<(), IndexerError> {
        self.node.check_chain().await?;
        // Before the database is used, so that the lag grows while the database is away.
        let heads = self.fetch_heads().await?;
        self.observed.heads = Some(heads);
        self.report_heads(&heads);
        if self.opened.is_none() {
            let stored = self.chain.store.genesis(self.chain.settings.chain_id).await?;
            self.chain.record.genesis_hash = self.chain.pool.settle_genesis(stored).await?;
            let mut opened = self.chain.translator.open(&self.chain.store, &self.chain.record).await?;
            if let Some(epoch) = self.epoch {
                opened = opened.as_leader(epoch).await?;
            }
            self.first_head.begin(opened.awaits_first_head().await?);
            let retracted = opened.retract_unfollowed().await?;
            if retracted > 0 {
                tracing::info!(chain = %self.chain.settings.name, retracted, "pending events retracted: their sources are no longer configured");
            }
            self.make_views(&opened).await;
            self.opened = Some(opened);
        }
        // Before anything is stored, so that the first head decides.
        if self.decide_by_first_head().await? {
            return Ok(());
        }
        self.chain.saved_limits.load(&[&self.node, &self.past]).await;
        let comparison = self.store().follow().await?;
        self.follow_comparison(comparison);
        let held = self.store().snapshot().await?;
        self.attempt.snapshot = Some(ChainSnapshot::new(held, &self.chain.translator.names()));
        self.report_sources(None);
        Ok(())
    }
}
