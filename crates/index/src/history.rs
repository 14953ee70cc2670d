//! History: ranges of old blocks, read in parallel and committed in order.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::error::IndexerError;
use super::live::BlockBatch;
use super::session::{BatchWriter, HistoryRead, IndexSession, PreparedBatch};
use chainflume_core::canon::SourceGroup;
use chainflume_core::domain::BlockRange;
use chainflume_node::{ChainError, HistoryReader, HistoryRequest, OnError, ReadDepths};
use chainflume_ops::health::Board;
use chainflume_ops::metrics;
use chainflume_ops::telemetry::{ErrorStreak, ErrorText};

impl IndexSession<'_> {
    /// The heights that decide how blocks are read now.
    pub(super) fn depths(&self) -> ReadDepths {
        ReadDepths { final_number: self.final_number(), aged: self.aged() }
    }

    /// Cancels a read of history that is not planned any more, with the rows that it wrote ahead.
    pub(super) fn cancel_unplanned_history(&mut self, planned: Option<&SourceGroup>) {
        self.attempt.history_read = self.attempt.history_read.take().filter(|reading| {
            planned
                .is_some_and(|group| reading.sources == group.sources && reading.next == group.range.from())
        });
    }

    /// Starts to read the planned history, unless it is being read already.
    pub(super) fn start_history(&mut self, planned: Option<SourceGroup>) {
        self.cancel_unplanned_history(planned.as_ref());
        let Some(group) = planned.filter(|_| self.attempt.history_read.is_none()) else { return };
        // The provider of new blocks was checked when the chain was opened; another one is checked by its probe.
        if let Err(error) = self.past.is_checked() {
            return error_reporter(&self.chain.board, &self.chain.settings.name, &self.chain.error_streak)(
                group.range,
                &error,
            );
        }
        let filter = self.chain.translator.filter(&group.sources);
        let history = HistoryReader::new(
            self.past.clone(),
            &self.chain.settings.name,
            self.chain.settings.history,
            HistoryRequest { filter, range: group.range, depths: self.depths() },
            error_reporter(&self.chain.board, &self.chain.settings.name, &self.chain.error_streak),
        );
        tracing::debug!(chain = %self.chain.settings.name, range = %group.range, sources = ?group.sources, "reading history");
        let translator = self.chain.translator.of_group(&group.sources).clone();
        let writer = BatchWriter { translator, store: self.store().clone() };
        self.attempt.history_read =
            Some(HistoryRead::start(history, writer, &self.chain.settings.name, group));
    }

    /// Commits a batch of history. `None` ends the planned range.
    pub(super) async fn commit_history(
        &mut self,
        ready: Option<PreparedBatch>,
        stop: &CancellationToken,
    ) -> Result<(), IndexerError> {
        let (Some(reading), Some(ready)) = (&mut self.attempt.history_read, ready) else {
            self.attempt.history_read = None;
            return Ok(());
        };
        let sources = reading.sources.clone();
        let PreparedBatch { range, parent_hash, refs, translated, staged } = ready;
        reading.next = range.to().saturating_add(1);
        match self.snapshot().parent_of(range.from(), &sources) {
            Some(tip) if parent_hash != tip => {
                self.attempt.history_read = None;
                return self.check_contradiction(range.from() - 1, stop).await;
            }
            Some(_) => {}
            // No link shows yet that these blocks are of this chain.
            None => self.past.check_chain().await?,
        }
        self.advance(&sources, BlockBatch { refs, translated, staged: staged?, durable: false }).await
    }
}

/// A function that reports errors of a reader in the background, which retries by itself.
pub(super) fn error_reporter(board: &Board, chain: &str, error_streak: &Arc<ErrorStreak>) -> OnError {
    let (board, chain, error_streak) = (board.clone(), chain.to_owned(), error_streak.clone());
    Arc::new(move |blocks: BlockRange, error: &ChainError| {
        metrics::step_error(&chain, error.kind());
        let mut errors = 0;
        board.chain(&chain, |health| {
            health.errors.consecutive += 1;
            errors = health.errors.consecutive;
            health.errors.last = Some(error.to_string());
        });
        if let Some(suppressed) = error_streak.failed(error.kind().as_str(), errors, ErrorText::Same) {
            let suppressed = suppressed.field();
            tracing::warn!(chain, errors, suppressed, %blocks, %error, "reading history failed; the provider is retried");
        }
    })
}
