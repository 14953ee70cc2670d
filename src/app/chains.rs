//! The commands about stored chains.

use serde::Serialize;

use super::dead_letters::with_database;
use super::sources::{Deleting, failed};
use crate::roles::AppError;
use crate::roles::Loaded;
use crate::roles::database::store_error;
use chainflume_store::{DeletedRows, PAGE, StoredChain};

/// A chain, stored or configured or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainListing {
    /// EIP-155.
    pub chain_id: u64,
    /// As the configuration calls it, or called it last.
    pub name: String,
    /// Names of its stored sources.
    pub sources: Vec<String>,
    /// The newest block stored; `None` where nothing is.
    pub checkpoint: Option<u64>,
    /// Number of its stored events.
    pub events: u64,
    /// Whether the configuration has it.
    pub configured: bool,
}

/// Every chain that is stored or configured, by id.
///
/// # Errors
/// When the database cannot be read.
pub async fn chains(loaded: &Loaded) -> Result<Vec<ChainListing>, AppError> {
    with_database(loaded, async |database| {
        let kept = database.store.stored_chains().await.map_err(store_error)?;
        let mut listed: Vec<ChainListing> = kept.into_iter().map(|kept| stored(loaded, kept)).collect();
        for chain in &loaded.config.chains {
            if !listed.iter().any(|known| known.chain_id == chain.chain_id) {
                let (chain_id, name) = (chain.chain_id, chain.name.clone());
                let sources = Vec::new();
                let (checkpoint, events, configured) = (None, 0, true);
                listed.push(ChainListing { chain_id, name, sources, checkpoint, events, configured });
            }
        }
        listed.sort_by_key(|chain| chain.chain_id);
        Ok(listed)
    })
    .await
}

fn stored(loaded: &Loaded, kept: StoredChain) -> ChainListing {
    let StoredChain { chain_id, name, sources, tip, events } = kept;
    let configured = configured_as(loaded, chain_id);
    let name = configured.map_or(name, str::to_owned);
    ChainListing { chain_id, name, sources, checkpoint: tip, events, configured: configured.is_some() }
}

/// Deletes everything of a stored chain that is not configured any more, and retracts what was announced. `name` may be its id
/// too. Interrupted, it goes on when it is called again.
///
/// # Errors
/// When it is not stored or is configured, or a daemon leads it.
pub async fn forget_chain(
    loaded: &Loaded,
    name: &str,
    mut report: impl FnMut(Deleting),
) -> Result<DeletedRows, AppError> {
    with_database(loaded, async |database| {
        let kept = database.store.stored_chains().await.map_err(store_error)?;
        let chain = find(loaded, &kept, name)?;
        if configured_as(loaded, chain.chain_id).is_some() {
            return Err(AppError::Failed(format!(
                "chain {name} is configured: take it out of {} first, or run `chainflume sources reset` to read a source anew",
                loaded.path.display()
            )));
        }
        let report = |done| report(Deleting { done, all: chain.events.max(done) });
        let emptied = database.store.forget_chain(chain, PAGE, report).await.map_err(failed)?;
        emptied.ok_or_else(|| unknown(&kept, name))
    })
    .await
}

/// What the configuration calls a chain.
fn configured_as(loaded: &Loaded, chain_id: u64) -> Option<&str> {
    let chain = loaded.config.chains.iter().find(|chain| chain.chain_id == chain_id)?;
    Some(&chain.name)
}

/// By its name, or by its id where several have the name.
fn find<'a>(loaded: &Loaded, kept: &'a [StoredChain], name: &str) -> Result<&'a StoredChain, AppError> {
    let by_id = kept.iter().find(|kept| name.parse() == Ok(kept.chain_id));
    let is_meant =
        |kept: &&StoredChain| kept.name == name || configured_as(loaded, kept.chain_id) == Some(name);
    match (by_id, &kept.iter().filter(is_meant).collect::<Vec<_>>()[..]) {
        (Some(chain), _) => Ok(chain),
        (None, [chain]) => Ok(*chain),
        (None, []) => Err(unknown(kept, name)),
        (None, [..]) => Err(AppError::Failed(format!(
            "several stored chains are called {name}: give the id of the chain"
        ))),
    }
}

fn unknown(kept: &[StoredChain], name: &str) -> AppError {
    let names: Vec<String> = kept.iter().map(|kept| format!("{} ({})", kept.name, kept.chain_id)).collect();
    AppError::Failed(format!("chain {name} is not stored; there are: {}", names.join(", ")))
}
