use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::roles::AppError;

/// Runs the server, and ends it when the pipe of the demo closes: also when the demo is killed.
const SCRIPT: &str = r#""$@" >/dev/null 2>&1 </dev/null & server=$!
read -r _
kill "$server" 2>/dev/null
wait "$server"
"#;

/// Long, because a debug build on a busy machine is slow.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A Redis of the demo alone: on the loopback, in the demo's folder, without persistence.
pub(super) struct DemoRedis {
    port: u16,
    shell: Child,
}

impl DemoRedis {
    /// Starts it; `None` where no `redis-server` is installed.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) async fn start(folder: &Path) -> Result<Option<Self>, AppError> {
        if !is_installed("redis-server") {
            return Ok(None);
        }
        let dir = folder.join("redis");
        match std::fs::create_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other.with_context(|| format!("cannot create {}", dir.display()))?,
        }
        let port = free_port().context("no free port for Redis")?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "redis-of-the-demo", "redis-server", "--bind", "127.0.0.1"]);
        command.args([
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
            "--logfile",
            "log",
            "--dir",
        ]);
        command.arg(&dir);
        // A process group of its own: Ctrl-C ends the demo, which still writes.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let redis = Self { port, shell: command.spawn().context("cannot run /bin/sh")? };
        let until = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if Instant::now() > until {
                let log = dir.join("log");
                return Err(AppError::Failed(format!("redis-server does not answer; see {}", log.display())));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Some(redis))
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// A command line for a shell that waits for the next message.
    pub(super) fn read_command(&self) -> String {
        format!(
            "redis-cli -p {} XREAD BLOCK 0 STREAMS events:token events:nft events:user '$' '$' '$'",
            self.port
        )
    }

    /// Ends the server.
    pub(super) async fn stop(mut self) {
        drop(self.shell.stdin.take());
        // The shell waits for the server, which has nothing to write.
        let _ended = timeout(STOP_TIMEOUT, self.shell.wait()).await;
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
