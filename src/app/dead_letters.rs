//! The commands about dead letters: each beside the running daemon.

use std::collections::BTreeMap;

use super::database::{Database, Owner, store_error};
use super::error::AppError;
use super::parts::{Loaded, record, translator};
use crate::indexer::{IndexerError, Retried, Retrier};
use crate::store::{KeptLetter, Letters};

/// Which dead letters are to be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Every open one, of a source where one is named.
    All {
        /// Name of the source.
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
    pub letter: Option<KeptLetter>,
    /// What became of it.
    pub outcome: Retried,
}

/// How many are held in memory at once.
const PAGE: u32 = 500;

/// The dead letters there are.
///
/// # Errors
/// When the database cannot be read.
pub async fn dead_letters(loaded: &Loaded, which: &Letters) -> Result<Vec<KeptLetter>, AppError> {
    with_database(loaded, async |database| database.store.dead_letters(which).await.map_err(store_error))
        .await
}

/// One dead letter, open or not.
///
/// # Errors
/// When there is none of that number, or the database cannot be read.
pub async fn dead_letter(loaded: &Loaded, id: u64) -> Result<KeptLetter, AppError> {
    with_database(loaded, async |database| find(database, id).await).await
}

/// Marks an open dead letter as resolved, and says why.
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

/// Tries dead letters again with the configuration as it is now. `tell` is told of each.
///
/// # Errors
/// When the database or the configuration fails. What was stored until then stays.
pub async fn retry_dead_letters(
    loaded: &Loaded,
    which: &Retry,
    mut tell: impl FnMut(RetriedLetter),
) -> Result<(), AppError> {
    with_database(loaded, async |database| {
        let mut retriers = retriers(loaded, database).await?;
        match which {
            Retry::These(ids) => {
                let letters = database.store.dead_letters_of(ids).await.map_err(store_error)?;
                let known: Vec<u64> = letters.iter().map(|letter| letter.id).collect();
                retry(&mut retriers, letters, &mut tell).await?;
                let gone = ids.iter().filter(|id| !known.contains(id));
                gone.for_each(|id| tell(RetriedLetter { id: *id, letter: None, outcome: Retried::Gone }));
                Ok(())
            }
            Retry::All { source } => {
                let mut page = Letters { source: source.clone(), resolved: false, after: 0, limit: PAGE };
                loop {
                    let letters = database.store.dead_letters(&page).await.map_err(store_error)?;
                    let Some(last) = letters.last() else { return Ok(()) };
                    page.after = last.id;
                    retry(&mut retriers, letters, &mut tell).await?;
                }
            }
        }
    })
    .await
}

/// One for each chain of the configuration, by chain id.
async fn retriers(loaded: &Loaded, database: &Database) -> Result<BTreeMap<u64, Retrier>, AppError> {
    let mut retriers = BTreeMap::new();
    for chain in &loaded.config.chains {
        let translator = translator(&loaded.config, chain)?;
        let record = record(&loaded.config, chain);
        let store = database.store.open_chain(&record, translator.kinds()).await.map_err(store_error)?;
        retriers.insert(chain.chain_id, Retrier { translator, store });
    }
    Ok(retriers)
}

async fn retry(
    retriers: &mut BTreeMap<u64, Retrier>,
    letters: Vec<KeptLetter>,
    tell: &mut impl FnMut(RetriedLetter),
) -> Result<(), AppError> {
    let mut outcomes = BTreeMap::new();
    for (chain_id, retrier) in retriers {
        let of_chain = letters.iter().filter(|letter| letter.chain_id == *chain_id);
        let ids: Vec<u64> = of_chain.map(|letter| letter.id).collect();
        outcomes.extend(retrier.run(&ids).await.map_err(|error| match error {
            IndexerError::Store(error) => store_error(error),
            other => AppError::Failed(other.to_string()),
        })?);
    }
    for letter in letters {
        let outcome = outcomes.remove(&letter.id).unwrap_or_else(|| {
            Retried::Failed(format!("chain {} is not in the configuration", letter.chain_id))
        });
        tell(RetriedLetter { id: letter.id, letter: Some(letter), outcome });
    }
    Ok(())
}

async fn find(database: &Database, id: u64) -> Result<KeptLetter, AppError> {
    let found = database.store.dead_letters_of(&[id]).await.map_err(store_error)?.pop();
    found.ok_or_else(|| {
        AppError::Failed(format!(
            "there is no dead letter {id}; those of blocks that a reorg took back are gone with them"
        ))
    })
}

/// Opens the database at this program's schema, does one thing and closes it.
async fn with_database<T>(
    loaded: &Loaded,
    work: impl AsyncFnOnce(&Database) -> Result<T, AppError>,
) -> Result<T, AppError> {
    let database = Database::open(loaded, Owner::Command).await?;
    let outcome = match database.store.migrate().await.map_err(store_error) {
        Ok(_) => work(&database).await,
        Err(error) => Err(error),
    };
    database.close().await;
    outcome
}
