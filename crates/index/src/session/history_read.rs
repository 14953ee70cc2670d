use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::translate::{GroupTranslator, Translated};
use chainflume_core::canon::SourceGroup;
use chainflume_core::domain::{B256, BlockId, BlockRange};
use chainflume_db::StoreError;
use chainflume_node::{Batch, HistoryReader};
use chainflume_ops::supervise;
use chainflume_store::{ChainStore, Staged};

/// A group's history that is being read. Two batches are translated and written ahead at a time, each by its own task, so
/// that the database takes in rows on two processors.
pub(crate) struct HistoryRead {
    preparing: mpsc::Receiver<PreparingBatch>,
    /// Taken from there, and not ready yet.
    awaited: Option<PreparingBatch>,
    /// Since when that is waited for.
    awaited_since: Instant,
    /// Of the tasks that translate and write.
    name: Arc<str>,
    reader: AbortOnDropHandle<()>,
    pub(crate) sources: Vec<usize>,
    pub(crate) next: u64,
}

/// Tasks that are never aborted: each ends by itself soon, and what it wrote ahead is deleted. An abandoned
/// `COPY` leaves its answer in the connection, and the next user of the connection would take the answer for its own.
type PreparingBatch = JoinHandle<PreparedBatch>;

/// A batch is some megabytes: translating and writing it takes seconds, on a busy server minutes. A wait for a lock ends after
/// 30 s, so that what takes longer than this makes no progress: the loop starts again, and the next leader of the chain ends the
/// transaction that was left behind.
const HUNG: Duration = Duration::from_mins(15);

/// A batch that only has to be stored.
pub(crate) struct PreparedBatch {
    pub(crate) range: BlockRange,
    pub(crate) parent_hash: B256,
    pub(crate) refs: Vec<BlockId>,
    pub(crate) translated: Translated,
    /// The events, written ahead where that could be.
    pub(crate) staged: Result<Option<Staged>, StoreError>,
}

impl HistoryRead {
    pub(crate) fn start(
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
    pub(crate) fn check(&self) {
        let since = self.awaited_since.elapsed();
        assert!(
            self.awaited.is_none() || since <= supervise::hang_limit(HUNG),
            "the task `{}` has not turned for {} s; its loop is started again",
            self.name,
            since.as_secs()
        );
    }

    /// The next batch; never returns while nothing is being read. May be dropped and called again.
    pub(crate) async fn next(reading: &mut Option<Self>) -> Option<PreparedBatch> {
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

/// Every block that has logs of ours, and the last. Those below final are dropped again by the store: they
/// are not undone.
fn refs(batch: &Batch) -> Vec<BlockId> {
    let mut refs: Vec<BlockId> = batch.logs.blocks().map(|block| block.id).collect();
    refs.push(batch.last.id());
    refs.dedup();
    refs
}
