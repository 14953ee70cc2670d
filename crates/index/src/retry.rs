use std::collections::BTreeMap;

use super::error::IndexerError;
use super::translate::{Translated, Translator};
use chainflume_core::domain::{B256, BlockRange, DeadLetterKind, Place, causes};
use chainflume_db::StoreError;
use chainflume_store::{Backfill, ChainStore, FailedRetry, LogRef, StoredDeadLetter};

/// Retries dead letters while the daemon runs: by the same translation from log to event, and the same transaction as
/// a backfill.
pub struct Retrier {
    /// The chain's sources, as they are configured now.
    pub translator: Translator,
    /// The chain's store.
    pub store: ChainStore,
}

/// The result of a retry of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retried {
    /// The dead letter became an event.
    Stored,
    /// The dead letter stays, for this reason.
    Failed(String),
    /// The dead letter was resolved meanwhile, or a reorg took its block back.
    Gone,
}

/// Dead letters by source and block; one transaction handles one block. A node that lied may have caused dead letters
/// of two blocks at one height.
type Blocks = BTreeMap<(String, u64, B256), Vec<(Place, StoredDeadLetter)>>;

impl Retrier {
    /// Retries the open dead letters of this chain with these numbers. Any other number is [`Retried::Gone`].
    ///
    /// # Errors
    /// When the database fails. Retries that were committed before stay, and another run skips them.
    pub async fn run(&mut self, ids: &[u64]) -> Result<BTreeMap<u64, Retried>, IndexerError> {
        let mut outcomes = BTreeMap::new();
        while let Some(rest) = self.rest(ids, &outcomes).await? {
            let (reorgs, blocks) = rest;
            for ((source, number, _), letters) in blocks {
                match self.block(&source, number, &letters, reorgs).await {
                    Ok(done) => outcomes.extend(done),
                    // A reorg since the letters were read: some of them may be gone.
                    Err(StoreError::Conflict { .. }) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(ids.iter().map(|id| (*id, outcomes.remove(id).unwrap_or(Retried::Gone))).collect())
    }

    /// The dead letters that are left. The number of reorgs is read first: a rewind deletes dead letters, and after a
    /// rewind the store refuses a transaction with the old number.
    async fn rest(
        &self,
        ids: &[u64],
        outcomes: &BTreeMap<u64, Retried>,
    ) -> Result<Option<(u64, Blocks)>, IndexerError> {
        let ids: Vec<u64> = ids.iter().filter(|id| !outcomes.contains_key(id)).copied().collect();
        let reorgs = self.store.snapshot().await?.reorgs;
        let mut blocks = Blocks::new();
        for letter in self.store.open_dead_letters(&ids).await? {
            let Some(LogRef { source, place, block_hash, .. }) = letter.of_log().cloned() else { continue };
            blocks.entry((source, place.block_number, block_hash)).or_default().push((place, letter));
        }
        Ok((!blocks.is_empty()).then_some((reorgs, blocks)))
    }

    async fn block(
        &mut self,
        source: &str,
        number: u64,
        letters: &[(Place, StoredDeadLetter)],
        reorgs: u64,
    ) -> Result<Vec<(u64, Retried)>, StoreError> {
        let refused = match self.translate(source, letters) {
            Ok(translated) => self.store(source, number, translated, reorgs).await?,
            Err(reason) => Refused { by_place: BTreeMap::new(), others: Some((None, reason)) },
        };
        let outcomes: Vec<_> =
            letters.iter().map(|(place, letter)| (letter.id, refused.get(*place))).collect();
        let failed = outcomes.iter().filter_map(|(id, refused)| {
            let (kind, reason) = refused.clone()?;
            Some(FailedRetry { id: *id, kind, reason })
        });
        let failed: Vec<FailedRetry> = failed.collect();
        if !failed.is_empty() {
            self.store.record_failed_retries(&failed).await?;
        }
        let outcome =
            |refused: Option<(_, String)>| refused.map_or(Retried::Stored, |(_, r)| Retried::Failed(r));
        Ok(outcomes.into_iter().map(|(id, refused)| (id, outcome(refused))).collect())
    }

    /// The logs of the dead letters, translated by the present configuration. One place may have two dead letters,
    /// one of decoding and one of mapping.
    fn translate(
        &mut self,
        source: &str,
        letters: &[(Place, StoredDeadLetter)],
    ) -> Result<Translated, String> {
        let index = self.translator.sources().iter().position(|known| known.name == source);
        let index = index.ok_or_else(|| format!("source `{source}` is not in the configuration"))?;
        let (mut logs, mut times) = (BTreeMap::new(), BTreeMap::new());
        for (_, letter) in letters {
            let log = letter.log().map_err(|error| error.to_string())?;
            let number = log.place.block_number;
            let time = log.block_timestamp.ok_or_else(|| {
                format!(
                    "the time of its block was not kept; backfill block {number} of source `{source}` instead"
                )
            })?;
            times.insert(number, time);
            logs.insert(log.place, log);
        }
        Ok(self.translator.translate(&[index], logs.into_values(), &times))
    }

    /// Stores the logs that became events, and returns why others did not.
    async fn store(
        &self,
        source: &str,
        number: u64,
        translated: Translated,
        reorgs: u64,
    ) -> Result<Refused, StoreError> {
        let mut refused = Refused::default();
        let foreign = "no event of its source fits it any more; drop it if this is intended".to_owned();
        refused.others = Some((None, foreign));
        for letter in translated.dead_letters {
            refused.by_place.insert(letter.log.place, Some((Some(letter.kind), letter.reason)));
        }
        let places: Vec<Place> = translated.events.iter().map(|event| event.place).collect();
        refused.by_place.extend(places.iter().map(|place| (*place, None)));
        let backfill = Backfill {
            source: source.to_owned(),
            range: BlockRange::single(number),
            reorgs,
            events: translated.events,
            dead_letters: Vec::new(),
        };
        match self.store.backfill(&backfill).await {
            Ok(done) => {
                let reason = "another event is stored at its place, or its block has another hash";
                let differing = |place| (place, Some((None, reason.to_owned())));
                refused.by_place.extend(done.differing.into_iter().map(differing));
                Ok(refused)
            }
            // An event that cannot be stored does not stop the others.
            Err(error) if error.is_permanent() => {
                let reason = causes(&error);
                refused
                    .by_place
                    .extend(places.into_iter().map(|place| (place, Some((None, reason.clone())))));
                Ok(refused)
            }
            Err(error) => Err(error),
        }
    }
}

/// Why dead letters were not stored: by place, or one reason for all others. A place with `None` was stored.
#[derive(Default)]
struct Refused {
    by_place: BTreeMap<Place, Option<(Option<DeadLetterKind>, String)>>,
    others: Option<(Option<DeadLetterKind>, String)>,
}

impl Refused {
    fn get(&self, place: Place) -> Option<(Option<DeadLetterKind>, String)> {
        self.by_place.get(&place).cloned().unwrap_or_else(|| self.others.clone())
    }
}
