//! `replay`: publishes history again.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use crate::config;
use crate::roles::AppError;
use crate::roles::database::{OpenDatabase, store_error};
use crate::roles::parts::{Loaded, record, redis_settings, translator};
use chainflume_db::StoreError;
use chainflume_deliver::relay::{ReplayTarget, Replayed, Replayer, SeparateStreams};
use chainflume_deliver::sink::{RedisSink, Sink};
use chainflume_ops::shutdown;
use chainflume_outbox::{Outbox, ReplaySource};
use chainflume_publish::{FactQuery, FactQueryError, FactReplay};
use chainflume_store::{ChainReplay, ChainStore, ReplayQuery};

/// What is to be published again, and where.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// Which facts.
    pub what: ReplayWhat,
    /// Where to.
    pub to: ReplayTo,
    /// Maximum number of messages per second.
    pub rate: u32,
}

/// Which facts are to be published again.
#[derive(Clone, Debug)]
pub enum ReplayWhat {
    /// Events of a chain.
    Chain {
        /// Its name; may be left out where there is one.
        name: Option<String>,
        /// Which events.
        query: ReplayQuery,
    },
    /// Events of the application and changes of activities.
    Application(FactQuery),
}

/// Where a replay goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayTo {
    /// Nowhere: the messages are only counted.
    Nowhere,
    /// Into the outbox, and so to all sinks.
    Live,
    /// To streams of their own.
    SeparateStreams {
        /// Name of the sink; the one there is where none is named.
        sink: Option<String>,
        /// Prefix of the names of the streams, after the configured prefix.
        stream: String,
    },
}

/// Progress of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayNews {
    /// Number of events by type, before the first is published.
    Size(BTreeMap<String, u64>),
    /// More than the streams keep; consumers that do not read along miss the oldest.
    Overflow {
        /// Entries kept in each stream.
        kept: u64,
    },
    /// Number of messages published so far, and the place after which another replay would continue if this one ended now.
    Published(u64, String),
}

/// Publishes history again, until all is published or a signal comes. Returns `None` where messages are only counted.
///
/// # Errors
/// When the arguments do not fit what is stored or configured, or the database cannot be reached.
pub async fn replay(
    loaded: &Loaded,
    args: &ReplayOptions,
    mut report: impl FnMut(ReplayNews),
) -> Result<Option<Replayed>, AppError> {
    let what = match &args.what {
        ReplayWhat::Chain { name, query } => FoundFacts::Chain(find_chain(loaded, name.as_deref())?, query),
        ReplayWhat::Application(query) => FoundFacts::Application(query),
    };
    let target = target(loaded, &args.to)?;
    let stop = shutdown::on_signal().map_err(anyhow::Error::from)?;
    let database = OpenDatabase::open_daemons(loaded).await?;
    let job = Job { loaded, args, target, stop };
    let outcome = match what {
        FoundFacts::Chain(chain, query) => replay_chain(&database, chain, query, job, &mut report).await,
        FoundFacts::Application(query) => replay_application(&database, query, job, &mut report).await,
    };
    database.close().await;
    outcome
}

/// What is to be published again, with the configuration of its chain.
enum FoundFacts<'a> {
    Chain(&'a config::Chain, &'a ReplayQuery),
    Application(&'a FactQuery),
}

/// One replay: what to publish again, and where to.
struct Job<'a> {
    loaded: &'a Loaded,
    args: &'a ReplayOptions,
    /// `None` where messages are only counted.
    target: Option<ReplayTarget<RedisSink>>,
    stop: CancellationToken,
}

async fn replay_chain(
    database: &OpenDatabase,
    chain: &config::Chain,
    query: &ReplayQuery,
    job: Job<'_>,
    report: &mut impl FnMut(ReplayNews),
) -> Result<Option<Replayed>, AppError> {
    database.store.migrate().await.map_err(store_error)?;
    let chain = open(job.loaded, database, chain).await?;
    let size = chain.replay_size(query).await.map_err(replay_error)?;
    job.run(&database.store.outbox(), ChainReplay::new(chain, query.clone()), size, report).await
}

