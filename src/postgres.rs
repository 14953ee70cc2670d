//! The daemon's private PostgreSQL server, for machines without one.
//!
//! It lives under `data_dir`, listens on a Unix socket only and stops with the daemon:
//!
//! ```text
//! data_dir/lock             held by the daemon (flock), contains its pid
//! data_dir/postgres         the cluster, owned by the user of the server
//! data_dir/postgres.new     a cluster that initdb has not finished
//! data_dir/postgresql.conf  written afresh at every start; `alter system` overrides it
//! data_dir/postgres.log     log of the server; bounded, the earlier one in postgres.log.1
//! data_dir/run              the socket's directory, or a link to it where this path is too long
//! ```
//!
//! This room has no SQL: it returns a URL for the store.

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

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

pub use error::PostgresError;

use binaries::Binaries;
use error::At;
use lock::Lock;
use server::Launch;
use supervisor::ServerSupervisor;
use user::RunAs;

/// Location of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Directory of the daemon's state; created if missing.
    #[serde(skip)]
    pub data_dir: PathBuf,
    /// Directory with `postgres` and `initdb`; `None` searches for it.
    #[serde(rename = "postgres_bin", deserialize_with = "chainflume_core::settings::path")]
    pub bin_dir: Option<PathBuf>,
}

/// A running server, its supervision and the lock on its directory.
///
/// If it is dropped without [`PrivatePostgres::stop`], or killed with the whole process, the server shuts down a moment
/// later.
#[derive(Debug)]
pub struct PrivatePostgres {
    socket_dir: PathBuf,
    supervisor: ServerSupervisor,
    /// The last field, so that it is dropped last.
    lock: Lock,
}

impl PrivatePostgres {
    /// Locks the directory, creates the cluster if there is none, and stops an orphaned server. Returns when the server
    /// accepts connections and the database exists.
    ///
    /// After a crash this includes replaying the write-ahead log, without a time limit. Dropping the future stops the
    /// start cleanly.
    ///
    /// # Errors
    /// [`PostgresError`], each with its remedy.
    pub async fn start(settings: &Settings) -> Result<Self, PostgresError> {
        check_place(settings).await?;
        let data_dir = made(&settings.data_dir)?;
        let cluster = data_dir.join("postgres");
        let run_as = RunAs::choose(&cluster)?;
        let lock = Lock::take(&data_dir).await?;
        run_as.check_enters(&data_dir).await?;
        let wanted = cluster::version(&cluster)?;
        let binaries = Binaries::find(settings.bin_dir.as_deref(), &run_as, wanted, &cluster).await?;
        run_as.check_owns(&cluster)?;
        orphan::clear(&cluster).await?;
        cluster::ensure(&cluster, &binaries, &run_as).await?;
        let socket_dir = socket::prepare(&data_dir, &run_as)?;
        let launch = Launch {
            conf: conf::write(&data_dir, &cluster, &binaries, &run_as).await?,
            log: data_dir.join("postgres.log"),
            socket_dir: socket_dir.clone(),
            binaries,
            cluster,
            run_as,
        };
        let supervisor = ServerSupervisor::start(launch).await?;
        Ok(Self { socket_dir, supervisor, lock })
    }

    /// URL for any client. It holds no secret: every user with access to the socket's directory may connect.
    pub fn url(&self) -> String {
        socket::url(&self.socket_dir)
    }

    /// A command line for a shell.
    pub fn psql_command(&self) -> String {
        format!("psql -h {} -p {} -U {USER} {DATABASE}", self.socket_dir.display(), socket::PORT)
    }

    /// Process id of the present postmaster; `None` during a restart.
    pub fn pid(&self) -> Option<u32> {
        self.supervisor.pid()
    }

    /// Cancelled when the server will not be restarted any more, even after a panic of the supervisor.
    pub fn ended(&self) -> CancellationToken {
        self.supervisor.ended()
    }

    /// Disconnects the clients, writes everything to disk and stops the server, within about ten seconds.
    ///
    /// # Errors
    /// If a restart of the server failed, or its process could not be waited for.
    pub async fn stop(self) -> Result<(), PostgresError> {
        let stopped = self.supervisor.stop().await;
        drop(self.lock);
        stopped
    }
}

/// The URL of the server that another daemon runs on this `data_dir`; `None` if no daemon does.
///
/// # Errors
/// [`PostgresError::Starting`] while that daemon's server does not answer yet, [`PostgresError::Denied`]
/// when this user may not connect to it.
pub async fn attach(settings: &Settings) -> Result<Option<String>, PostgresError> {
    let Some(data_dir) = found(&settings.data_dir)? else { return Ok(None) };
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

/// Whether there is a cluster under `data_dir`. Also checks that a server for it is installed and that this user may
/// run it. Starts and writes nothing.
///
/// # Errors
/// Everything that would make [`PrivatePostgres::start`] fail, as far as it can be checked.
pub async fn survey(settings: &Settings) -> Result<bool, PostgresError> {
    let data_dir = found(&settings.data_dir)?.unwrap_or_else(|| settings.data_dir.clone());
    let cluster = data_dir.join("postgres");
    let run_as = RunAs::choose(&cluster)?;
    let version = cluster::version(&cluster)?;
    Binaries::find(settings.bin_dir.as_deref(), &run_as, version, &cluster).await?;
    run_as.check_owns(&cluster)?;
    Ok(version.is_some())
}

/// Where there is no cluster yet, checks that one can be made: of the directories on the way to `data_dir`, the nearest that is there
/// lets this user write and the server's user enter. Writes nothing.
///
/// # Errors
/// [`PostgresError::NoDirectory`], [`PostgresError::NotWritable`], [`PostgresError::Unreachable`]
pub async fn check_place(settings: &Settings) -> Result<(), PostgresError> {
    found(&settings.data_dir)?;
    let data_dir = std::path::absolute(&settings.data_dir).at("find", &settings.data_dir)?;
    let cluster = data_dir.join("postgres");
    if cluster.symlink_metadata().is_ok() {
        return Ok(());
    }
    let run_as = RunAs::choose(&cluster)?;
    let nearest = data_dir.ancestors().find(|dir| dir.exists()).unwrap_or(&data_dir);
    user::check_writes(nearest)?;
    run_as.check_enters(nearest).await
}

/// Name of the superuser and owner of everything.
const USER: &str = "chainflume";
/// Name of the database.
const DATABASE: &str = "chainflume";

/// The directory under its real name; `None` if there is none yet.
///
/// # Errors
/// [`PostgresError::NoDirectory`] if it is a file, or below one.
fn found(data_dir: &Path) -> Result<Option<PathBuf>, PostgresError> {
    let file = data_dir.ancestors().find(|path| path.exists()).filter(|path| !path.is_dir());
    if let Some(file) = file {
        return Err(PostgresError::NoDirectory { data_dir: data_dir.into(), file: file.into() });
    }
    match data_dir.canonicalize() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.at("find", data_dir).map(Some),
    }
}

fn made(data_dir: &Path) -> Result<PathBuf, PostgresError> {
    if !data_dir.exists() {
        std::fs::create_dir_all(data_dir).at("create", data_dir)?;
        user::let_others_pass(data_dir)?;
    }
    data_dir.canonicalize().at("find", data_dir)
}

#[cfg(test)]
mod tests;
