use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::binaries::Binaries;
use super::error::{At, PostgresError};
use super::leash::Leash;
use super::user::RunAs;
use super::{DATABASE, USER, log_file, orphan, socket};

const POLL: Duration = Duration::from_millis(20);
/// Pause between two log lines during a long start (a crash recovery).
const REMINDER: Duration = Duration::from_secs(10);
/// Timeout of a fast shutdown, which writes at most `shared_buffers` to disk.
const FAST: Duration = Duration::from_secs(8);
/// Timeout of an immediate shutdown. Its only cost is the recovery at the next start.
const IMMEDIATE: Duration = Duration::from_secs(2);

/// Everything that is needed to start the server.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) binaries: Binaries,
    pub(super) cluster: PathBuf,
    pub(super) conf: PathBuf,
    pub(super) log: PathBuf,
    pub(super) run_as: RunAs,
    pub(super) socket_dir: PathBuf,
}

impl Launch {
    /// Starts the postmaster and waits until it accepts connections and the database exists.
    pub(super) async fn up(&self) -> Result<PostgresServer, PostgresError> {
        let server = self.spawn()?;
        let server = self.ready(server).await?;
        self.ensure_database().await?;
        tracing::info!(pid = server.pid, socket = %self.socket_dir.display(), "PostgreSQL is ready");
        Ok(server)
    }

    fn spawn(&self) -> Result<PostgresServer, PostgresError> {
        let log = log_file::open(&self.log)?;
        let log_from = log.metadata().map_or(0, |meta| meta.len());
        let mut command = self.run_as.command(self.binaries.program("postgres"));
        command.arg("-D").arg(&self.cluster);
        // On the command line, which neither a file nor `alter system` can override with a wider access.
        for (name, value) in [
            ("config_file", self.conf.as_os_str()),
            ("listen_addresses", "".as_ref()),
            ("unix_socket_directories", self.socket_dir.as_os_str()),
            ("port", socket::PORT.to_string().as_ref()),
            ("logging_collector", "off".as_ref()),
        ] {
            let mut setting = std::ffi::OsString::from(name);
            setting.push("=");
            setting.push(value);
            command.arg("-c").arg(setting);
        }
        command.stdout(log.try_clone().at("open", &self.log)?).stderr(log);
        let child = command.spawn().at("run", &self.binaries.program("postgres"))?;
        let pid = child.id().unwrap_or_default();
        Ok(PostgresServer { leash: Leash::tie(pid, &self.run_as)?, child, pid, log_from })
    }

    async fn ready(&self, mut server: PostgresServer) -> Result<PostgresServer, PostgresError> {
        let pid_file = orphan::pid_file(&self.cluster);
        let mut remind_at = Instant::now() + REMINDER;
        loop {
            let record = std::fs::read_to_string(&pid_file).unwrap_or_default();
            let line = |number: usize| record.lines().nth(number - 1).unwrap_or_default().trim();
            if line(1) == server.pid.to_string() && line(8) == "ready" {
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait().at("wait for", &self.cluster)? {
                server.leash.untie().await;
                return Err(PostgresError::Died {
                    status: status.to_string(),
                    log_end: log_file::end(&self.log, server.log_from),
                    log: self.log.clone(),
                });
            }
            if Instant::now() > remind_at {
                tracing::info!(log = %self.log.display(), "PostgreSQL is still starting");
                remind_at += REMINDER;
            }
            sleep(POLL).await;
        }
    }

    /// At every start: the daemon may have been killed between creating the cluster and this step.
    async fn ensure_database(&self) -> Result<(), PostgresError> {
        let mut probe = self.client("psql");
        probe.args(["--no-psqlrc", "--command", r"\q", DATABASE]);
        if RunAs::run("psql", probe).await.is_ok() {
            return Ok(());
        }
        let mut createdb = self.client("createdb");
        createdb.arg(DATABASE);
        RunAs::run("createdb", createdb).await.map(|_| ())
    }

    fn client(&self, program: &str) -> tokio::process::Command {
        let mut command = self.run_as.command(self.binaries.program(program));
        command.arg("--host").arg(&self.socket_dir);
        command.args(["--port", &socket::PORT.to_string(), "--username", USER, "--no-password"]);
        command
    }
}

/// One run of the postmaster.
#[derive(Debug)]
pub(super) struct PostgresServer {
    child: Child,
    leash: Leash,
    pid: u32,
    /// Length of the log when it was started.
    log_from: u64,
}

impl PostgresServer {
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns when the postmaster has ended. May be cancelled.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Releases the leash of a server that has ended.
    pub(super) async fn release_leash(self) {
        self.leash.untie().await;
    }

    /// Fast shutdown, then an immediate one, then `SIGKILL`.
    pub(super) async fn stop(mut self) -> Result<(), PostgresError> {
        for (signal, limit) in [(Signal::INT, FAST), (Signal::QUIT, IMMEDIATE)] {
            // The child has not been waited for, so its process id is still valid.
            if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)) {
                let _ = kill_process(pid, signal);
            }
            if timeout(limit, self.child.wait()).await.is_ok() {
                self.leash.untie().await;
                return Ok(());
            }
            tracing::warn!(pid = self.pid, ?signal, "PostgreSQL does not stop");
        }
        let killed = self.child.kill().await;
        self.leash.untie().await;
        killed.at("kill", "postgres".as_ref())
    }
}
