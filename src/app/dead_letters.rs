//! The commands about dead letters: each beside the running daemon.

use std::collections::{BTreeMap, BTreeSet};

use crate::roles::AppError;
use crate::roles::database::{OpenDatabase, store_error};
use crate::roles::deliver::sink_name;
use crate::roles::parts::{Loaded, record, translator};
use chainflume_core::domain::DeadLetterKind;
use chainflume_index::{IndexerError, Retried, Retrier};
use chainflume_store::{DeadLetterQuery, DeadLetterSubject, StoredDeadLetter};

/// Which dead letters are to be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Every open one, of a source or to a sink where one is named.
    All {
        /// Name of the source or sink.
        source: Option<String>,
    },
    /// Those of these numbers.
    These(Vec<u64>),
}

/// A dead letter that was tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetriedLetter {
    /// Its number.
    pub id: u64,
    /// The letter as it was before; `None` where there is none of that number (any more).
    pub letter: Option<StoredDeadLetter>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a dead letter that was tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is an event now, where it belongs.
    Stored,
    /// It is back in line, and the daemon delivers it.
    Queued,
    /// It is as dead as before, for this reason.
    Failed(String),
    /// It was resolved meanwhile, or its block was undone by a reorg.
    Gone,
}

impl From<Retried> for Outcome {
    fn from(retried: Retried) -> Self {
        match retried {
            Retried::Stored => Self::Stored,
            Retried::Failed(reason) => Self::Failed(reason),
            Retried::Gone => Self::Gone,
        }
    }
}

/// How many are held in memory at once.
const PAGE: u32 = 500;

/// The dead letters there are.
///
/// # Errors
/// When the source is unknown, or the database cannot be read.
pub async fn dead_letters(
    loaded: &Loaded,
    which: &DeadLetterQuery,
) -> Result<Vec<StoredDeadLetter>, AppError> {
    with_database(loaded, async |database| {
        is_known(loaded, database, which.source.as_deref()).await?;
        database.store.dead_letters(which).await.map_err(store_error)
    })
    .await
}

/// One dead letter, open or not.
///
/// # Errors
/// When there is none of that number, or the database cannot be read.
pub async fn dead_letter(loaded: &Loaded, id: u64) -> Result<StoredDeadLetter, AppError> {
    with_database(loaded, async |database| find(database, id).await).await
}

/// Marks an open dead letter as resolved, with the reason.
///
/// # Errors
/// When there is none of that number or it is resolved, or the database fails.
pub async fn drop_dead_letter(loaded: &Loaded, id: u64, note: &str) -> Result<(), AppError> {
    with_database(loaded, async |database| {
        if database.store.drop_dead_letter(id, note).await.map_err(store_error)? {
            return Ok(());
        }
        find(database, id).await?;
        Err(AppError::Failed(format!("dead letter {id} is resolved already")))
    })
    .await
}

/// Marks the open dead letters of a source, or to a sink, as resolved, of one kind where it is given; returns how many.
///
/// # Errors
/// When the source is unknown, or the database fails.
pub async fn drop_dead_letters(
    loaded: &Loaded,
    source: &str,
    kind: Option<DeadLetterKind>,
    note: &str,
) -> Result<u64, AppError> {
    with_database(loaded, async |database| {
        is_known(loaded, database, Some(source)).await?;
        database.store.drop_dead_letters(source, kind, note).await.map_err(store_error)
    })
    .await
}

/// Tries dead letters again with the configuration as it is now. `report` gets each.
///
/// # Errors
/// When the source is unknown, or the database or the configuration fails. What was stored until then stays.
pub async fn retry_dead_letters(
    loaded: &Loaded,
    which: &Retry,
    mut report: impl FnMut(RetriedLetter),
) -> Result<(), AppError> {
    with_database(loaded, async |database| {
        let mut again = Again { loaded, database, retriers: retriers(loaded, database).await? };
        match which {
            Retry::These(ids) => {
                let letters = database.store.dead_letters_of(ids).await.map_err(store_error)?;
                let known: Vec<u64> = letters.iter().map(|letter| letter.id).collect();
                again.letters(letters, &mut report).await?;
                let gone = ids.iter().filter(|id| !known.contains(id));
                gone.for_each(|id| report(RetriedLetter { id: *id, letter: None, outcome: Outcome::Gone }));
                Ok(())
            }
            Retry::All { source } => {
                is_known(loaded, database, source.as_deref()).await?;
                let mut page =
                    DeadLetterQuery { source: source.clone(), resolved: false, after: 0, limit: PAGE };
                loop {
                    let letters = database.store.dead_letters(&page).await.map_err(store_error)?;
                    let Some(last) = letters.last() else { return Ok(()) };
                    page.after = last.id;
                    again.letters(letters, &mut report).await?;
                }
            }
        }
    })
    .await
}

