//! The commands about sinks: the state of each, and what an operator decides about one that holds what this database never
//! sent. Each beside the running daemon, which sees it by itself.

use serde::Serialize;

use super::dead_letters::with_database;
use crate::roles::AppError;
use crate::roles::Loaded;
use crate::roles::database::{OpenDatabase, store_error};
use crate::roles::deliver::redis;
use crate::roles::deliver::sink_name;
use chainflume_deliver::relay::{self, Cursor};
use chainflume_deliver::sink::{InProcess, RedisSink, Sink, SinkError};
use chainflume_outbox::{Adopted, SinkContents};

/// The state of a configured sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkListing {
    /// Its name.
    pub name: String,
    /// `well`, `foreign`, `disabled` or `away`.
    pub state: &'static str,
    /// All messages up to this number are there or are held; `None` before the first.
    pub cursor: Option<u64>,
    /// The epoch of this database's newest message.
    pub epoch: String,
    /// Messages that wait for another try, or behind one that does.
    pub held: u64,
    /// Why it is not well.
    pub reason: Option<String>,
    /// What an operator can do about it.
    pub remedy: Option<String>,
}

/// What `sinks adopt` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Adoption {
    /// The sink.
    pub sink: String,
    /// Messages up to this number keep their numbers.
    pub kept: u64,
    /// Messages after that got new numbers: so many.
    pub moved: u64,
    /// The number with which this history goes on.
    pub next: u64,
}

/// Numbers from here on are not exact in JSON and in Redis' scripts.
const LARGEST: u64 = 1 << 53;

/// The state of each configured sink, as the database has it.
///
/// # Errors
/// When the database cannot be read.
pub async fn sinks(loaded: &Loaded) -> Result<Vec<SinkListing>, AppError> {
    with_database(loaded, async |database| {
        let epoch = database.store.outbox().epoch().await.map_err(store_error)?;
        let mut listed = Vec::new();
        for name in names(loaded)? {
            listed.push(listing(database, name, epoch.clone()).await?);
        }
        Ok(listed)
    })
    .await
}

async fn listing(database: &OpenDatabase, name: String, epoch: String) -> Result<SinkListing, AppError> {
    let state = database.store.outbox().sink_state(&name).await.map_err(store_error)?;
    let cursor = database.store.outbox().sink_cursor(&name).await.map_err(store_error)?;
    let trouble = state.last_error.or((state.failures > 0).then(|| failed(state.failures)));
    let (word, reason, remedy) = match (state.foreign, state.disabled, trouble) {
        (Some(reason), ..) => ("foreign", Some(reason), Some(relay::remedy(&name))),
        (None, Some(reason), _) => {
            let webhook = name.trim_start_matches("webhook:");
            ("disabled", Some(reason), Some(format!("`chainflume webhooks enable {webhook}`")))
        }
        (None, None, None) => ("well", None, None),
        (None, None, trouble) => ("away", trouble, None),
    };
    Ok(SinkListing { name, state: word, cursor, epoch, held: state.held, reason, remedy })
}

/// What is known of a sink whose error an older program did not store.
fn failed(times: u64) -> String {
    format!("failed {times} times in a row")
}

/// Lets this database's history go on after what a sink holds.
///
/// # Errors
/// When there is none of that name or it holds nothing foreign, or sink or database cannot be reached.
pub async fn adopt_sink(loaded: &Loaded, name: &str) -> Result<Adoption, AppError> {
    known(loaded, name)?;
    with_database(loaded, async |database| {
        let start = database.store.outbox().sink_start(name).await.map_err(store_error)?;
        let cursor = Cursor { seq: start.cursor.unwrap_or(0), is_new: start.cursor.is_none() };
        let found = match redis(loaded)?.filter(|redis| redis.name() == name) {
            Some(redis) => look(redis, database, cursor).await?,
            None => SinkContents::default(),
        };
        if start.foreign.is_none() && found.foreign.is_empty() && cursor.seq <= start.last {
            return Err(AppError::Failed(format!(
                "sink {name} holds nothing foreign; there is nothing to adopt"
            )));
        }
        let joined = database.store.outbox().adopt_sink(name, &found).await.map_err(store_error)?;
        Ok(Adoption { sink: name.to_owned(), kept: joined.kept, moved: joined.moved, next: joined.next })
    })
    .await
}

