use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};

use super::redis::DemoRedis;
use crate::config::{Config, ProcessEnvironment};
use crate::roles::AppError;
use crate::roles::Loaded;
use chainflume_devchain::{DEMO_NFT, DEMO_TOKEN, STAKE_VAULT, Server, Settings};

/// Of the demo's chain.
pub(super) const CONFIRMATIONS: u64 = 2;
/// As on many development chains.
const CHAIN_ID: u64 = 31_337;

/// The demo's chain: some history, and timestamps that end now.
pub(super) fn chain_settings(history: u64, block_time: Duration) -> Settings {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let block_time = block_time.as_secs().max(1);
    Settings {
        chain_id: CHAIN_ID,
        seed: now,
        genesis_time: now.saturating_sub(history * block_time),
        block_time,
        blocks_per_timestamp: 1,
        history,
        finalized_depth: None,
        block_timestamp_in_logs: true,
        ..Settings::default()
    }
}

/// The folder the demo lives in.
pub(super) struct Folder {
    path: PathBuf,
    /// The marker, locked for as long as the demo runs: another one would empty the folder under it.
    _lock: File,
}

/// Marks a folder as a demo's, so that only such a one is ever emptied.
const MARKER: &str = "demo.toml";

impl Folder {
    /// An empty folder. As root it is not under /root, which the unprivileged server could not enter.
    pub(super) fn create(wanted: Option<PathBuf>) -> Result<Self, AppError> {
        let user = rustix::process::getuid().as_raw();
        let path = wanted.unwrap_or_else(|| std::env::temp_dir().join(format!("chainflume-demo-{user}")));
        let marker = path.join(MARKER);
        let occupied = fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some());
        if occupied && !marker.exists() {
            return Err(AppError::Config(format!(
                "{} is not empty and holds no earlier demo; name another --data-dir",
                path.display()
            )));
        }
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let lock = File::options().create(true).append(true).open(&marker);
        let lock = lock.with_context(|| format!("cannot write to {}", path.display()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(AppError::Busy(format!(
                "a demo is running in {}; stop it or name another --data-dir",
                path.display()
            )));
        }
        empty(&path, &marker).with_context(|| format!("cannot empty {}", path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes all of it away; what cannot be removed is emptied by the next demo.
    pub(super) fn remove(self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, folder = %self.path.display(), "the demo's data stays");
        }
    }

    /// A configuration as a user would write it, read as a user's is: `chainflume --config` takes it too.
    pub(super) fn write_config(
        &self,
        server: &Server,
        admin: &TcpListener,
        block_time: Duration,
        redis: Option<&DemoRedis>,
    ) -> Result<Loaded, AppError> {
        let path = self.path.join(MARKER);
        let port = admin.local_addr().context("the admin address is none")?.port();
        let mut text = text(&self.path.join("data"), port, server, block_time);
        if let Some(redis) = redis {
            text += &format!("\n[redis]\nurl = \"{}\"\n", redis.url());
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        let config = Config::load(&path, &ProcessEnvironment)
            .map_err(|problems| AppError::Config(problems.to_string()))?;
        Ok(Loaded { path, config })
    }
}

/// Removes all of `folder` but the file `keep`.
fn empty(folder: &Path, keep: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if entry.path() != keep {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The usual admin port, or any where that is taken. Kept from here on: another demo may look for one just now.
pub(super) fn admin_port() -> Result<TcpListener, AppError> {
    let listener = TcpListener::bind("127.0.0.1:9464").or_else(|_| TcpListener::bind("127.0.0.1:0"));
    Ok(listener.context("no free port for the admin address")?)
}

fn text(data_dir: &Path, port: u16, server: &Server, block_time: Duration) -> String {
    let millis = block_time.as_millis();
    let poll = (millis * 2).max(200);
    format!(
        r#"# The demo's configuration.
data_dir = "{}"

[admin]
listen = "127.0.0.1:{port}"

[server]
listen = "127.0.0.1:0"
# Where `make example` serves its page.
cors_origins = ["http://127.0.0.1:8090"]

[server.auth]
mode = "none"

[[chain]]
name = "dev"
chain_id = {CHAIN_ID}
http = "{}"
ws = "{}"
confirmations = {CONFIRMATIONS}
block_time = "{millis}ms"
poll_interval = "{poll}ms"

[[source]]
name = "stake_vault"
chain = "dev"
family = "stake"
address = "{STAKE_VAULT}"
decimals = 6
start_block = 0

[[source]]
name = "demo_token"
chain = "dev"
family = "erc20"
address = "{DEMO_TOKEN}"
start_block = 0

[[source]]
name = "demo_nft"
chain = "dev"
family = "erc721"
address = "{DEMO_NFT}"
start_block = 0
"#,
        data_dir.display(),
        server.http_url(),
        server.ws_url(),
    )
}

/// How this program was called, for lines to copy.
pub(super) fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "chainflume".to_owned())
}