/// One for each chain of the configuration, by chain id.
async fn retriers(loaded: &Loaded, database: &OpenDatabase) -> Result<BTreeMap<u64, Retrier>, AppError> {
    let mut retriers = BTreeMap::new();
    for chain in &loaded.config.chains {
        let mut translator = translator(&loaded.config, chain)?;
        let record = record(&loaded.config, chain);
        let store = translator.open_with_retries(&database.store, &record).await.map_err(store_error)?;
        retriers.insert(chain.chain_id, Retrier { translator, store });
    }
    Ok(retriers)
}

/// What trying again takes.
struct Again<'a> {
    loaded: &'a Loaded,
    database: &'a OpenDatabase,
    retriers: BTreeMap<u64, Retrier>,
}

impl Again<'_> {
    async fn letters(
        &mut self,
        letters: Vec<StoredDeadLetter>,
        report: &mut impl FnMut(RetriedLetter),
    ) -> Result<(), AppError> {
        let mut outcomes = self.deliveries(&letters).await?;
        for (chain_id, retrier) in &mut self.retriers {
            let is_of_chain =
                |letter: &&StoredDeadLetter| letter.of_log().is_some_and(|log| log.chain_id == *chain_id);
            let ids: Vec<u64> = letters.iter().filter(is_of_chain).map(|letter| letter.id).collect();
            let retried = retrier.run(&ids).await.map_err(|error| match error {
                IndexerError::Store(error) => store_error(error),
                other => AppError::Failed(other.to_string()),
            })?;
            outcomes.extend(retried.into_iter().map(|(id, retried)| (id, retried.into())));
        }
        for letter in letters {
            let outcome =
                outcomes.remove(&letter.id).unwrap_or_else(|| Outcome::Failed(unconfigured(&letter)));
            report(RetriedLetter { id: letter.id, letter: Some(letter), outcome });
        }
        Ok(())
    }

    /// Deliveries go back in line and are not sent from here: two commands at once, or one beside the daemon, would send
    /// one twice, and the daemon knows when its endpoint wants to be asked.
    async fn deliveries(&self, letters: &[StoredDeadLetter]) -> Result<BTreeMap<u64, Outcome>, AppError> {
        let configured: Vec<String> =
            self.loaded.config.webhooks.iter().map(|webhook| sink_name(&webhook.endpoint.name)).collect();
        let to_them = letters.iter().filter(|letter| match &letter.about {
            DeadLetterSubject::Delivery { sink, .. } => configured.contains(sink),
            DeadLetterSubject::Log(_) => false,
        });
        let ids: Vec<u64> = to_them.map(|letter| letter.id).collect();
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let queued: BTreeSet<u64> =
            self.database.store.outbox().redeliver(&ids, &configured).await.map_err(store_error)?;
        let outcome = |id: u64| if queued.contains(&id) { Outcome::Queued } else { Outcome::Gone };
        Ok(ids.into_iter().map(|id| (id, outcome(id))).collect())
    }
}

fn unconfigured(letter: &StoredDeadLetter) -> String {
    match &letter.about {
        DeadLetterSubject::Log(log) => format!("chain {} is not in the configuration", log.chain_id),
        DeadLetterSubject::Delivery { sink, .. } => format!("sink {sink} is not in the configuration"),
    }
}

/// Checks that a name is that of a source or sink which is configured, or of which there is a dead letter: a name that is neither would
/// select none without a word.
async fn is_known(loaded: &Loaded, database: &OpenDatabase, name: Option<&str>) -> Result<(), AppError> {
    let Some(name) = name else { return Ok(()) };
    let sources = loaded.config.sources.iter().map(|source| source.name.clone());
    let sinks = loaded.config.webhooks.iter().map(|webhook| sink_name(&webhook.endpoint.name));
    let configured: Vec<String> = sources.chain(sinks).collect();
    if configured.iter().any(|known| known == name) {
        return Ok(());
    }
    let any = DeadLetterQuery { source: Some(name.to_owned()), resolved: true, after: 0, limit: 1 };
    if !database.store.dead_letters(&any).await.map_err(store_error)?.is_empty() {
        return Ok(());
    }
    let known = configured.join(", ");
    Err(AppError::Failed(format!("there is no source or sink {name}; there are: {known}")))
}

async fn find(database: &OpenDatabase, id: u64) -> Result<StoredDeadLetter, AppError> {
    let found = database.store.dead_letters_of(&[id]).await.map_err(store_error)?.pop();
    found.ok_or_else(|| {
        AppError::Failed(format!(
            "there is no dead letter {id}; those of blocks that a reorg took back are gone with them"
        ))
    })
}

/// Opens the database at this program's schema, does one thing and closes it.
pub(super) async fn with_database<T>(
    loaded: &Loaded,
    work: impl AsyncFnOnce(&OpenDatabase) -> Result<T, AppError>,
) -> Result<T, AppError> {
    let database = OpenDatabase::open_daemons(loaded).await?;
    let outcome = match database.store.migrate().await.map_err(store_error) {
        Ok(_) => work(&database).await,
        Err(error) => Err(error),
    };
    database.close().await;
    outcome
}
