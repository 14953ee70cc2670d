//! `check`: looks at nodes and database and changes nothing in either.

mod chains;

use std::collections::BTreeMap;

use futures_util::future::{OptionFuture, join_all, join3, join4};
use serde::Serialize;

use super::preflight::{self, Look, NodeCheck};
use super::{followed, sinks, views};
use crate::config;
use crate::roles::AppError;
use crate::roles::database::{OpenDatabase, plain_text, store_error};
use crate::roles::parts::Loaded;
use crate::roles::{admin, deliver, trigger};
use chainflume_core::domain::SourceDifference;
use chainflume_db::Schema;
use chainflume_deliver::relay;
use chainflume_deliver::sink::RedisSink;
use chainflume_node::{ProviderRole, check_websocket};
use chainflume_ops::http::{HttpClient, HttpError};
use chainflume_store::Store;

/// What the check of the connections found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// Whether the daemon can start and work.
    pub ok: bool,
    /// A line for each thing looked at.
    pub lines: Vec<CheckLine>,
}

/// One thing looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckLine {
    /// Whether it is as it should be.
    pub ok: bool,
    /// Whether an operator should look at it although the daemon works without.
    pub warning: bool,
    /// What was found.
    pub text: String,
}

impl CheckLine {
    fn right(text: String) -> Self {
        Self { ok: true, warning: false, text }
    }

    fn wrong(text: String) -> Self {
        Self { ok: false, warning: false, text }
    }

    fn warning(text: String) -> Self {
        Self { ok: true, warning: true, text }
    }
}

/// What a check requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckScope {
    /// Everything that is configured works.
    Everything,
    /// The daemon can start. What a running daemon would wait out is reported and is no error: the outage of one of several nodes.
    Start,
}

/// Asks every node and the database, and fails if what `scope` requires is not so.
///
/// # Errors
/// What keeps the daemon from starting or working, after the report was handed to `show`.
pub async fn check(
    loaded: &Loaded,
    scope: CheckScope,
    show: impl FnOnce(&CheckReport),
) -> Result<(), AppError> {
    // What hangs costs its own timeout, but not one after the other.
    let nodes = preflight::nodes(loaded, Look::Logs);
    let asked = join4(nodes, websocket_lines(loaded), look_at_database(loaded), sink_lines(loaded));
    let (nodes, websockets, database, sinks) = asked.await;
    let mut lines: Vec<CheckLine> = nodes.iter().map(|check| node_line(loaded, check, &nodes)).collect();
    lines.extend(websockets);
    let nothing = chains::StoredFacts::default();
    let stored = database.as_ref().map_or(&nothing, |found| &found.stored);
    let chains = chains::look(loaded, &nodes, scope, stored).await;
    lines.extend(chains.lines);
    lines.extend(chains::latest_starts(loaded, stored));
    match &database {
        Ok(found) => {
            lines.push(CheckLine::right(format!("database: {}", found.text)));
            lines.extend(plain_text(loaded).map(|text| CheckLine::warning(format!("database: {text}"))));
            lines.extend(found.other.iter().cloned().map(CheckLine::warning));
            lines.extend(found.differences.iter().map(difference_line));
            lines.extend(found.views.iter().cloned().map(CheckLine::warning));
            lines.extend(found.foreign.iter().map(foreign_line));
        }
        Err(error) => lines.push(CheckLine::wrong(error.to_string())),
    }
    let mut unusable = None;
    for found in trigger::check(loaded).err().map(Err).into_iter().chain(sinks) {
        lines.push(found.unwrap_or_else(|error| {
            let line = CheckLine::wrong(error.to_string());
            unusable.get_or_insert(error);
            line
        }));
    }
    let starts = unusable.map_or_else(|| preflight::may_start(loaded, &nodes), Err);
    let ok = match scope {
        CheckScope::Start => starts.is_ok() && database.is_ok(),
        CheckScope::Everything => lines.iter().all(|line| line.ok),
    };
    show(&CheckReport { ok, lines });
    match (starts, database) {
        (Ok(()), Ok(_)) if chains.contradicts && !ok => Err(AppError::Config(CONTRADICTS.to_owned())),
        (Ok(()), Ok(found)) if !ok => Err(fault(&nodes, &found)),
        (starts, database) => starts.and(database.map(|_| ())),
    }
}

const CONTRADICTS: &str = "the node of a chain contradicts stored blocks: the chain would stop; see above";