async fn replay_application(
    database: &OpenDatabase,
    query: &FactQuery,
    job: Job<'_>,
    report: &mut impl FnMut(ReplayNews),
) -> Result<Option<Replayed>, AppError> {
    database.store.migrate().await.map_err(store_error)?;
    let facts = FactReplay::new(&database.store, query.clone());
    facts.check().await.map_err(|error| match error {
        FactQueryError::Store(error) => store_error(error),
        unknown => AppError::Failed(unknown.to_string()),
    })?;
    let size = facts.size().await.map_err(store_error)?;
    job.run(&database.store.outbox(), facts, size, report).await
}

impl Job<'_> {
    /// Publishes the facts of the source. `size` is their number by type.
    async fn run(
        self,
        outbox: &Outbox,
        source: impl ReplaySource,
        size: BTreeMap<String, u64>,
        report: &mut impl FnMut(ReplayNews),
    ) -> Result<Option<Replayed>, AppError> {
        let Self { loaded, args, target, stop } = self;
        let kept = loaded.config.redis.streams.stream_length;
        let overflows =
            matches!(args.to, ReplayTo::SeparateStreams { .. }) && size.values().sum::<u64>() > kept;
        report(ReplayNews::Size(size));
        let Some(target) = target else { return Ok(None) };
        if overflows {
            report(ReplayNews::Overflow { kept });
        }
        let lock = outbox.lock_replay().await.map_err(store_error)?;
        let lock = lock.ok_or_else(|| AppError::Busy("another replay runs on this database".to_owned()))?;
        let mut replayer = Replayer { outbox: outbox.clone(), source, target, rate: args.rate };
        let published = |count, upto: &str| report(ReplayNews::Published(count, upto.to_owned()));
        let replayed = replayer.run(&stop, published).await;
        lock.release().await;
        Ok(Some(replayed))
    }
}

async fn open(
    loaded: &Loaded,
    database: &OpenDatabase,
    chain: &config::Chain,
) -> Result<ChainStore, AppError> {
    let mut translator = translator(&loaded.config, chain)?;
    let record = record(&loaded.config, chain);
    translator.open_with_retries(&database.store, &record).await.map_err(store_error)
}

fn replay_error(error: StoreError) -> AppError {
    match error {
        StoreError::NotFinal { .. } | StoreError::UnknownType { .. } => AppError::Failed(error.to_string()),
        other => store_error(other),
    }
}

fn target(loaded: &Loaded, to: &ReplayTo) -> Result<Option<ReplayTarget<RedisSink>>, AppError> {
    let ReplayTo::SeparateStreams { sink, stream } = to else {
        return Ok((*to == ReplayTo::Live).then_some(ReplayTarget::Live));
    };
    let path = loaded.path.display();
    let mut settings = redis_settings(loaded)?.ok_or_else(|| {
        AppError::Config(format!(
            "{path}: [redis] names no server, and a stream of its own needs one; with --live the messages go where all others do"
        ))
    })?;
    settings.prefix = format!("{}{stream}:", settings.prefix);
    let streams = settings.prefix.clone();
    let redis = RedisSink::new(settings).map_err(|error| AppError::Config(format!("{path}: {error}")))?;
    match sink {
        Some(name) if name != redis.name() => {
            Err(AppError::Config(format!("{path}: there is no sink \"{name}\"; there is: {}", redis.name())))
        }
        _ => Ok(Some(ReplayTarget::SeparateStreams(SeparateStreams::new(redis, streams)))),
    }
}

fn find_chain<'a>(loaded: &'a Loaded, name: Option<&str>) -> Result<&'a config::Chain, AppError> {
    let chains = &loaded.config.chains;
    let names = || chains.iter().map(|chain| chain.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, &chains[..]) {
        (None, [only]) => Ok(only),
        (None, _) => Err(AppError::Config(format!("name one of the chains with --chain: {}", names()))),
        (Some(name), _) => chains
            .iter()
            .find(|chain| chain.name == name)
            .ok_or_else(|| AppError::Config(format!("there is no chain \"{name}\"; there are: {}", names()))),
    }
}
