use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;

use super::super::error::AppError;
use super::super::parts::Loaded;
use crate::config::{Config, ProcessEnvironment};
use crate::devchain::{DEMO_NFT, DEMO_TOKEN, STAKE_VAULT, Server, Settings};

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
        history,
        finalized_depth: None,
        block_timestamp_in_logs: true,
    }
}

/// The folder the demo lives in.
pub(super) struct Folder(PathBuf);

/// Marks a folder as a demo's, so that only such a one is ever emptied.
const MARKER: &str = "demo.toml";

impl Folder {
    /// An empty folder. As root it is not under /root, which the unprivileged server could not enter.
    pub(super) fn create(wanted: Option<PathBuf>) -> Result<Self, AppError> {
        let user = rustix::process::getuid().as_raw();
        let path = wanted.unwrap_or_else(|| std::env::temp_dir().join(format!("chainflume-demo-{user}")));
        let occupied = fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some());
        if occupied && !path.join(MARKER).exists() {
            let text =
                format!("{} is not empty and holds no earlier demo; name another --data-dir", path.display());
            return Err(AppError::Config(text));
        }
        if occupied {
            Self::refuse_running(&path)?;
            fs::remove_dir_all(&path).with_context(|| format!("cannot empty {}", path.display()))?;
        }
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        fs::write(path.join(MARKER), "").with_context(|| format!("cannot write to {}", path.display()))?;
        Ok(Self(path))
    }

    /// A demo that runs holds the lock of its data directory, and its data must not go from under it.
    fn refuse_running(path: &Path) -> Result<(), AppError> {
        let Ok(lock) = fs::File::open(path.join("data/lock")) else { return Ok(()) };
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(()),
            Err(_) => Err(AppError::Busy(format!(
                "a demo is running in {}; stop it or name another --data-dir",
                path.display()
            ))),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Takes all of it away; what cannot be removed is emptied by the next demo.
    pub(super) fn remove(self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "the demo's data stays");
        }
    }

    /// A configuration as a user would write it, read as a user's is: `chainflume --config` takes it too.
    pub(super) fn write_config(&self, server: &Server, block_time: Duration) -> Result<Loaded, AppError> {
        let path = self.0.join(MARKER);
        let port = free_port().context("no free port for the admin address")?;
        let text = text(&self.0.join("data"), port, server, block_time);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        let config = Config::load(&path, &ProcessEnvironment)
            .map_err(|problems| AppError::Config(problems.to_string()))?;
        Ok(Loaded { path, config })
    }
}

/// The usual admin port, or any where that is taken.
fn free_port() -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:9464").or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
    Ok(listener.local_addr()?.port())
}

fn text(data_dir: &Path, port: u16, server: &Server, block_time: Duration) -> String {
    let millis = block_time.as_millis();
    let poll = (millis * 2).max(200);
    format!(
        r#"# The demo's configuration.
data_dir = "{}"

[admin]
listen = "127.0.0.1:{port}"

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
