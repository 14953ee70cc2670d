//! The commands that read stored blocks again: `backfill` and `verify`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::database::{Database, Owner, store_error};
use super::error::AppError;
use super::parts::{Loaded, chain_settings, policy, record, translator};
use crate::config;
use chainflume_core::domain::BlockRange;
use chainflume_db::StoreError;
use chainflume_index::{IndexerError, Purpose, Reread, RereadReport, Rereader};
use chainflume_node::ChainSettings;
use chainflume_store::{Held, Store};

/// What is to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RereadArgs {
    /// The sources; empty for all.
    pub sources: Vec<String>,
    /// First block; where none is given, each source's start block.
    pub from: Option<u64>,
    /// Last block; where none is given, the newest that is stored and final.
    pub to: Option<u64>,
    /// What to do.
    pub purpose: Purpose,
}

/// What was found of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its name.
    pub source: String,
    /// The blocks; `None` where none of it is final yet.
    pub range: Option<BlockRange>,
    /// How they compare.
    pub report: RereadReport,
}

/// How far a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The source.
    pub source: &'a str,
    /// Its blocks.
    pub range: BlockRange,
    /// The last that is done.
    pub done: u64,
}

/// Reads blocks of sources again, one source after the other, and does what is asked for.
///
/// # Errors
/// When a source is not in the config, or the node or the database fails for good.
pub async fn reread(
    loaded: &Loaded,
    args: &RereadArgs,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<Vec<Verified>, AppError> {
    let sources = find_sources(loaded, &args.sources)?;
    let database = Database::open(loaded, Owner::Command).await?;
    let (mut found, mut rereaders) = (Vec::new(), BTreeMap::new());
    let mut outcome = database.store.migrate().await.map(drop).map_err(store_error);
    for (chain, index) in sources {
        if outcome.is_err() {
            break;
        }
        match one(loaded, (&database, &mut rereaders), (chain, index, args), &mut progress).await {
            Ok(verified) => found.push(verified),
            Err(error) => outcome = Err(error),
        }
    }
    database.close().await;
    outcome.map(|()| found)
}

/// One for each chain, by its name: a provider that did not work for one source is not tried again for the next.
type Rereaders = BTreeMap<String, Rereader>;

async fn one(
    loaded: &Loaded,
    (database, rereaders): (&Database, &mut Rereaders),
    (chain, index, args): (&config::Chain, usize, &RereadArgs),
    progress: &mut impl FnMut(Progress<'_>),
) -> Result<Verified, AppError> {
    let rereader = match rereaders.entry(chain.name.clone()) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => {
            let new = rereader(loaded, &database.store, (chain, chain_settings(chain))).await?;
            entry.insert(new)
        }
    };
    let source = &rereader.translator.sources()[index];
    let (source, start_block) = (source.name.clone(), source.start_block);
    if let Some(course) = rereader.store.comparison().courses.get(index) {
        if let Some(why) = course.hindrance().filter(|_| course.is_blocked()) {
            return Err(AppError::Failed(why));
        }
        for difference in course.differences.iter().filter(|_| args.purpose != Purpose::Add) {
            tracing::warn!("{difference}");
        }
    }
    let held = rereader.store.held().await.map_err(store_error)?;
    let from = args.from.unwrap_or(start_block);
    let to = args.to.or_else(|| final_tip(&held, &source));
    let range = to.and_then(|to| BlockRange::new(from, to));
    let Some(range) = range else {
        return Ok(Verified { source, range: None, report: RereadReport::default() });
    };
    let reread = Reread { source: index, range, purpose: args.purpose };
    let tell = |done| progress(Progress { source: &source, range, done });
    let report = rereader.run(reread, tell).await.map_err(|error| explain(loaded, chain, error))?;
    Ok(Verified { source, range: Some(range), report })
}

/// The newest block of a source that is stored and final.
fn final_tip(held: &Held, source: &str) -> Option<u64> {
    let stored = held.checkpoints.iter().find(|checkpoint| checkpoint.source == source)?.at?;
    Some(held.final_number?.min(stored.number))
}

/// For one chain, on a database that is migrated.
pub(super) async fn rereader(
    loaded: &Loaded,
    store: &Store,
    (chain, settings): (&config::Chain, ChainSettings),
) -> Result<Rereader, AppError> {
    let mut translator = translator(&loaded.config, chain)?;
    let record = record(&loaded.config, chain);
    let store = translator.open(store, &record).await.map_err(store_error)?;
    translator.follow(&store.comparison().courses);
    let store = store.following(translator.contracts());
    let on_error =
        Arc::new(|error: &chainflume_node::ChainError| tracing::warn!(%error, "the node is waited for"));
    let asked = (settings, policy(chain));
    Rereader::new(asked, translator, store, on_error).map_err(|error| explain(loaded, chain, error))
}

pub(super) fn explain(loaded: &Loaded, chain: &config::Chain, error: IndexerError) -> AppError {
    match error {
        IndexerError::Chain(error) if error.is_wrong_chain() => {
            AppError::Config(format!("{}: {error}", loaded.key(&chain.name, "http")))
        }
        IndexerError::Chain(error) => AppError::Unavailable(error.to_string()),
        IndexerError::Store(error @ StoreError::NotReached { .. }) => AppError::Failed(error.to_string()),
        IndexerError::Store(error @ StoreError::Conflict { .. }) => AppError::Failed(format!(
            "{error}: the node contradicts blocks that are stored and not events alone; see `chainflume rewind`"
        )),
        IndexerError::Store(error) => store_error(error),
        other => AppError::Failed(other.to_string()),
    }
}

/// The sources of these names, or all, with their chains.
fn find_sources<'a>(
    loaded: &'a Loaded,
    names: &[String],
) -> Result<Vec<(&'a config::Chain, usize)>, AppError> {
    let config = &loaded.config;
    let all = config.chains.iter().flat_map(|chain| {
        config
            .sources_of(&chain.name)
            .enumerate()
            .map(move |(index, source)| (source.name.as_str(), chain, index))
    });
    let known: Vec<(&str, &config::Chain, usize)> = all.collect();
    if names.is_empty() {
        return Ok(known.into_iter().map(|(_, chain, index)| (chain, index)).collect());
    }
    let find = |name: &String| {
        let found = known.iter().find(|(known, ..)| known == name);
        found.map(|(_, chain, index)| (*chain, *index)).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(name, ..)| *name).collect();
            let (path, names) = (loaded.path.display(), names.join(", "));
            AppError::Config(format!("{path}: there is no source \"{name}\"; there are: {names}"))
        })
    };
    names.iter().map(find).collect()
}
