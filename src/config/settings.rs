use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::environment::Environment;
use super::section::Section;
use super::url::{Scheme, url};
use crate::{admin, postgres};
use chainflume_core::settings::Secret;
use chainflume_ops::telemetry::LineFormat;
use chainflume_store::HistoryRetention;

/// `[database]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// `postgres://…`; `None` runs a private server under `data_dir`.
    pub url: Option<Secret>,
    /// The pool of connections, without its URL.
    pub pool: chainflume_db::Settings,
    /// The private server, without its directory.
    pub private: postgres::Settings,
}

/// `[outbox]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct OutboxConfig {
    /// How long messages are kept after every sink has them.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<0, { 10 * YEAR }, _>")]
    pub retention: Duration,
}

/// `[retention]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RecordRetention {
    /// Records of the chains.
    #[serde(skip)]
    pub history: HistoryRetention,
    /// How long deliveries of providers are kept. Below a day a provider that tries again for so long would have its delivery stored
    /// twice.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<DAY, { 100 * YEAR }, _>")]
    pub inbound: Duration,
}

/// Milliseconds of a day.
pub(super) const DAY: u64 = 24 * 3_600 * 1_000;
/// Milliseconds of a year.
pub(super) const YEAR: u64 = 365 * DAY;

/// `[log]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LineFormat,
    /// How much is logged.
    pub level: LogLevel,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// What stopped.
    Error,
    /// What will stop without an operator.
    Warn,
    /// What happens.
    #[default]
    Info,
    /// What is decided.
    Debug,
    /// Everything.
    Trace,
}

/// `[users]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Users {
    /// Whether a wallet that is not registered gets a row of its own; if not it is counted and warned about.
    pub create_missing: bool,
}

/// `[shutdown]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Shutdown {
    /// How long work in hand may take after SIGTERM.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<1_000, 600_000, _>")]
    pub deadline: Duration,
}

/// The words of the configuration for the format of log lines.
pub const LOG_FORMATS: [(&str, LineFormat); 3] =
    [("auto", LineFormat::Auto), ("human", LineFormat::Human), ("json", LineFormat::Json)];

impl LogLevel {
    /// The words of the configuration.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, level)| *level == self).map_or("info", |(word, _)| word)
    }
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self { retention: Duration::from_hours(7 * 24) }
    }
}

impl Default for RecordRetention {
    fn default() -> Self {
        Self { history: HistoryRetention::default(), inbound: Duration::from_hours(30 * 24) }
    }
}

impl Default for Users {
    fn default() -> Self {
        Self { create_missing: true }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(10) }
    }
}

pub(super) fn database(section: &Section<'_>) -> DatabaseConfig {
    let url = section.parsed("url", |text| url(text, Scheme::Postgres)).map(|url| url.value);
    let read = DatabaseConfig { url, pool: section.fill(), private: section.fill() };
    section.finish();
    read
}

pub(super) fn admin(section: &Section<'_>) -> admin::Settings {
    let read = admin::Settings { limits: section.fill(), ..section.fill() };
    section.finish();
    read
}

pub(super) fn retention(section: &Section<'_>) -> RecordRetention {
    let read = RecordRetention { history: section.fill(), ..section.fill() };
    section.finish();
    read
}

/// Where data is kept by default: where systemd sets it (`StateDirectory=`), else where such data
/// belongs for root, else for a user (XDG base directories).
pub(super) fn default_data_dir(environment: &dyn Environment) -> PathBuf {
    let set = |name: &str| environment.var(name).ok().filter(|value| !value.is_empty());
    // systemd joins several directories with colons; ours is the first.
    if let Some(first) = set("STATE_DIRECTORY").as_deref().and_then(|all| all.split(':').next()) {
        return first.into();
    }
    let system = PathBuf::from("/var/lib/chainflume");
    if environment.is_root() {
        return system;
    }
    let shared = set("XDG_DATA_HOME").map(PathBuf::from);
    let home = || set("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    shared.or_else(home).map_or(system, |shared| shared.join("chainflume"))
}
