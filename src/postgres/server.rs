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
/// How often a long start (a crash recovery) says that it is still going on.
const REMINDER: Duration = Duration::from_secs(10);
/// How long a fast shutdown has: it writes at most `shared_buffers` out.
const FAST: Duration = Duration::from_secs(8);
/// How long an immediate one has. It costs nothing but the recovery at the next start.
const IMMEDIATE: Duration = Duration::from_secs(2);

/// What it takes to start the server, again and again.
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
        let mut command = self.run_as.command(self.binaries.program("postgres"));
        command.arg("-D").arg(&self.cluster);
        // On the command line, where neither a file nor `alter system` can open the door wider.
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
        Ok(PostgresServer { leash: Leash::tie(pid, &self.run_as)?, child, pid })
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
                    said: log_file::end(&self.log),
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

    /// At every start: the daemon may have been killed between making the cluster and this.
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

/// One life of the postmaster.
#[derive(Debug)]
pub(super) struct PostgresServer {
    child: Child,
    leash: Leash,
    pid: u32,
}

impl PostgresServer {
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns when the postmaster has ended. Safe to abandon.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Takes leave of one that has ended.
    pub(super) async fn bury(self) {
        self.leash.untie().await;
    }

    /// Fast shutdown, then an immediate one, then `SIGKILL`.
    pub(super) async fn stop(mut self) -> Result<(), PostgresError> {
        for (signal, patience) in [(Signal::INT, FAST), (Signal::QUIT, IMMEDIATE)] {
            // Still our child and not yet waited for, so the number is still its.
            if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)) {
                let _ = kill_process(pid, signal);
            }
            if timeout(patience, self.child.wait()).await.is_ok() {
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
