//! The commands that read stored blocks again: `backfill` and `verify`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use crate::config;
use crate::roles::AppError;
use crate::roles::Loaded;
use crate::roles::database::{OpenDatabase, store_error};
use crate::roles::index::{explain, rereader};
use chainflume_core::domain::BlockRange;
use chainflume_index::{Purpose, Reread, RereadReport, Rereader};
use chainflume_store::StoreSnapshot;

/// What is to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RereadArgs {
    /// The sources; empty for all.
    pub sources: Vec<String>,
    /// First block; where none is given, each source's start block. Nothing below that is compared.
    pub from: Option<u64>,
    /// Last block; where none is given, the newest that is stored and final.
    pub to: Option<u64>,
    /// What to do.
    pub purpose: Purpose,
    /// How long a node may fail at the same blocks.
    pub give_up_after: Duration,
}

impl RereadArgs {
    /// Why these blocks of a source cannot be added: the tables would have events that the configuration leaves out, and that the next
    /// reading from `start_block` would not have. A comparison of several sources begins at the start block of each.
    fn refusal(&self, source: &str, start: Option<u64>) -> Option<String> {
        let start = start.filter(|start| self.from.is_some_and(|from| from < *start))?;
        (self.purpose == Purpose::Add).then(|| {
            format!(
                "source `{source}` begins at block {start} (start_block), and nothing below it is added; give --from {start}, or lower \
                 start_block: the daemon then reads the blocks below by itself"
            )
        })
    }
}

/// What was found of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its name.
    pub source: String,
    /// The blocks; `None` where none of them is final yet, or all are below the start block.
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
    /// The last that is done; `None` at the beginning.
    pub done: Option<u64>,
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
    let database = OpenDatabase::open_daemons(loaded).await?;
    let (mut found, mut rereading) = (Vec::new(), Rereading::new(loaded, &database, args));
    let mut outcome = database.store.migrate().await.map(drop).map_err(store_error);
    for (chain, index) in sources {
        if outcome.is_err() {
            break;
        }
        match rereading.one(chain, index, &mut progress).await {
            Ok(verified) => found.push(verified),
            Err(error) => outcome = Err(error),
        }
    }
    database.close().await;
    outcome.map(|()| found)
}

/// The rereading of sources, one after the other.
struct Rereading<'a> {
    loaded: &'a Loaded,
    database: &'a OpenDatabase,
    args: &'a RereadArgs,
    /// By the name of the chain: a provider that did not work for one source is not retried for the next.
    rereaders: BTreeMap<String, Rereader>,
}

impl<'a> Rereading<'a> {
    fn new(loaded: &'a Loaded, database: &'a OpenDatabase, args: &'a RereadArgs) -> Self {
        Self { loaded, database, args, rereaders: BTreeMap::new() }
    }

    /// Reads the blocks of one source again.
    async fn one(
        &mut self,
        chain: &config::Chain,
        index: usize,
        progress: &mut impl FnMut(Progress<'_>),
    ) -> Result<Verified, AppError> {
        let rereader = match self.rereaders.entry(chain.name.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let mut new = rereader(self.loaded, &self.database.store, chain, chain.node.clone()).await?;
                new.give_up_after = Some(self.args.give_up_after);
                new.use_limits(&self.database.store, None).await;
                entry.insert(new)
            }
        };
        let source = &rereader.translator.sources()[index];
        let source = source.name.clone();
        let compared = rereader.store.comparison().sources.get(index);
        if let Some(compared) = compared {
            if let Some(why) = compared.hindrance().filter(|_| compared.is_blocked()) {
                return Err(AppError::Failed(why));
            }
            for difference in compared.differences.iter().filter(|_| self.args.purpose != Purpose::Add) {
                tracing::warn!("{difference}");
            }
        }
        let start = compared.and_then(|compared| compared.start);
        if let Some(refusal) = self.args.refusal(&source, start) {
            return Err(AppError::Failed(refusal));
        }
        let held = rereader.store.snapshot().await.map_err(store_error)?;
        let to = self.args.to.or_else(|| final_tip(&held, &source));
        let range = self.args.from.max(start).zip(to).and_then(|(from, to)| BlockRange::new(from, to));
        let Some(range) = range else {
            return Ok(Verified { source, range: None, report: RereadReport::default() });
        };
        let reread = Reread { source: index, range, purpose: self.args.purpose };
        progress(Progress { source: &source, range, done: None });
        let report = |done| progress(Progress { source: &source, range, done: Some(done) });
        let report =
            rereader.run(reread, report).await.map_err(|error| explain(self.loaded, chain, error))?;
        Ok(Verified { source, range: Some(range), report })
    }
}

/// The newest block of a source that is stored and final.
fn final_tip(held: &StoreSnapshot, source: &str) -> Option<u64> {
    let stored = held.checkpoints.iter().find(|checkpoint| checkpoint.source == source)?.at?;
    Some(held.final_number?.min(stored.number))
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
