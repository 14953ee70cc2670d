//! Far from the head: ranges, read in parallel and landed in order.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::error::IndexerError;
use super::live::Stretch;
use super::spine::ChainIndexer;
use crate::canon::Group;
use crate::chain::{Batch, ChainError, History, OnError};
use crate::domain::BlockId;
use crate::health::Board;
use crate::metrics;

/// A group's history on its way.
pub(super) struct Reading {
    history: History,
    sources: Vec<usize>,
    next: u64,
}

impl Reading {
    /// The next batch; never returns while nothing is being read.
    pub(super) async fn next(reading: &mut Option<Self>) -> Option<Batch> {
        match reading {
            Some(reading) => reading.history.next().await,
            None => std::future::pending().await,
        }
    }
}

impl ChainIndexer {
    /// Makes sure that what is planned is what is being read.
    pub(super) fn read_history(&mut self, planned: Option<Group>) {
        let Some(group) = planned else {
            self.reading = None;
            return;
        };
        let same = |reading: &Reading| reading.sources == group.sources && reading.next == group.range.from();
        if self.reading.as_ref().is_some_and(same) {
            return;
        }
        let filter = self.translator.filter(&group.sources);
        let history = History::new(
            (self.past.clone(), &self.settings.name),
            self.settings.history,
            (filter, group.range),
            self.final_number(),
            report(&self.board, &self.settings.name),
        );
        tracing::debug!(chain = %self.settings.name, range = %group.range, sources = ?group.sources, "reading history");
        self.reading = Some(Reading { history, sources: group.sources, next: group.range.from() });
    }

    /// Commits a batch of history; `None` is the end of what was planned.
    pub(super) async fn land(
        &mut self,
        batch: Option<Batch>,
        stop: &CancellationToken,
    ) -> Result<(), IndexerError> {
        let (Some(reading), Some(batch)) = (&mut self.reading, batch) else {
            self.reading = None;
            return Ok(());
        };
        let sources = reading.sources.clone();
        reading.next = batch.range.to().saturating_add(1);
        if self.view().parent_of(batch.range.from(), &sources).is_some_and(|tip| batch.parent_hash != tip) {
            self.reading = None;
            return self.settle_break(batch.range.from() - 1, stop).await;
        }
        let refs = refs(&batch);
        let translated = self.translator.translate(&sources, batch.logs, &batch.times);
        self.advance(&sources, Stretch { refs, translated, durable: false }).await
    }
}

/// Every block that has logs of ours, and the last. Those below final are dropped again by the store: they
/// are not undone.
fn refs(batch: &Batch) -> Vec<BlockId> {
    let id = |log: &crate::domain::Log| BlockId { number: log.place.block_number, hash: log.block_hash };
    let mut refs: Vec<BlockId> = batch.logs.iter().map(id).collect();
    refs.push(batch.last.id());
    refs.dedup();
    refs
}

/// A reader in the background retries by itself; this makes its trouble visible meanwhile.
pub(super) fn report(board: &Board, chain: &str) -> OnError {
    let (board, chain) = (board.clone(), chain.to_owned());
    Arc::new(move |error: &ChainError| {
        metrics::step_error(&chain, error.kind());
        board.chain(&chain, |health| {
            health.consecutive_errors += 1;
            if health.consecutive_errors.is_power_of_two() {
                tracing::warn!(chain, errors = health.consecutive_errors, %error, "history waits for the node");
            }
            health.last_error = Some(error.to_string());
        });
    })
}
