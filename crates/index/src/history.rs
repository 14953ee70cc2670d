//! Old blocks: ranges, read in parallel and committed in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::error::IndexerError;
use super::live::BlockBatch;
use super::session::IndexSession;
use super::translate::{GroupTranslator, Translated};
use chainflume_core::canon::SourceGroup;
use chainflume_core::domain::{B256, BlockId, BlockRange};
use chainflume_db::StoreError;
use chainflume_node::{Batch, ChainError, HistoryReader, HistoryRequest, OnError, ReadDepths};
use chainflume_ops::health::Board;
use chainflume_ops::metrics;
use chainflume_ops::supervise;
use chainflume_ops::telemetry::ErrorStreak;
use chainflume_store::{ChainStore, Staged};

/// A group's history that is being read. Two batches are translated and written ahead at a time, each by its own task, so
/// that the database takes in rows on two processors.
pub(super) struct HistoryRead {
    preparing: mpsc::Receiver<PreparingBatch>,
    /// Taken from there, and not ready yet.
    awaited: Option<PreparingBatch>,
    /// Since when that is waited for.
    awaited_since: Instant,
    /// Of the tasks that translate and write.
    name: Arc<str>,
    reader: AbortOnDropHandle<()>,
    sources: Vec<usize>,
    next: u64,
}

/// Never aborted, only let go: it ends by itself soon, and what it wrote ahead is taken back. A `COPY` that is abandoned while
/// its end is waited for leaves an answer in its connection, which the next user of the connection would take for its own.
type PreparingBatch = JoinHandle<PreparedBatch>;

/// A batch is some megabytes: translating and writing it takes seconds, on a busy server minutes. A wait for a lock ends after
/// 30 s, so that what takes longer than this makes no progress: the loop starts again, and the next leader of the chain ends the
/// transaction that was left behind.
const HUNG: Duration = Duration::from_mins(15);

/// A batch that only has to be stored.
pub(super) struct PreparedBatch {
    range: BlockRange,
    parent_hash: B256,
    refs: Vec<BlockId>,
    translated: Translated,
    /// The events, written ahead where that could be.
    staged: Result<Option<Staged>, StoreError>,
}

impl HistoryRead {
    fn start(
        mut history: HistoryReader,
        (translator, store): (GroupTranslator, ChainStore),
        (chain, group): (&str, SourceGroup),
    ) -> Self {
        let (sender, preparing) = mpsc::channel(1);
        let name: Arc<str> = format!("write-ahead {chain}").into();
        let task = name.clone();
        let reader = AbortOnDropHandle::new(tokio::spawn(async move {
            // Room first: what is translated waits here and nowhere else.
            while let Ok(room) = sender.reserve().await
                && let Some(batch) = history.next().await
            {
                let (name, writer) = (task.clone(), (translator.clone(), store.clone()));
                room.send(tokio::spawn(async move {
                    supervise::exposed(&name, PreparedBatch::new(batch, writer)).await
                }));
            }
        }));
        Self {
            preparing,
            awaited: None,
            awaited_since: Instant::now(),
            name,
            reader,
            next: group.range.from(),
            sources: group.sources,
        }
    }

    /// # Panics
    /// When the translation or the writing of a batch hangs. The loop that waits for it turns meanwhile, and would not be missed.
    pub(super) fn check(&self) {
        let since = self.awaited_since.elapsed();
        assert!(
            self.awaited.is_none() || since <= supervise::hang_limit(HUNG),
            "the task `{}` has not turned for {} s; its loop is started again",
            self.name,
            since.as_secs()
        );
    }

    /// The next batch; never returns while nothing is being read. May be dropped and called again.
    pub(super) async fn next(reading: &mut Option<Self>) -> Option<PreparedBatch> {
        let Some(reading) = reading else { return std::future::pending().await };
        if reading.awaited.is_none() {
            reading.awaited = reading.preparing.recv().await;
            reading.awaited_since = Instant::now();
        }
        let ended = match &mut reading.awaited {
            Some(preparing) => preparing.await.map(Some),
            None => (&mut reading.reader).await.map(|()| None),
        };
        reading.awaited = None;
        match ended {
            Ok(ready) => ready,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }
}

impl PreparedBatch {
    async fn new(batch: Batch, (translator, store): (GroupTranslator, ChainStore)) -> Self {
        let (range, parent_hash, refs) = (batch.range, batch.parent_hash, refs(&batch));
        let translated = translator.translate(&batch.logs, &batch.times);
        drop(batch);
        let staged = store.stage(&translated.events).await;
        Self { range, parent_hash, refs, translated, staged }
    }
}

impl IndexSession<'_> {
    /// How deep below the head blocks are now.
    pub(super) fn depths(&self) -> ReadDepths {
        ReadDepths { final_number: self.final_number(), aged: self.aged() }
    }

    /// Ends the reading of anything but this, and takes back what was written ahead of it.
    pub(super) fn drop_unplanned_history(&mut self, planned: Option<&SourceGroup>) {
        self.attempt.history_read = self.attempt.history_read.take().filter(|reading| {
            planned
                .is_some_and(|group| reading.sources == group.sources && reading.next == group.range.from())
        });
    }

    /// Makes sure that what is planned is what is being read.
    pub(super) fn start_history(&mut self, planned: Option<SourceGroup>) {
        self.drop_unplanned_history(planned.as_ref());
        let Some(group) = planned.filter(|_| self.attempt.history_read.is_none()) else { return };
        // Who is asked about new blocks was checked when the chain was opened, another one is by its probe.
        if let Err(error) = self.past.is_checked() {
            return error_reporter(&self.chain.board, &self.chain.settings.name, &self.chain.troubles)(
                &error,
            );
        }
        let filter = self.chain.translator.filter(&group.sources);
        let history = HistoryReader::new(
            self.past.clone(),
            &self.chain.settings.name,
            self.chain.settings.history,
            HistoryRequest { filter, range: group.range, depths: self.depths() },
            error_reporter(&self.chain.board, &self.chain.settings.name, &self.chain.troubles),
        );
        tracing::debug!(chain = %self.chain.settings.name, range = %group.range, sources = ?group.sources, "reading history");
        let translator = self.chain.translator.of_group(&group.sources).clone();
        let writer = (translator, self.store().clone());
        self.attempt.history_read =
            Some(HistoryRead::start(history, writer, (&self.chain.settings.name, group)));
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

/// Every block that has logs of ours, and the last. Those below final are dropped again by the store: they
/// are not undone.
fn refs(batch: &Batch) -> Vec<BlockId> {
    let mut refs: Vec<BlockId> = batch.logs.blocks().map(|block| block.id).collect();
    refs.push(batch.last.id());
    refs.dedup();
    refs
}

/// Reports errors of a reader in the background, which retries by itself.
pub(super) fn error_reporter(board: &Board, chain: &str, troubles: &Arc<ErrorStreak>) -> OnError {
    let (board, chain, troubles) = (board.clone(), chain.to_owned(), troubles.clone());
    Arc::new(move |error: &ChainError| {
        metrics::step_error(&chain, error.kind());
        let mut errors = 0;
        board.chain(&chain, |health| {
            health.consecutive_errors += 1;
            errors = health.consecutive_errors;
            health.last_error = Some(error.to_string());
        });
        if let Some(suppressed) = troubles.failed(error.kind(), errors, false) {
            let suppressed = suppressed.field();
            tracing::warn!(chain, errors, suppressed, %error, "reading history failed; the provider is retried");
        }
    })
}
