//! Turns the plain data of the configuration into the settings of each room.

use std::path::{Path, PathBuf};

use super::error::AppError;
use crate::config::{self, Config};
use chainflume_core::canon::Confirmations;
use chainflume_core::decode::{SourceAbi, SourceIndex};
use chainflume_core::domain::FollowedEvent;
use chainflume_core::mapping::{FamilySettings, Mapper, SourceMapping};
use chainflume_db::lease_follows;
use chainflume_deliver::sink;
use chainflume_index::{TranslatedSource, Translator};
use chainflume_store::{ChainRecord, SourceRecord};

use crate::{admin, lease, postgres};
use chainflume_ops::telemetry;
use chainflume_ops::tls::{self, ClientCertificate, ClientCertificateError};

/// A configuration and the file it was read from, for messages that name the place.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub config: Config,
}

impl Loaded {
    /// The place of a chain's key, for messages.
    pub(crate) fn key(&self, chain: &str, key: &str) -> String {
        format!("{}: chain \"{chain}\": {key}", self.path.display())
    }
}

/// How logs are set up.
pub fn telemetry_settings(log: &config::LogConfig) -> telemetry::LogSettings {
    // Libraries log their own affairs at `info`; ours are the operator's. sqlx warns of parts of the database
    // url it does not know, with their values.
    let level = log.level.as_str();
    let others = if log.level == config::LogLevel::Error { "error" } else { "warn" };
    telemetry::LogSettings { format: log.format, filter: format!("{others},sqlx=error,chainflume={level}") }
}

pub(crate) fn postgres_settings(config: &Config) -> postgres::Settings {
    postgres::Settings { data_dir: config.data_dir.clone(), ..config.database.private.clone() }
}

pub(crate) fn store_settings(config: &Config, url: String) -> chainflume_db::Settings {
    chainflume_db::Settings { url, ..config.database.pool.clone() }
}

/// `sole` where the database is this daemon's own.
pub(crate) fn lease_settings(config: &Config, sole: bool) -> lease::Settings {
    let mut settings = lease::Settings { sole, ..config.standby.clone() };
    if settings.name.is_empty() {
        settings.name = format!("{}:{}", host_name(), config.admin.listen.port());
    }
    let of_chain = |chain: &config::Chain| {
        let configured = record(config, chain).configured();
        let chain_id = chain.chain_id;
        configured
            .into_iter()
            .map(move |configured| lease_follows(chain_id, &configured.name, &configured.digest()))
    };
    settings.follows = config.chains.iter().flat_map(of_chain).collect();
    settings
}

fn host_name() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if read.trim().is_empty() { "localhost".to_owned() } else { read.trim().to_owned() }
}

/// The certificate authorities of a file.
///
/// # Errors
/// When it cannot be read, or has no certificate: then no server would be trusted.
pub(crate) fn authority(file: &Path) -> Result<Vec<u8>, String> {
    let pem = std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    match tls::has_certificate(&pem) {
        true => Ok(pem),
        false => Err(format!("{} has no certificate; name a certificate authority in PEM", file.display())),
    }
}

/// `None` where no Redis is configured.
///
/// # Errors
/// When a certificate or a key cannot be read.
pub(crate) fn redis_settings(loaded: &Loaded) -> Result<Option<sink::RedisSettings>, AppError> {
    let config::Redis { servers, ca_file, client_files, streams } = &loaded.config.redis;
    let Some(servers) = servers.clone() else { return Ok(None) };
    let wrong = |text| AppError::Config(format!("{}: redis.{text}", loaded.path.display()));
    let read = |file: &PathBuf| authority(file).map_err(|text| wrong(format!("ca_file: {text}")));
    let ca = ca_file.as_ref().map(read).transpose()?;
    let client = client_files.as_ref().map(|files| client_certificate(files).map_err(wrong)).transpose()?;
    Ok(Some(sink::RedisSettings { servers, ca, client, ..streams.clone() }))
}

