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

/// A group's history that is being read. Two batches at a time are translated and written ahead, each by its own
/// task, so that the database writes rows on two processors.
pub(crate) struct HistoryRead {
    preparing: mpsc::Receiver<PreparingBatch>,
    /// The batch that is next, and not ready yet.
    awaited: Option<PreparingBatch>,
    /// When the wait for it began.
    awaited_since: Instant,
    /// Name of the tasks that translate and write.
    name: Arc<str>,
    reader: AbortOnDropHandle<()>,
    pub(crate) sources: Vec<usize>,
    pub(crate) next: u64,
}

/// A task that is never aborted: it ends by itself soon, and its rows are deleted. An aborted `COPY` would leave its
/// answer in the connection for the next user of the connection.
type PreparingBatch = JoinHandle<PreparedBatch>;

/// A batch has some megabytes: to translate and write it takes seconds, on a busy server minutes. A wait for a lock
/// ends after 30 s. So a task that takes longer than this hangs: the loop starts again, and the next leader of the
/// chain ends the transaction that was left.
const HUNG_AFTER: Duration = Duration::from_mins(15);

/// Translates batches, and writes their events ahead.
#[derive(Clone)]
pub(crate) struct BatchWriter {
    pub(crate) translator: GroupTranslator,
    pub(crate) store: ChainStore,
}

/// A batch that is ready to be stored.
pub(crate) struct PreparedBatch {
    pub(crate) range: BlockRange,
    pub(crate) parent_hash: B256,
    pub(crate) refs: Vec<BlockId>,
    pub(crate) translated: Translated,
    /// The events that were written ahead; `None` where they were not.
    pub(crate) staged: Result<Option<Staged>, StoreError>,
}

impl HistoryRead {
    pub(crate) fn start(
        mut history: HistoryReader,
        writer: BatchWriter,
        chain: &str,
        group: SourceGroup,
    ) -> Self {
        let (sender, preparing) = mpsc::channel(1);
        let name: Arc<str> = format!("write-ahead {chain}").into();
        let task = name.clone();
        let reader = AbortOnDropHandle::new(tokio::spawn(async move {
            // Room in the channel is reserved first, so that no more than this number of batches is translated ahead.
            while let Ok(room) = sender.reserve().await
                && let Some(batch) = history.next().await
            {
                let (name, writer) = (task.clone(), writer.clone());
                room.send(tokio::spawn(
                    async move { supervise::exposed(&name, writer.prepare(batch)).await },
                ));
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
    /// When the translation or the writing of a batch hangs. The loop that waits for it reports progress meanwhile,
    /// so no other check would notice.
    pub(crate) fn check(&self) {
        let since = self.awaited_since.elapsed();
        assert!(
            self.awaited.is_none() || since <= supervise::hang_limit(HUNG_AFTER),
            "the task `{}` has not turned for {} s; its loop is started again",
            self.name,
            since.as_secs()
        );
    }

    /// The next batch; never returns while no history is being read. Cancel safe.
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

impl BatchWriter {
    async fn prepare(&self, batch: Batch) -> PreparedBatch {
        let (range, parent_hash, refs) = (batch.range, batch.parent_hash, refs(&batch));
        let translated = self.translator.translate(&batch.logs, &batch.times);
        drop(batch);
        let staged = self.store.stage(&translated.events).await;
        PreparedBatch { range, parent_hash, refs, translated, staged }
    }
}

/// Every block with wanted logs, and the last block. The store drops those below the final block, which are never
/// undone.
fn refs(batch: &Batch) -> Vec<BlockId> {
    let mut refs: Vec<BlockId> = batch.logs.blocks().map(|block| block.id).collect();
    refs.push(batch.last.id());
    refs.dedup();
    refs
}
