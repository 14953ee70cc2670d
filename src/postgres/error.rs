use std::io;
use std::path::{Path, PathBuf};

use chainflume_core::domain::causes;

/// Why the private PostgreSQL does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// No server on this machine.
    #[error(
        "no PostgreSQL server found (looked in {searched}); install one (apt-get install postgresql), \
         name its directory in `database.postgres_bin`, or set `database.url` to a server you run"
    )]
    NoBinaries {
        /// The searched places.
        searched: String,
    },
    /// A server of another version than the cluster needs.
    #[error(
        "{} was made by PostgreSQL {wanted} and the servers found are {found}; install that one \
         (apt-get install postgresql-{wanted}), or move the directory away and let the chain be synced again",
        cluster.display()
    )]
    OtherVersion {
        /// The cluster.
        cluster: PathBuf,
        /// Its major version.
        wanted: u32,
        /// Major versions that are installed.
        found: String,
    },
    /// Another daemon uses the directory.
    #[error(
        "{} is in use by the chainflume with pid {holder}; stop that one, or give this one a `data_dir` \
         of its own",
        data_dir.display()
    )]
    Busy {
        /// The directory.
        data_dir: PathBuf,
        /// Process id of the other daemon, as it wrote it.
        holder: String,
    },
    /// The other daemon is still starting, or is stopping.
    #[error(
        "the chainflume with pid {holder} holds {} and its PostgreSQL does not answer; try again in a moment",
        data_dir.display()
    )]
    Starting {
        /// The directory.
        data_dir: PathBuf,
        /// Process id of the other daemon.
        holder: String,
    },
    /// The other daemon runs as another user.
    #[error(
        "no permission to enter {}, where another user's chainflume keeps its PostgreSQL; run this as that \
         user (sudo -u), or as root",
        dir.display()
    )]
    Denied {
        /// The path without access.
        dir: PathBuf,
    },
    /// Running as root, without an unprivileged user for the server.
    #[error(
        "PostgreSQL does not run as root and neither `postgres` nor `nobody` is in /etc/passwd; run \
         chainflume as an ordinary user"
    )]
    NoUser,
    /// A directory of root that the server's user cannot enter.
    #[error(
        "PostgreSQL does not run as root, and the user `{user}` it runs as cannot enter {}; set \
         `data_dir` to a directory it can reach (/var/lib/chainflume, for instance), or chmod o+x that one",
        dir.display()
    )]
    Unreachable {
        /// The user.
        user: String,
        /// The topmost directory that denies access.
        dir: PathBuf,
    },
    /// A file in the place of a directory.
    #[error("`data_dir` is {} and {} is a file; set `data_dir` to a directory", data_dir.display(), file.display())]
    NoDirectory {
        /// The setting.
        data_dir: PathBuf,
        /// The file: the setting itself or above it.
        file: PathBuf,
    },
    /// A directory in which the present user can make nothing.
    #[error(
        "the user `{user}` cannot write to {}; set `data_dir` to a directory of this user, or give this one to the user (chown)",
        dir.display()
    )]
    NotWritable {
        /// The user.
        user: String,
        /// The directory.
        dir: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The cluster belongs to another user.
    #[error(
        "{} belongs to {owner} and this is {user}; run chainflume as {owner} or root, or use another `data_dir`",
        cluster.display()
    )]
    OtherOwner {
        /// The cluster.
        cluster: PathBuf,
        /// The owner.
        owner: String,
        /// The present user.
        user: String,
    },
    /// The cluster belongs to root, as a copy does that root made.
    #[error(
        "{} belongs to root, and PostgreSQL does not run as root; give it to its user: chown -R {user}: {}",
        cluster.display(), cluster.display()
    )]
    OwnedByRoot {
        /// The cluster.
        cluster: PathBuf,
        /// The user of the server.
        user: String,
    },
    /// A PostgreSQL tool failed.
    #[error("{tool} failed: {output}")]
    Tool {
        /// Its name.
        tool: &'static str,
        /// The end of its output.
        output: String,
    },
    /// The server ended before it was ready.
    #[error("PostgreSQL ended while starting ({status}); its log ends with: {log_end} (in full in {})", log.display())]
    Died {
        /// Its exit status.
        status: String,
        /// The end of its log.
        log_end: String,
        /// Its log.
        log: PathBuf,
    },
    /// Processes of an earlier PostgreSQL that do not end.
    #[error(
        "processes {pids} of an earlier PostgreSQL still use {} and did not end when killed; restart the machine",
        cluster.display()
    )]
    StillRunning {
        /// The cluster.
        cluster: PathBuf,
        /// Their process ids.
        pids: String,
    },
    /// The operating system returned an error.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The action.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl PostgresError {
    /// The text for a reader who has no configuration file: there a key of it is no remedy.
    pub(crate) fn of_demo(&self) -> String {
        match self {
            Self::NoBinaries { searched } => format!(
                "no PostgreSQL server found (looked in {searched}); install one, which the demo starts and stops by itself \
                 (apt-get install postgresql)"
            ),
            Self::Unreachable { user, dir } => format!(
                "PostgreSQL does not run as root, and the user `{user}` it runs as cannot enter {}; name another --data-dir, or \
                 run the demo as an ordinary user",
                dir.display()
            ),
            Self::NotWritable { user, dir, .. } => {
                format!("the user `{user}` cannot write to {}; name another --data-dir", dir.display())
            }
            Self::NoDirectory { file, .. } => {
                format!("{} is a file; name another --data-dir", file.display())
            }
            other => causes(other),
        }
    }
}

/// Adds action and path to an error of the operating system.
pub(super) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, PostgresError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, PostgresError> {
        self.map_err(|source| PostgresError::Io { action, path: path.into(), source: source.into() })
    }
}