/// Sinks that get nothing until an operator decides, each with its reason: as the daemon has noted, or as it will see. Nothing is
/// written, and a Redis that cannot be reached is no news here.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn foreign(
    loaded: &Loaded,
    database: &OpenDatabase,
) -> Result<Vec<(String, String)>, AppError> {
    let mut found = Vec::new();
    for name in names(loaded)? {
        let start = database.store.outbox().sink_start(&name).await.map_err(store_error)?;
        let cursor = Cursor { seq: start.cursor.unwrap_or(0), is_new: start.cursor.is_none() };
        let seen = match redis(loaded)?.filter(|redis| redis.name() == name) {
            Some(redis) if start.foreign.is_none() => sight(redis, database, cursor).await?,
            _ if cursor.seq > start.last => {
                let (seq, last) = (cursor.seq, start.last);
                Some(format!("it has messages up to {seq}, and {last} is the newest number of this database"))
            }
            _ => None,
        };
        found.extend(start.foreign.or(seen).map(|reason| (name, reason)));
    }
    Ok(found)
}

/// What shows that a stream of Redis is not of this history.
async fn sight(
    mut redis: RedisSink,
    database: &OpenDatabase,
    cursor: Cursor,
) -> Result<Option<String>, AppError> {
    let types = database.store.outbox().aggregate_types().await.map_err(store_error)?;
    if redis.follow(&types).is_err() {
        return Ok(None);
    }
    let Ok(streams) = redis.look().await else { return Ok(None) };
    let tops: Vec<u64> = streams.iter().map(|stream| stream.top).collect();
    let lineage =
        database.store.outbox().lineage(redis.name(), cursor.seq, &tops).await.map_err(store_error)?;
    Ok(streams.iter().find_map(|stream| relay::foreign(stream, &lineage, cursor)))
}

async fn look(
    mut redis: RedisSink,
    database: &OpenDatabase,
    cursor: Cursor,
) -> Result<SinkContents, AppError> {
    let types = database.store.outbox().aggregate_types().await.map_err(store_error)?;
    redis.follow(&types).map_err(sink_error)?;
    let streams = redis.look().await.map_err(sink_error)?;
    let tops: Vec<u64> = streams.iter().map(|stream| stream.top).collect();
    let lineage =
        database.store.outbox().lineage(redis.name(), cursor.seq, &tops).await.map_err(store_error)?;
    if let Some(stream) = streams.iter().find(|stream| stream.top >= LARGEST) {
        return Err(AppError::Failed(format!(
            "{} ends at {}, which no number of a message can follow; delete the stream, or set another redis.prefix",
            stream.name, stream.top
        )));
    }
    let top = tops.into_iter().max().unwrap_or(0);
    let foreign = streams.into_iter().filter(|stream| relay::foreign(stream, &lineage, cursor).is_some());
    let adopted = foreign.map(|stream| {
        let newest = stream.newest.filter(|entry| entry.seq == stream.top);
        let epoch = newest.and_then(|entry| entry.epoch);
        Adopted { aggregate_type: stream.aggregate_type, seq: stream.top, epoch }
    });
    Ok(SinkContents { top, foreign: adopted.collect() })
}

/// Empties a sink, where it keeps anything, and sends it everything that is kept.
///
/// # Errors
/// When there is none of that name, or sink or database cannot be reached.
pub async fn reset_sink(loaded: &Loaded, name: &str) -> Result<(), AppError> {
    known(loaded, name)?;
    with_database(loaded, async |database| {
        // First the streams: should anything go wrong between, the sink is as it was, or has lost what is sent again.
        if let Some(mut redis) = redis(loaded)?.filter(|redis| redis.name() == name) {
            let types = database.store.outbox().aggregate_types().await.map_err(store_error)?;
            redis.follow(&types).map_err(sink_error)?;
            redis.remove().await.map_err(sink_error)?;
        }
        database.store.outbox().reset_sink(name).await.map_err(store_error)
    })
    .await
}

fn sink_error(error: SinkError) -> AppError {
    match error {
        error if error.is_transient() => AppError::Unavailable(error.to_string()),
        SinkError::Refused { answer, .. } if answer.contains("NOPERM") => AppError::Failed(format!(
            "{answer}: let the user of [redis] run +del, or delete the streams yourself, and run this again"
        )),
        error => AppError::Failed(error.to_string()),
    }
}

fn known(loaded: &Loaded, name: &str) -> Result<(), AppError> {
    let names = names(loaded)?;
    if names.iter().any(|known| known == name) {
        return Ok(());
    }
    let (path, all) = (loaded.path.display(), names.join(", "));
    Err(AppError::Config(format!("{path}: there is no sink \"{name}\"; there are: {all}")))
}

fn names(loaded: &Loaded) -> Result<Vec<String>, AppError> {
    let first = redis(loaded)?.map_or_else(|| InProcess::NAME.to_owned(), |redis| redis.name().to_owned());
    let webhooks = loaded.config.webhooks.iter().map(|webhook| sink_name(&webhook.endpoint.name));
    Ok(std::iter::once(first).chain(webhooks).collect())
}
