//! Reads the configuration once, whole, and reports every problem together.
//!
//! `config/default.toml`, which is part of the program ([`MANUAL`]), explains every key. What comes out
//! is plain data: each room has settings of its own, which `app` fills from it.

mod abi;
mod address;
mod chain;
mod crosscheck;
mod environment;
mod environment_file;
mod filter;
mod inbound;
mod json;
mod manual;
mod meaning;
mod problem;
mod provider;
mod publish;
mod reader;
mod redis;
mod schedule;

mod section;
mod server;
mod settings;
mod source;
mod substitute;
mod suggest;
mod supply;
mod table;
mod threshold;
mod url;
mod webhook;
mod words;

use std::path::{Path, PathBuf};

pub use chain::Chain;
pub use chainflume_core::canon::{Confirmations, DepthPolicy, PublishMode};
pub use chainflume_core::settings::Secret;
pub use chainflume_gateway::push::PushRule;
pub use chainflume_inbound::InboundEndpoint;
pub use chainflume_index::AuditSettings;
pub use chainflume_node::{
    ChainSettings, Compression, FailoverSettings, HistorySettings, LogVerification, ProviderRole,
    ProviderSettings, RateLimitSettings,
};
pub use chainflume_ops::telemetry::LineFormat;
pub use chainflume_publish::trigger::{ScheduledEvent, Threshold};
pub use environment::{Environment, FileError, ProcessEnvironment};
pub use environment_file::CommandEnvironment;
pub use manual::MANUAL;
pub use problem::{Problem, Problems};
pub use publish::ApplicationFacts;
pub use redis::Redis;
pub use server::{AuthMode, ServerAuth, ServerConfig};
pub use settings::{
    DatabaseConfig, LOG_FORMATS, LogConfig, LogLevel, OutboxConfig, RecordRetention, Shutdown, Users,
};
pub use source::Source;
pub use webhook::{Alerts, AnswerConfig, Webhook};

use crate::{admin, lease};
use problem::{Fault, Spot};
use reader::Reader;
use section::Section;

/// Bytes read of a configuration file.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// A configuration without contradictions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the private database lives.
    pub data_dir: PathBuf,
    /// `[database]`
    pub database: DatabaseConfig,
    /// `[outbox]`
    pub outbox: OutboxConfig,
    /// `[retention]`
    pub retention: RecordRetention,
    /// `[redis]`
    pub redis: Redis,
    /// `[standby]`
    pub standby: lease::Settings,
    /// Every `[[webhook]]`, and behind them every `[[reaction]]`.
    pub webhooks: Vec<Webhook>,
    /// Every `[[inbound]]`.
    pub inbound: Vec<InboundEndpoint>,
    /// `[alerts]`
    pub alerts: Alerts,
    /// `[admin]`
    pub admin: admin::Settings,
    /// `[server]`
    pub server: ServerConfig,
    /// Every `[[push]]`.
    pub push: Vec<PushRule>,
    /// `[publish]` and `[activity]`
    pub publish: ApplicationFacts,
    /// Every `[[schedule]]`.
    pub schedules: Vec<ScheduledEvent>,
    /// Every `[[threshold]]`.
    pub thresholds: Vec<Threshold>,
    /// `[log]`
    pub log: LogConfig,
    /// `[users]`
    pub users: Users,
    /// `[shutdown]`
    pub shutdown: Shutdown,
    /// Every `[[chain]]`: at least one, each read by a source.
    pub chains: Vec<Chain>,
    /// Every `[[source]]`: at least one, each with the name of a chain in `chains`.
    pub sources: Vec<Source>,
}

