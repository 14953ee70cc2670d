//! `views`: makes the typed views that could not be made before, and lists all there are.

use crate::roles::AppError;
use crate::roles::database::{OpenDatabase, store_error};
use crate::roles::parts::{Loaded, translator};
use chainflume_core::domain::EventKind;
use chainflume_db::{Schema, StoreError};
use chainflume_store::{Store, ViewInfo, ViewProblem};

/// The typed views there are, and those that cannot be made.
#[derive(Clone, Debug, Default)]
pub struct Views {
    /// By name.
    pub there: Vec<ViewInfo>,
    /// Each with what to do.
    pub troubles: Vec<ViewProblem>,
}

/// Makes what is missing of the views of the configured sources, once the daemon has registered these, and lists the views
/// there are.
///
/// # Errors
/// When the database cannot be read.
pub async fn views(loaded: &Loaded) -> Result<Views, AppError> {
    let Some(database) = OpenDatabase::open_daemons_made(loaded).await? else { return Ok(Views::default()) };
    let views = views_in(loaded, &database.store).await;
    database.close().await;
    views
}

async fn views_in(loaded: &Loaded, store: &Store) -> Result<Views, AppError> {
    let troubles = match store.schema().await.map_err(store_error)? {
        Schema::Missing => return Ok(Views::default()),
        Schema::Current => refused(loaded, store, Store::make_views).await?,
        Schema::Behind { .. } | Schema::Newer { .. } => Vec::new(),
    };
    Ok(Views { there: store.views().await.map_err(store_error)?, troubles })
}

/// What `make` reports about the views of every configured chain: [`Store::make_views`] or [`Store::try_views`].
pub(super) async fn refused(
    loaded: &Loaded,
    store: &Store,
    make: impl AsyncFn(&Store, u64, &[EventKind]) -> Result<Vec<ViewProblem>, StoreError>,
) -> Result<Vec<ViewProblem>, AppError> {
    let mut troubles = Vec::new();
    for chain in &loaded.config.chains {
        let translator = translator(&loaded.config, chain)?;
        troubles.extend(make(store, chain.chain_id, translator.kinds()).await.map_err(store_error)?);
    }
    Ok(troubles)
}