/// What is wrong although the daemon would start.
fn fault(nodes: &[NodeCheck], found: &DatabaseFindings) -> AppError {
    if nodes.iter().any(NodeCheck::is_wrong) {
        return AppError::Config("a provider is on another chain; see above".to_owned());
    }
    if found.differences.iter().any(|(_, difference)| difference.blocks()) {
        let text =
            "the database was filled by another configuration: a source would not be followed; see above";
        return AppError::Config(text.to_owned());
    }
    if !found.foreign.is_empty() {
        let text = "a sink holds what this database never sent: nothing would be delivered there; see above";
        return AppError::Config(text.to_owned());
    }
    let text = match nodes.iter().all(|check| check.error().is_none()) {
        true => "redis or a webhook cannot be used; see above",
        // It may be there and answer what cannot be used.
        false => "a node cannot be used; see above",
    };
    AppError::Unavailable(text.to_owned())
}

fn foreign_line((sink, reason): &(String, String)) -> CheckLine {
    CheckLine::wrong(format!("sink {sink}: {reason}; {}", relay::remedy(sink)))
}

/// What the daemon does by itself, or leaves as it is, is no fault.
fn difference_line((chain, difference): &(String, SourceDifference)) -> CheckLine {
    let text = format!("chain {chain}: {difference}");
    if difference.blocks() { CheckLine::wrong(text) } else { CheckLine::right(text) }
}

fn node_line(loaded: &Loaded, check: &NodeCheck, all: &[NodeCheck]) -> CheckLine {
    match (&check.outcome, check.error()) {
        (Ok(head), None) => CheckLine::right(format!("chain {}: {}", check.chain, found(check, *head, all))),
        (Err(error), _) | (_, Some(error)) => CheckLine::wrong(format!("{}: {error}", check.place(loaded))),
    }
}

/// That it answers; of several providers also what each is for, how far it lags behind the others, and which of them would
/// be asked about new blocks.
fn found(check: &NodeCheck, head: u64, all: &[NodeCheck]) -> String {
    let family: Vec<&NodeCheck> = all.iter().filter(|other| other.chain == check.chain).collect();
    if family.len() < 2 {
        return format!("the node answers, head {head}");
    }
    let highest = family.iter().filter_map(|other| other.outcome.as_ref().ok()).max().map_or(head, |h| *h);
    let lag = match highest.saturating_sub(head) {
        0 => String::new(),
        lag => format!(", {lag} blocks behind"),
    };
    let fit =
        family.iter().filter(|other| other.error().is_none() && other.role.includes(ProviderRole::Live));
    let first = fit.min_by_key(|other| other.priority).is_some_and(|first| first.provider == check.provider);
    let first = if first { ", asked first" } else { "" };
    format!("provider {} (role {}) answers, head {head}{lag}{first}", check.provider, check.role.as_str())
}

/// Each WebSocket is opened and asked for heads. One that does not work is a warning: the head is polled for instead.
async fn websocket_lines(loaded: &Loaded) -> Vec<CheckLine> {
    let looks = loaded.config.chains.iter().map(|chain| &chain.node).map(async |settings| {
        let with_websocket = settings.providers.iter().filter(|provider| provider.ws_url.is_some());
        let looks = with_websocket.map(async |provider| {
            let place = format!("chain {}: the websocket of {}", settings.name, provider.label);
            match check_websocket(settings, provider).await {
                Ok(()) => CheckLine::right(format!("{place} takes a subscription to heads")),
                Err(reason) => {
                    CheckLine::warning(format!("{place} cannot be used, so the head is polled for: {reason}"))
                }
            }
        });
        join_all(looks).await
    });
    join_all(looks).await.into_iter().flatten().collect()
}

/// Redis, the webhooks and the receiver of alerts. An error is one of the configuration.
async fn sink_lines(loaded: &Loaded) -> Vec<Result<CheckLine, AppError>> {
    let redis = OptionFuture::from(deliver::redis(loaded).transpose().map(redis_line));
    let alerts = OptionFuture::from(admin::post(loaded).map(alert_line));
    let webhooks = join_all(loaded.config.webhooks.iter().map(|webhook| webhook_line(loaded, webhook)));
    let (redis, webhooks, alerts) = join3(redis, webhooks, alerts).await;
    redis.into_iter().chain(webhooks).chain(alerts.map(Ok)).collect()
}

async fn redis_line(redis: Result<RedisSink, AppError>) -> Result<CheckLine, AppError> {
    Ok(match redis?.check().await {
        Ok(host) => CheckLine::right(format!("redis: connected to {host}")),
        Err(error) => CheckLine::wrong(error.to_string()),
    })
}

/// The endpoint is resolved, connected to and asked for nothing: a `HEAD`, to which any answer is a sign of life.
async fn webhook_line(loaded: &Loaded, webhook: &config::Webhook) -> Result<CheckLine, AppError> {
    let sink = deliver::webhook_sink(loaded, webhook)?;
    let name = format!("{} {}", webhook.table(), webhook.endpoint.name);
    Ok(match sink.check().await {
        Ok((host, status)) => life(&name, &host, status),
        Err(error) => CheckLine::wrong(format!("{name}: {error}")),
    })
}

