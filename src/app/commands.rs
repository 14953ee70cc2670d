//! The small commands: each opens the database, does one thing and closes it.

use super::database::{Database, Owner, store_error};
use super::error::AppError;
use super::parts::Loaded;
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
