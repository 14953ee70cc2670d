//! A PostgreSQL server of the daemon's own, for machines where nobody set one up.
//!
//! It lives under `data_dir`, listens on a Unix socket only and dies with the daemon:
//!
//! ```text
//! data_dir/lock             who runs here (flock), with the pid inside
//! data_dir/postgres         the cluster, owned by the user the server runs as
//! data_dir/postgres.new     a cluster that initdb has not finished
//! data_dir/postgresql.conf  written afresh at every start; `alter system` overrides it
//! data_dir/postgres.log     what the server says; bounded, the one before in postgres.log.1
//! data_dir/run              the socket's directory, or a link to it where this path is too long
//! ```
//!
//! There is no SQL in this room: it hands out a URL and the store does the rest.

mod binaries;
mod cluster;
mod conf;
mod error;
mod leash;
mod lock;
mod log_file;
mod orphan;
mod server;
mod socket;
mod supervisor;
mod user;

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

pub use error::PostgresError;

use binaries::Binaries;
use error::At;
use lock::Lock;
use server::Launch;
use supervisor::ServerSupervisor;
use user::RunAs;

/// Where the server lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Directory of the daemon's state; created if missing.
    pub data_dir: PathBuf,
    /// Directory that holds `postgres` and `initdb`; `None` looks for it.
    pub bin_dir: Option<PathBuf>,
}

/// A running server, its supervision and the lock on its directory.
///
/// Dropped without [`PrivatePostgres::stop`] (or killed with the whole process), the server shuts down by
/// itself a moment later.
#[derive(Debug)]
pub struct PrivatePostgres {
    socket_dir: PathBuf,
    supervisor: ServerSupervisor,
    /// Last, so that it is let go of last.
    lock: Lock,
}

impl PrivatePostgres {
    /// Takes the directory, makes the cluster if there is none, clears away what a killed daemon left, and
    /// returns once the server accepts connections and the database exists.
    ///
    /// After a crash that includes replaying the write-ahead log, however long it takes; dropping the
    /// future gives up cleanly.
    ///
    /// # Errors
    /// [`PostgresError`], each with its remedy.
    pub async fn start(settings: &Settings) -> Result<Self, PostgresError> {
        let data_dir = made(&settings.data_dir)?;
        let cluster = data_dir.join("postgres");
        let run_as = RunAs::choose(&cluster)?;
        let lock = Lock::take(&data_dir).await?;
        run_as.check_enters(&data_dir).await?;
        let wanted = cluster::version(&cluster)?;
        let binaries = Binaries::find(settings.bin_dir.as_deref(), &run_as, wanted, &cluster).await?;
        orphan::clear(&cluster).await?;
        cluster::ensure(&cluster, &binaries, &run_as).await?;
        let socket_dir = socket::prepare(&data_dir, &run_as)?;
        let launch = Launch {
            conf: conf::write(&data_dir, &cluster, (&binaries, &run_as)).await?,
            log: data_dir.join("postgres.log"),
            socket_dir: socket_dir.clone(),
            binaries,
            cluster,
            run_as,
        };
        let supervisor = ServerSupervisor::start(launch).await?;
        Ok(Self { socket_dir, supervisor, lock })
    }

    /// Where to connect, for any client that takes a URL. It holds no secret: who may enter the socket's
    /// directory may connect.
    pub fn url(&self) -> String {
        socket::url(&self.socket_dir)
    }

    /// A command line for a person's shell.
    pub fn psql_command(&self) -> String {
        format!("psql -h {} -p {} -U {USER} {DATABASE}", self.socket_dir.display(), socket::PORT)
    }

    /// Process id of the postmaster now running; `None` while it is being started again.
    pub fn pid(&self) -> Option<u32> {
        self.supervisor.pid()
    }

    /// Cancelled when nobody keeps the server running any more, be it that whoever did has panicked. A server that ended
    /// is not started again then.
    pub fn ended(&self) -> CancellationToken {
        self.supervisor.ended()
    }

    /// Disconnects the clients, writes everything out and ends the server, within about ten seconds.
    ///
    /// # Errors
    /// When the server was being restarted and could not be, or its process could not be waited for.
    pub async fn stop(self) -> Result<(), PostgresError> {
        let stopped = self.supervisor.stop().await;
        drop(self.lock);
        stopped
    }
}

/// The URL of the server another daemon runs on this `data_dir`; `None` when nobody runs there.
///
/// # Errors
/// [`PostgresError::Starting`] while that daemon's server does not answer yet, [`PostgresError::Denied`]
/// when this user may not connect to it.
pub async fn attach(settings: &Settings) -> Result<Option<String>, PostgresError> {
    let data_dir = match settings.data_dir.canonicalize() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.at("find", &settings.data_dir)?,
    };
    let Some(holder) = lock::holder(&data_dir)? else { return Ok(None) };
    let socket_dir = socket::existing(&data_dir)?;
    match tokio::net::UnixStream::connect(socket::file(&socket_dir)).await {
        Ok(_) => Ok(Some(socket::url(&socket_dir))),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(PostgresError::Denied { dir: socket_dir })
        }
        Err(_) => Err(PostgresError::Starting { data_dir, holder }),
    }
}

/// Whether there is a cluster under `data_dir`, after seeing that a server for it is installed and that this user may
/// run it. Nothing is started and nothing written.
///
/// # Errors
/// What would keep [`PrivatePostgres::start`] from working, as far as that can be seen from outside.
pub async fn survey(settings: &Settings) -> Result<bool, PostgresError> {
    let data_dir = match settings.data_dir.canonicalize() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => settings.data_dir.clone(),
        other => other.at("find", &settings.data_dir)?,
    };
    let cluster = data_dir.join("postgres");
    let run_as = RunAs::choose(&cluster)?;
    let version = cluster::version(&cluster)?;
    Binaries::find(settings.bin_dir.as_deref(), &run_as, version, &cluster).await?;
    Ok(version.is_some())
}

/// Name of the superuser and owner of everything.
const USER: &str = "chainflume";
/// Name of the database.
const DATABASE: &str = "chainflume";

fn made(data_dir: &Path) -> Result<PathBuf, PostgresError> {
    if !data_dir.exists() {
        std::fs::create_dir_all(data_dir).at("create", data_dir)?;
        user::let_others_pass(data_dir)?;
    }
    data_dir.canonicalize().at("find", data_dir)
}

#[cfg(test)]
mod tests;