async fn alert_line(post: Result<HttpClient, HttpError>) -> CheckLine {
    match post {
        Ok(post) => match post.look().await {
            Ok(status) => life("alerts", post.host(), status),
            Err(error) => CheckLine::wrong(format!("alerts: {error}")),
        },
        Err(error) => CheckLine::wrong(format!("alerts.webhook: {error}")),
    }
}

fn life(name: &str, host: &str, status: u16) -> CheckLine {
    let moved =
        if (300..400).contains(&status) { "; redirects are not followed: name where it leads" } else { "" };
    let text = format!("{name}: {host} answers ({status} to HEAD), nothing was delivered{moved}");
    if moved.is_empty() { CheckLine::right(text) } else { CheckLine::wrong(text) }
}

/// What was found in the database.
struct DatabaseFindings {
    text: String,
    /// How it was filled by something else than what is configured, by chain.
    differences: Vec<(String, SourceDifference)>,
    /// Typed views that could not be made.
    views: Vec<String>,
    /// Sinks that hold what this database never sent, each with its reason.
    foreign: Vec<(String, String)>,
    /// That the daemon beside this process uses another database.
    other: Option<String>,
    /// What the nodes are held against.
    stored: chains::StoredFacts,
}

async fn look_at_database(loaded: &Loaded) -> Result<DatabaseFindings, AppError> {
    let Some(database) = OpenDatabase::open_made(loaded).await? else {
        OpenDatabase::check_place(loaded).await?;
        let data_dir = loaded.config.data_dir.display();
        let text = format!("a private PostgreSQL, which the daemon will make in {data_dir}");
        return Ok(DatabaseFindings {
            text,
            differences: Vec::new(),
            views: Vec::new(),
            foreign: Vec::new(),
            other: OpenDatabase::is_daemons(loaded, None).await.err().map(|error| error.to_string()),
            stored: chains::StoredFacts::default(),
        });
    };
    let schema = database.store.schema().await;
    let rights = database.store.check_rights().await;
    let differences = followed::differences(loaded, &database.store).await;
    let views = match &schema {
        Ok(Schema::Current) => views::refused(loaded, &database.store, Store::try_views).await,
        _ => Ok(Vec::new()),
    };
    let foreign = match &schema {
        Ok(Schema::Current) => sinks::foreign(loaded, &database).await,
        _ => Ok(Vec::new()),
    };
    let stored = match &schema {
        Ok(Schema::Current) => stored_facts(loaded, &database.store).await,
        _ => Ok(chains::StoredFacts::default()),
    };
    let other = OpenDatabase::is_daemons(loaded, Some(&database)).await.err().map(|error| error.to_string());
    database.close().await;
    let text = schema_text(schema.map_err(store_error)?)?;
    rights.map_err(store_error)?;
    let views = views?.iter().map(ToString::to_string).collect();
    Ok(DatabaseFindings { text, differences: differences?, views, foreign: foreign?, other, stored: stored? })
}

async fn stored_facts(loaded: &Loaded, store: &Store) -> Result<chains::StoredFacts, AppError> {
    let blocks = store.known_blocks().await.map_err(store_error)?;
    let sources = store.status().await.map_err(store_error)?;
    let starts = sources.iter().filter_map(|source| Some((source.source.clone(), source.start_block?)));
    let starts = starts.collect();
    let mut tips = BTreeMap::new();
    for (chain_id, at) in sources.iter().filter_map(|source| Some((source.chain_id, source.checkpoint?))) {
        let tip = tips.entry(chain_id).or_insert(at.number);
        *tip = at.number.max(*tip);
    }
    let events = sources.into_iter().map(|source| (source.source, source.events)).collect();
    let mut limits = BTreeMap::new();
    for provider in loaded.config.chains.iter().flat_map(|chain| &chain.node.providers) {
        let endpoint = provider.fingerprint();
        let found = store.endpoint_limits(&endpoint).await.map_err(store_error)?;
        limits.extend(found.map(|found| (endpoint, found)));
    }
    Ok(chains::StoredFacts { blocks, events, starts, tips, limits })
}

fn schema_text(schema: Schema) -> Result<String, AppError> {
    match schema {
        Schema::Missing => Ok("connected, empty; the daemon will create its tables".to_owned()),
        Schema::Behind { pending } => {
            Ok(format!("connected, {pending} migrations are pending; the daemon will run them"))
        }
        Schema::Current => Ok("connected, up to date".to_owned()),
        Schema::Newer { found, known } => Err(AppError::Config(format!(
            "the database is at migration {found}, this program knows none above {known}; run the newer program"
        ))),
    }
}