/// The error begins with the key of the file at fault.
fn client_certificate((certificate, key): &(PathBuf, PathBuf)) -> Result<ClientCertificate, String> {
    let named = |name: &str, file: &Path, text: &str| format!("{name}: {} {text}", file.display());
    let read = |name: &str, file: &Path| {
        std::fs::read(file).map_err(|error| named(name, file, &format!("cannot be read: {error}")))
    };
    let both = (read("certificate_file", certificate)?, read("key_file", key)?);
    ClientCertificate::new(both.0, both.1).map_err(|error| match &error {
        ClientCertificateError::NoCertificate => named("certificate_file", certificate, &error.to_string()),
        _ => named("key_file", key, &error.to_string()),
    })
}

pub(crate) fn admin_settings(config: &Config) -> admin::Settings {
    let silence = |chain: &config::Chain| (chain.name.clone(), head_silence(chain));
    let limits = admin::Limits {
        head_silence: config.chains.iter().map(silence).collect(),
        pace: config.chains.iter().map(|chain| (chain.name.clone(), pace(chain))).collect(),
        ..config.admin.limits
    };
    admin::Settings { limits, ..config.admin.clone() }
}

fn pace(chain: &config::Chain) -> admin::ChainPace {
    let confirmations = match chain.policy.confirmations {
        Confirmations::Blocks(depth) => Some(depth),
        Confirmations::Safe | Confirmations::Finalized => None,
    };
    admin::ChainPace { block_time: chain.block_time, confirmations }
}

/// A head that does not move for twenty blocks' time, and for a minute and two polls, is a stall: no chain
/// varies that much by itself.
pub(crate) fn head_silence(chain: &config::Chain) -> std::time::Duration {
    let minute = std::time::Duration::from_secs(60);
    (chain.block_time * 20).max(minute).max(chain.node.poll_interval * 2)
}

pub(crate) fn record(config: &Config, chain: &config::Chain) -> ChainRecord {
    let source = |source: &config::Source| SourceRecord {
        name: source.name.clone(),
        family: source.family.as_str().to_owned(),
        start_block: source.start_block,
        end_block: source.end_block,
        decimals: source.decimals,
        publish_from: source.publish_from,
        follows: follows(source),
    };
    ChainRecord {
        chain_id: chain.chain_id,
        name: chain.name.clone(),
        genesis_hash: None,
        create_missing_users: config.users.create_missing,
        sources: config.sources_of(&chain.name).map(source).collect(),
    }
}

/// What a source listens for. An anonymous event of every contract cannot be distinguished from any other.
fn follows(source: &config::Source) -> Vec<FollowedEvent> {
    let abi = |source: &config::Source| SourceAbi {
        source: SourceIndex(0),
        addresses: source.addresses.clone(),
        events: source.events.clone(),
    };
    let (abi, user) = (abi(source), source.user.as_deref());
    let events = abi.events.iter().filter(|event| abi.listens_for(event));
    events.map(|event| (event.key(user), source.addresses.clone())).collect()
}

/// What the chain's sources listen to and what it means.
///
/// # Errors
/// What the config's check would have found too.
pub(crate) fn translator(config: &Config, chain: &config::Chain) -> Result<Translator, AppError> {
    let sources = config.sources_of(&chain.name).enumerate().map(|(index, source)| TranslatedSource {
        name: source.name.clone(),
        end_block: source.end_block,
        abi: SourceAbi {
            source: SourceIndex(index),
            addresses: source.addresses.clone(),
            events: source.events.clone(),
        },
        user: source.user.clone(),
    });
    let mappings = config.sources_of(&chain.name).enumerate().map(|(index, source)| SourceMapping {
        source: SourceIndex(index),
        name: source.name.clone(),
        settings: FamilySettings { family: source.family, user: source.user.clone() },
        events: source.events.clone(),
    });
    let mapper = Mapper::new(mappings.collect()).map_err(|error| AppError::Config(error.to_string()))?;
    Ok(Translator::new(chain.name.clone(), sources.collect(), mapper))
}

#[cfg(test)]
mod tests;
