//! The small commands: each opens the database, does one thing and closes it.

use crate::roles::AppError;
use crate::roles::Loaded;
use crate::roles::database::{OpenDatabase, store_error};
use chainflume_db::Migrated;

/// Brings the database to this program's schema.
///
/// # Errors
/// When it cannot be reached, or is newer than this program.
pub async fn migrate(loaded: &Loaded) -> Result<Migrated, AppError> {
    let database = OpenDatabase::open_daemons(loaded).await?;
    let migrated = database.store.migrate().await.map_err(store_error);
    database.close().await;
    migrated
}
