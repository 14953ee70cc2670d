//! The commands about stored sources: each beside the running daemon, which sees what was decided by itself. A daemon with
//! another configuration would undo it, and is named.

use serde::Serialize;

use super::dead_letters::with_database;
use super::followed::differences;
use crate::roles::AppError;
use crate::roles::database::store_error;
use crate::roles::parts::{Loaded, record};
use chainflume_core::domain::{ConfiguredSource, FilledSource, StartBlock};
use chainflume_db::StoreError;
use chainflume_store::{DeletedRows, PAGE, SourceDeletion};

/// A source, stored or configured or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceListing {
    /// Its name.
    pub name: String,
    /// EIP-155.
    pub chain_id: u64,
    /// `stake`, `erc20`, `erc721` or `generic`.
    pub family: String,
    /// First block; `None` while `start_block = "latest"` is not decided.
    pub start_block: Option<u64>,
    /// The newest block stored; `None` where nothing is.
    pub checkpoint: Option<u64>,
    /// Number of its stored events.
    pub events: u64,
    /// Whether the configuration has it, on this chain.
    pub configured: bool,
    /// Whether a part of its events is deleted, by a command that has not ended.
    pub emptying: bool,
    /// How the configuration differs from what is stored, with remedies.
    pub differences: Vec<String>,
}

/// Every source that is stored or configured, by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn sources(loaded: &Loaded) -> Result<Vec<SourceListing>, AppError> {
    with_database(loaded, async |database| {
        let kept = database.store.filled_sources().await.map_err(store_error)?;
        let differences = differences(loaded, &database.store).await?;
        let mut listed: Vec<SourceListing> = kept.into_iter().map(|kept| stored(loaded, kept)).collect();
        listed.extend(unstored(loaded, &listed));
        listed.sort_by(|a, b| (&a.name, a.chain_id).cmp(&(&b.name, b.chain_id)));
        for source in &mut listed {
            let own = differences.iter().filter(|(_, difference)| difference.source() == source.name);
            source.differences = own.map(|(_, difference)| difference.to_string()).collect();
        }
        Ok(listed)
    })
    .await
}

fn stored(loaded: &Loaded, kept: FilledSource) -> SourceListing {
    let FilledSource { name, chain_id, family, start_block, tip, events, emptying, .. } = kept;
    let configured = is_configured(loaded, &name, chain_id);
    let differences = Vec::new();
    let checkpoint = tip.filter(|_| !emptying);
    SourceListing {
        name,
        chain_id,
        family,
        start_block,
        checkpoint,
        events,
        configured,
        emptying,
        differences,
    }
}

/// Configured sources of which nothing is stored.
fn unstored(loaded: &Loaded, stored: &[SourceListing]) -> Vec<SourceListing> {
    let mut listed = Vec::new();
    for chain in &loaded.config.chains {
        for source in record(&loaded.config, chain).sources {
            if stored.iter().any(|known| known.name == source.name && known.chain_id == chain.chain_id) {
                continue;
            }
            listed.push(SourceListing {
                name: source.name,
                chain_id: chain.chain_id,
                family: source.family,
                start_block: match source.start_block {
                    StartBlock::Number(number) => Some(number),
                    StartBlock::Latest => None,
                },
                checkpoint: None,
                events: 0,
                configured: true,
                emptying: false,
                differences: Vec::new(),
            });
        }
    }
    listed
}

/// Gives a stored source another name; its data stays.
///
/// # Errors
/// When the old name is configured or not stored, the new one is stored, or a daemon follows it under its old name.
pub async fn rename_source(loaded: &Loaded, old: &str, new: &str) -> Result<(), AppError> {
    with_database(loaded, async |database| {
        let kept = database.store.filled_sources().await.map_err(store_error)?;
        let source = find(&kept, old)?;
        if is_configured(loaded, old, source.chain_id) {
            return Err(AppError::Failed(format!(
                "source {old} is configured under this name: give it the name {new} in {} first",
                loaded.path.display()
            )));
        }
        let taken = || AppError::Failed(format!("source {new} is stored already: its name cannot be taken"));
        if find(&kept, new).is_ok() {
            return Err(taken());
        }
        match database.store.rename_source(old, new).await.map_err(failed)? {
            true => Ok(()),
            false => Err(taken()),
        }
    })
    .await
}

/// How far the deletion of stored events is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleting {
    /// Events deleted.
    pub done: u64,
    /// Events there were at the beginning.
    pub all: u64,
}

/// Why a source is emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emptying {
    /// It is no longer configured.
    Remove,
    /// It is configured, and is read anew.
    Reset,
}

/// Deletes what is stored of a source and retracts its messages, page by page. An interrupted command continues when it is called again.
///
/// # Errors
/// When it is not stored, is configured otherwise than the command asks for, or a daemon follows it by another configuration.
pub async fn empty_source(
    loaded: &Loaded,
    name: &str,
    emptying: Emptying,
    mut report: impl FnMut(Deleting),
) -> Result<DeletedRows, AppError> {
    with_database(loaded, async |database| {
        let kept = database.store.filled_sources().await.map_err(store_error)?;
        let source = find(&kept, name)?;
        let configured = configured(loaded, name, source.chain_id);
        match (emptying, configured.is_some()) {
            (Emptying::Remove, true) => {
                return Err(AppError::Failed(format!(
                    "source {name} is configured: take it out of the configuration first, or run \
                     `chainflume sources reset {name}` to read it anew"
                )));
            }
            (Emptying::Reset, false) => {
                return Err(AppError::Failed(format!(
                    "source {name} is not configured on the chain it is stored for: run `chainflume sources remove {name}`"
                )));
            }
            _ => {}
        }
        let digest = configured.map(|configured| configured.digest());
        let forget = emptying == Emptying::Remove;
        let deletion = SourceDeletion { name, forget, digest: digest.as_deref(), page: PAGE };
        let report = |done| report(Deleting { done, all: source.events.max(done) });
        let emptied = database.store.empty_source(&deletion, report).await.map_err(failed)?;
        emptied.ok_or_else(|| unknown(&kept, name))
    })
    .await
}

/// A source as it is configured on this chain.
fn configured(loaded: &Loaded, name: &str, chain_id: u64) -> Option<ConfiguredSource> {
    let chain = loaded.config.chains.iter().find(|chain| chain.chain_id == chain_id)?;
    record(&loaded.config, chain).configured().into_iter().find(|configured| configured.name == name)
}

fn is_configured(loaded: &Loaded, name: &str, chain_id: u64) -> bool {
    let config = &loaded.config;
    let of_chain = config.chains.iter().filter(|chain| chain.chain_id == chain_id);
    of_chain.flat_map(|chain| config.sources_of(&chain.name)).any(|source| source.name == name)
}

fn find<'a>(kept: &'a [FilledSource], name: &str) -> Result<&'a FilledSource, AppError> {
    kept.iter().find(|kept| kept.name == name).ok_or_else(|| unknown(kept, name))
}

fn unknown(kept: &[FilledSource], name: &str) -> AppError {
    let names: Vec<&str> = kept.iter().map(|kept| kept.name.as_str()).collect();
    AppError::Failed(format!("source {name} is not stored; there are: {}", names.join(", ")))
}

pub(super) fn failed(error: StoreError) -> AppError {
    match error {
        error @ (StoreError::View { .. }
        | StoreError::Led { .. }
        | StoreError::Awaited { .. }
        | StoreError::Emptying { .. }) => AppError::Failed(error.to_string()),
        error => store_error(error),
    }
}
