use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::environment::Environment;
use super::problem::Fault;
use super::secret::Secret;
use super::section::Section;
use super::url::{Scheme, url};
use super::words::word;
use chainflume_ops::telemetry::LineFormat;

/// `[database]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// `postgres://…`; `None` runs a private server under `data_dir`.
    pub url: Option<Secret>,
    /// Connections held open at most.
    pub max_connections: u32,
    /// How long a task may wait for a connection.
    pub acquire_timeout: Duration,
    /// Folder of the server programs of the private server; `None` looks for them.
    pub postgres_bin: Option<PathBuf>,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where health and metrics are answered.
    pub listen: SocketAddr,
    /// Confirmed blocks a source may lack before `/readyz` reports not ready.
    pub max_lag: u64,
}

/// `[outbox]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxConfig {
    /// How long messages are kept after every sink has them.
    pub retention: Duration,
}

/// `[retention]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRetention {
    /// How long resolved dead letters are kept.
    pub dead_letters: Duration,
    /// How long events that reorgs took back are kept, with the records of the reorgs.
    pub reorgs: Duration,
    /// Open dead letters kept of a source with `address = "any"`.
    pub letters_of_any: u32,
    /// How long deliveries of providers are kept.
    pub inbound: Duration,
}

/// `[standby]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// Name of this instance; `None` is its host and admin port.
    pub name: Option<String>,
    /// How long a lease lasts.
    pub lease: Duration,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LineFormat,
    /// How much is logged.
    pub level: LogLevel,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What stopped.
    Error,
    /// What will stop without an operator.
    Warn,
    /// What happens.
    Info,
    /// What is decided.
    Debug,
    /// Everything.
    Trace,
}

/// `[users]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Users {
    /// Whether a wallet that is not registered gets a row of its own; if not it is counted and warned about.
    pub create_missing: bool,
}

/// `[shutdown]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long work in hand may take after SIGTERM.
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

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: None, max_connections: 10, acquire_timeout: Duration::from_secs(5), postgres_bin: None }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)), max_lag: 100 }
    }
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self { retention: Duration::from_hours(7 * 24) }
    }
}

impl Default for RecordRetention {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(days * 24);
        Self { dead_letters: days(90), reorgs: days(365), letters_of_any: 1_000, inbound: days(30) }
    }
}

impl Default for Standby {
    fn default() -> Self {
        Self { name: None, lease: Duration::from_secs(10) }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LineFormat::Auto, level: LogLevel::Info }
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
    let default = DatabaseConfig::default();
    // Two: one writes while another is asked whether the database can be reached.
    let connections = section.number("max_connections", 2..=1000).and_then(|n| u32::try_from(n.value).ok());
    let timeout = Duration::from_millis(100)..=Duration::from_mins(10);
    let read = DatabaseConfig {
        url: section.parsed("url", |text| url(text, Scheme::Postgres)).map(|url| url.value),
        max_connections: connections.unwrap_or(default.max_connections),
        acquire_timeout: section
            .duration("acquire_timeout", timeout)
            .map_or(default.acquire_timeout, |timeout| timeout.value),
        postgres_bin: section.path_value("postgres_bin"),
    };
    section.finish();
    read
}

pub(super) fn admin(section: &Section<'_>) -> Admin {
    let address = |text: &str| {
        text.parse::<SocketAddr>().map_err(|_| {
            Fault::new(
                "is not an address and port",
                "write an IP address and a port, like \"127.0.0.1:9464\"",
            )
        })
    };
    let default = Admin::default();
    let listen = section.parsed("listen", address).map_or(default.listen, |found| found.value);
    let max_lag = section.number("max_lag", 1..=1_000_000_000).map_or(default.max_lag, |found| found.value);
    section.finish();
    Admin { listen, max_lag }
}

pub(super) fn outbox(section: &Section<'_>) -> OutboxConfig {
    let bounds = Duration::ZERO..=Duration::from_hours(10 * 365 * 24);
    let retention = section.duration("retention", bounds);
    section.finish();
    OutboxConfig {
        retention: retention.map_or(OutboxConfig::default().retention, |retention| retention.value),
    }
}

pub(super) fn retention(section: &Section<'_>) -> RecordRetention {
    let (default, bounds) =
        (RecordRetention::default(), Duration::ZERO..=Duration::from_hours(100 * 365 * 24));
    let dead_letters = section.duration("dead_letters", bounds.clone());
    let reorgs = section.duration("reorgs", bounds.clone());
    // Below a day a provider that tries again for so long would have its delivery stored twice.
    let inbound = section.duration("inbound", Duration::from_hours(24)..=*bounds.end());
    let letters = section.number("letters_of_any", 0..=10_000_000);
    section.finish();
    RecordRetention {
        dead_letters: dead_letters.map_or(default.dead_letters, |found| found.value),
        reorgs: reorgs.map_or(default.reorgs, |found| found.value),
        letters_of_any: letters.and_then(|n| u32::try_from(n.value).ok()).unwrap_or(default.letters_of_any),
        inbound: inbound.map_or(default.inbound, |found| found.value),
    }
}

pub(super) fn standby(section: &Section<'_>) -> Standby {
    let default = Standby::default();
    let name = section.parsed("name", instance_name).map(|name| name.value);
    let lease = section.duration("lease", Duration::from_secs(1)..=Duration::from_mins(5));
    section.finish();
    Standby { name, lease: lease.map_or(default.lease, |lease| lease.value) }
}

fn instance_name(text: &str) -> Result<String, Fault> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_-.:".contains(&b);
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(Fault::new("is not a name", "write at most 64 of letters, digits, `_`, `-`, `.` and `:`"))
}

pub(super) fn log(section: &Section<'_>) -> LogConfig {
    let default = LogConfig::default();
    let format = section.parsed("format", |text| word(text, &LOG_FORMATS));
    let level = section.parsed("level", |text| word(text, &LogLevel::WORDS));
    section.finish();
    LogConfig {
        format: format.map_or(default.format, |format| format.value),
        level: level.map_or(default.level, |level| level.value),
    }
}

pub(super) fn users(section: &Section<'_>) -> Users {
    let create_missing = section.flag("create_missing").unwrap_or(Users::default().create_missing);
    section.finish();
    Users { create_missing }
}

pub(super) fn shutdown(section: &Section<'_>) -> Shutdown {
    let bounds = Duration::from_secs(1)..=Duration::from_mins(10);
    let deadline = section.duration("deadline", bounds);
    section.finish();
    Shutdown { deadline: deadline.map_or(Shutdown::default().deadline, |deadline| deadline.value) }
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
