//! The program itself, as an operator runs it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::daemon::free_port;
use crate::flume::WAIT_LIMIT;

/// `chainflume run`, ended when dropped.
pub struct Daemon {
    child: Child,
    admin: String,
    folder: TempDir,
}

impl Daemon {
    pub async fn start(config: &str, url: &str) -> Self {
        let admin = format!("127.0.0.1:{}", free_port());
        let folder = write(config, url, &admin);
        let child = program(&folder, &["run"]).kill_on_drop(true).spawn().expect("the program starts");
        Self { child, admin, folder }
    }

    /// Waits for a line of `/metrics`.
    pub async fn until_metric(&self, line: &str) {
        chainflume_ops::tls::install();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            let answer = client.get(format!("http://{}/metrics", self.admin)).send().await;
            let text = match answer {
                Ok(answer) => String::from_utf8_lossy(&answer.bytes().await.unwrap_or_default()).into_owned(),
                Err(error) => error.to_string(),
            };
            if text.lines().any(|found| found == line) {
                return;
            }
            assert!(Instant::now() < deadline, "no line {line:?} in {text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `chainflume status --json` beside it.
    pub async fn status(&self) -> Value {
        read_status(&self.folder).await
    }

    /// As systemd does it.
    pub async fn stop(mut self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).expect("it runs");
        let id = rustix::process::Pid::from_raw(id).expect("a process");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it is ours");
        assert!(self.child.wait().await.expect("it ends").success());
    }
}

/// `chainflume status --json` while no daemon runs.
pub async fn status(config: &str, url: &str) -> Value {
    read_status(&write(config, url, &format!("127.0.0.1:{}", free_port()))).await
}

async fn read_status(folder: &TempDir) -> Value {
    let output = program(folder, &["status", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .await
        .expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).expect("status is JSON")
}

fn program(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chainflume"));
    command.args(arguments).arg("--config").arg(folder.path().join("chainflume.toml"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn write(config: &str, url: &str, admin: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let text = format!("[database]\nurl = \"{url}\"\n[admin]\nlisten = \"{admin}\"\n{config}");
    std::fs::write(folder.path().join("chainflume.toml"), text).expect("a file");
    folder
}
