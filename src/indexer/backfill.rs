use super::error::IndexerError;
use super::translate::Translator;
use crate::chain::{Batch, ChainSettings, Elsewhere, History, OnError};
use crate::domain::{BlockRange, Place};
use crate::store::{Backfill, ChainStore, Held, StoreError};

/// Reads a closed range of one source again and adds what is missing, beside a running daemon.
pub struct Backfiller {
    /// How the node is asked.
    pub settings: ChainSettings,
    /// The chain's sources.
    pub translator: Translator,
    /// The chain's store.
    pub store: ChainStore,
    /// Told of every error of the node; it is retried.
    pub on_error: OnError,
}

/// What a backfill found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackfillReport {
    /// Events that were missing and are there now.
    pub inserted: u64,
    /// Events that were there already.
    pub present: u64,
    /// Places where the store holds something else than the node says; nothing was changed there.
    pub differing: Vec<Place>,
}

impl Backfiller {
    /// Backfills `range` of the source at `source` in the chain's list; `progress` is called with each block
    /// that is done.
    ///
    /// # Errors
    /// When the source has not synced the range by itself yet, or the database fails. What was committed until
    /// then stays, and running it again goes over it unharmed.
    pub async fn run(
        &mut self,
        source: usize,
        range: BlockRange,
        mut progress: impl FnMut(u64),
    ) -> Result<BackfillReport, IndexerError> {
        let node = Elsewhere::new(&self.settings)?.find(None).await?;
        let mut report = BackfillReport::default();
        let mut rest = Some(range);
        while let Some(left) = rest {
            let held = self.store.held().await?;
            self.check_reached(&held, source, range)?;
            let filter = self.translator.filter(&[source]);
            let chain = (node.clone(), self.settings.name.as_str());
            let final_number = held.final_number.unwrap_or(0);
            let mut history = History::new(
                chain,
                self.settings.history,
                (filter, left),
                final_number,
                self.on_error.clone(),
            );
            while let Some(batch) = history.next().await {
                let to = batch.range.to();
                match self.add(source, batch, held.reorgs, &mut report).await {
                    Ok(()) => rest = to.checked_add(1).and_then(|next| BlockRange::new(next, range.to())),
                    // A reorg since the range was read: what was read may be orphaned, so it is read again.
                    Err(StoreError::Conflict { .. }) => break,
                    Err(error) => return Err(error.into()),
                }
                progress(to);
            }
        }
        Ok(report)
    }

    /// Before anything is asked for; the store checks again when it writes.
    fn check_reached(&self, held: &Held, source: usize, range: BlockRange) -> Result<(), StoreError> {
        let name = &self.translator.sources()[source].name;
        let stored = held.checkpoints.iter().find(|checkpoint| checkpoint.source == *name);
        match stored.and_then(|checkpoint| checkpoint.at) {
            Some(at) if at.number >= range.to() => Ok(()),
            _ => Err(StoreError::NotReached { source_name: name.clone(), to: range.to() }),
        }
    }

    async fn add(
        &mut self,
        source: usize,
        batch: Batch,
        reorgs: u64,
        report: &mut BackfillReport,
    ) -> Result<(), StoreError> {
        let translated = self.translator.translate(&[source], batch.logs, &batch.times);
        let done = self
            .store
            .backfill(&Backfill {
                source: self.translator.sources()[source].name.clone(),
                range: batch.range,
                reorgs,
                events: translated.events,
                dead_letters: translated.dead_letters,
            })
            .await?;
        report.inserted += done.inserted;
        report.present += done.present;
        report.differing.extend(done.differing);
        Ok(())
    }
}