impl Config {
    /// Reads the file at `path` and the ABIs it names.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(path: &Path, environment: &dyn Environment) -> Result<Self, Problems> {
        match environment.read(path, MAX_CONFIG_BYTES) {
            Ok(text) => Self::parse(path, &text, environment),
            Err(error) => {
                let remedy = match error {
                    FileError::Missing => "name the file with --config, or write one with `chainflume init`",
                    FileError::Denied => "let this user read it",
                    _ => "name a configuration file with --config",
                };
                Err(Problems::of_file(path, Fault::new(error.to_string(), remedy)))
            }
        }
    }

    /// Reads `text` as the contents of the file at `path`, to whose folder its paths are relative.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str, environment: &dyn Environment) -> Result<Self, Problems> {
        let reader = Reader::new(path, text, environment);
        let root = reader.parse();
        let config = root.as_ref().and_then(|root| read(&Section::root(&reader, root.get_ref())));
        reader.finish(config)
    }

    /// The sources of the chain named `chain`, in the order of the file.
    pub fn sources_of<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a Source> {
        self.sources.iter().filter(move |source| source.chain == chain)
    }
}

fn read(root: &Section<'_>) -> Option<Config> {
    let reader = root.reader;
    let data_dir = root.path_value("data_dir");
    let chains: Vec<_> = tables(root, "chain").iter().map(chain::read).collect();
    let sources: Vec<_> = tables(root, "source").into_iter().map(source::read).collect();
    let webhooks: Vec<_> = root.tables("webhook").iter().map(webhook::read).collect();
    let reactions: Vec<_> = root.tables("reaction").iter().map(webhook::reaction).collect();
    let webhooks: Vec<_> = webhooks.into_iter().chain(reactions).collect();
    let inbound: Vec<_> = root.tables("inbound").iter().map(inbound::read).collect();
    let alerts = webhook::alerts(&root.table("alerts"));
    let push: Vec<_> = root.tables("push").iter().map(server::push).collect();
    let server = server::server(&root.table("server"));
    let publish = publish::publish(&root.table("publish"), &root.table("activity"));
    let schedules: Vec<_> = root.tables("schedule").iter().map(schedule::read).collect();
    let thresholds: Vec<_> = root.tables("threshold").iter().map(threshold::read).collect();
    let settings = (
        settings::database(&root.table("database")),
        (
            root.table("outbox").fill_all(),
            settings::retention(&root.table("retention")),
            redis::redis(&root.table("redis")),
        ),
        (settings::admin(&root.table("admin")), root.table("standby").fill_all()),
        root.table("log").fill_all(),
        root.table("users").fill_all(),
        root.table("shutdown").fill_all(),
    );
    root.finish();
    crosscheck::crosscheck(reader, &chains, &sources);
    crosscheck::webhooks(reader, &webhooks);
    crosscheck::inbound(reader, &inbound, &chains);
    crosscheck::schedules(reader, &schedules);
    crosscheck::thresholds(reader, &thresholds, &chains);
    let (database, (outbox, retention, redis), (admin, standby), log, users, shutdown) = settings;
    Some(Config {
        data_dir: data_dir.unwrap_or_else(|| settings::default_data_dir(reader.environment)),
        database,
        outbox,
        retention,
        redis,
        standby,
        webhooks: webhooks.into_iter().map(|draft| draft.webhook).collect::<Option<_>>()?,
        inbound: inbound.into_iter().map(|draft| draft.endpoint(&chains)).collect::<Option<_>>()?,
        alerts,
        admin,
        server,
        push: push.into_iter().collect::<Option<_>>()?,
        publish,
        schedules: schedules.into_iter().map(|draft| draft.schedule).collect::<Option<_>>()?,
        thresholds: thresholds.into_iter().map(|draft| draft.threshold(&chains)).collect::<Option<_>>()?,
        log,
        users,
        shutdown,
        chains: chains.into_iter().map(|draft| draft.chain).collect::<Option<_>>()?,
        sources: sources.into_iter().map(|draft| draft.source).collect::<Option<_>>()?,
    })
}

/// The tables of `key`, of which there must be one.
fn tables<'a>(root: &Section<'a>, key: &'static str) -> Vec<Section<'a>> {
    let none = match root.get(key) {
        None => true,
        Some((_, value)) => value.as_array().is_some_and(|items| items.is_empty()),
    };
    if none {
        let remedy = format!("add a [[{key}]] table; `chainflume init` writes one");
        root.reader.report(&Spot { key: key.to_owned(), at: None }, Fault::new("there is none", remedy));
    }
    root.tables(key)
}
