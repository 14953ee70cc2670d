//! The daemon as a child process: the real binary with its own configuration.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::source::CHAIN_ID;
use super::workload::Workload;

const BINARY: &str = env!("CARGO_BIN_EXE_chainflume");

/// The configuration of the daemon.
pub struct Config {
    /// JSON-RPC over HTTP.
    pub http: String,
    /// And over WebSocket.
    pub ws: Option<String>,
    /// The database.
    pub database: String,
    /// The Redis for its messages, if any.
    pub redis: Option<String>,
    /// More keys of the chain.
    pub chain: &'static str,
    /// The `[[source]]` tables.
    pub sources: String,
}

impl Config {
    /// The settings for one workload.
    pub fn history(http: &str, database: &str, workload: Workload) -> Self {
        let (http, database) = (http.to_owned(), database.to_owned());
        Self {
            http,
            ws: None,
            database,
            redis: None,
            chain: "block_time = \"12s\"\n",
            sources: workload.source_toml("bench"),
        }
    }

    /// Writes the configuration file into `folder`.
    fn write(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let path = folder.join("chainflume.toml");
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let ws = self.ws.as_ref().map(|ws| format!("ws = \"{ws}\"\n")).unwrap_or_default();
        let redis = self.redis.as_ref().map(|url| format!("[redis]\nurl = \"{url}\"\n")).unwrap_or_default();
        let Self { http, database, chain, sources, .. } = self;
        // Optional keys of `[chain.history]`, for experiments: "buffer_bytes = '8MiB'".
        let history = std::env::var("BENCH_HISTORY").unwrap_or_default().replace(';', "\n");
        let text = format!(
            "data_dir = \"data\"\n[admin]\nlisten = \"127.0.0.1:{port}\"\n[log]\nlevel = \"info\"\n\
             [database]\nurl = \"{database}\"\n{redis}[[chain]]\nname = \"bench\"\nchain_id = {CHAIN_ID}\n\
             http = \"{http}\"\n{ws}{chain}[chain.history]\n{history}\n{sources}"
        );
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

/// Creates the tables.
pub async fn migrate(config: &Config, folder: &Path) -> anyhow::Result<()> {
    let output = command(&config.write(folder)?, "migrate").output().await?;
    ensure!(output.status.success(), "migrate: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub fn start(config: &Config, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join("daemon.log");
        let mut command = command(&config.write(folder)?, "run");
        let child = command.stdout(Stdio::null()).stderr(File::create(&log)?).spawn()?;
        Ok(Self { child, log })
    }

    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().with_context(|| format!("the daemon has ended: {}", self.log_end()))
    }

    /// An error with the end of its log if the daemon has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the daemon ended with {status}: {}", self.log_end()),
            None => Ok(()),
        }
    }

    /// Requests a stop and waits until the daemon has ended.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.pid()?.try_into()?).context("a pid is not 0")?;
        kill_process(pid, Signal::TERM)?;
        let status = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await??;
        ensure!(status.success(), "the daemon ended with {status}: {}", self.log_end());
        Ok(())
    }

    fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

fn command(config: &Path, verb: &str) -> Command {
    // Another build, for a comparison.
    let binary = std::env::var_os("BENCH_BINARY").unwrap_or_else(|| BINARY.into());
    let mut command = Command::new(binary);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
        .env("CHAINFLUME_CONFIG", config)
        .arg(verb)
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}
