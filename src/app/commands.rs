//! The small commands: each opens the database, does one thing and closes it.

use std::sync::Arc;

use super::database::{Database, Owner, store_error};
use super::error::AppError;
use super::parts::{Loaded, chain_settings, record, translator};
use crate::config;
use crate::domain::BlockRange;
use crate::indexer::{BackfillReport, Backfiller, IndexerError};
use crate::store::{Migrated, Schema, Store, StoreError, ViewInfo};

/// Brings the database to this program's schema.
///
/// # Errors
/// When it cannot be reached, or is newer than this program.
pub async fn migrate(loaded: &Loaded) -> Result<Migrated, AppError> {
    let database = Database::open(loaded, Owner::Command).await?;
    let migrated = database.store.migrate().await.map_err(store_error);
    database.close().await;
    migrated
}

/// The typed views there are.
///
/// # Errors
/// When the database cannot be read.
pub async fn views(loaded: &Loaded) -> Result<Vec<ViewInfo>, AppError> {
    let Some(database) = Database::open_made(loaded).await? else { return Ok(Vec::new()) };
    let views = views_in(&database.store).await.map_err(store_error);
    database.close().await;
    views
}

async fn views_in(store: &Store) -> Result<Vec<ViewInfo>, StoreError> {
    match store.schema().await? {
        Schema::Missing => Ok(Vec::new()),
        _ => store.views().await,
    }
}

/// Reads `range` of a source again and adds what is missing. `progress` is told each block that is done.
///
/// # Errors
/// When the source is not in the config, the node or the database fails for good, or (as
/// [`AppError::Failed`]) when the store holds something else than the node says.
pub async fn backfill(
    loaded: &Loaded,
    source: &str,
    range: BlockRange,
    progress: impl FnMut(u64),
) -> Result<BackfillReport, AppError> {
    let (chain, index) = find_source(loaded, source)?;
    let database = Database::open(loaded, Owner::Command).await?;
    let outcome = backfill_in(loaded, &database, (chain, index, range), progress).await;
    database.close().await;
    outcome
}

async fn backfill_in(
    loaded: &Loaded,
    database: &Database,
    (chain, index, range): (&config::Chain, usize, BlockRange),
    progress: impl FnMut(u64),
) -> Result<BackfillReport, AppError> {
    database.store.migrate().await.map_err(store_error)?;
    let translator = translator(&loaded.config, chain)?;
    let record = record(&loaded.config, chain);
    let store = database.store.open_chain(&record, translator.kinds()).await.map_err(store_error)?;
    let on_error =
        Arc::new(|error: &crate::chain::ChainError| tracing::warn!(%error, "backfill waits for the node"));
    let mut backfiller = Backfiller { settings: chain_settings(chain), translator, store, on_error };
    backfiller.run(index, range, progress).await.map_err(|error| match error {
        IndexerError::Chain(error) if error.is_wrong_chain() => {
            AppError::Config(format!("{}: {error}", loaded.key(&chain.name, "http")))
        }
        IndexerError::Chain(error) => AppError::Unavailable(error.to_string()),
        IndexerError::Store(error @ StoreError::NotReached { .. }) => AppError::Failed(error.to_string()),
        IndexerError::Store(error) => store_error(error),
        other => AppError::Failed(other.to_string()),
    })
}

fn find_source<'a>(loaded: &'a Loaded, name: &str) -> Result<(&'a config::Chain, usize), AppError> {
    let config = &loaded.config;
    let found = config.chains.iter().find_map(|chain| {
        let index = config.sources_of(&chain.name).position(|source| source.name == name)?;
        Some((chain, index))
    });
    found.ok_or_else(|| {
        let names: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
        AppError::Config(format!(
            "{}: there is no source \"{name}\"; there are: {}",
            loaded.path.display(),
            names.join(", ")
        ))
    })
}
