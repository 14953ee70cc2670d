//! The configuration against what the database was filled by, for commands that look and change nothing.

use crate::roles::AppError;
use crate::roles::database::store_error;
use crate::roles::parts::{Loaded, record};
use chainflume_core::domain::{SourceDifference, compare};
use chainflume_db::Schema;
use chainflume_store::Store;

/// Every difference, with the name of its chain. None while a migration is pending: what the database was filled by is reported
/// by the tables of this program.
pub(super) async fn differences(
    loaded: &Loaded,
    store: &Store,
) -> Result<Vec<(String, SourceDifference)>, AppError> {
    if store.schema().await.map_err(store_error)? != Schema::Current {
        return Ok(Vec::new());
    }
    let kept = store.filled_sources().await.map_err(store_error)?;
    let of_chain = |chain: &crate::config::Chain| {
        let configured = record(&loaded.config, chain).configured();
        let comparison = compare(chain.chain_id, &configured, &kept);
        let name = chain.name.clone();
        comparison.differences().map(|difference| (name.clone(), difference.clone())).collect::<Vec<_>>()
    };
    Ok(loaded.config.chains.iter().flat_map(of_chain).collect())
}
