use std::io;
use std::path::{Path, PathBuf};

/// Why the daemon's own PostgreSQL does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// No server on this machine.
    #[error(
        "no PostgreSQL server found (looked in {searched}); install one (apt-get install postgresql), \
         name its directory in `bin_dir`, or set `database.url` to a server you run"
    )]
    NoBinaries {
        /// Where we looked.
        searched: String,
    },
    /// A server, and not the one the cluster needs.
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
        /// Major versions there are.
        found: String,
    },
    /// One daemon per directory.
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
    /// The other daemon is not that far yet, or is just leaving.
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
    /// The other daemon runs as somebody else.
    #[error(
        "no permission to enter {}, where the chainflume with pid {holder} listens; run this as the \
         same user (sudo -u), or as root",
        socket_dir.display()
    )]
    Denied {
        /// Where its socket is.
        socket_dir: PathBuf,
        /// Process id of the other daemon.
        holder: String,
    },
    /// Root, and nobody to become.
    #[error(
        "PostgreSQL does not run as root and neither `postgres` nor `nobody` is in /etc/passwd; run \
         chainflume as an ordinary user"
    )]
    NoUser,
    /// Root's directory, which the server's user cannot get to.
    #[error(
        "PostgreSQL does not run as root, and the user `{user}` it runs as cannot enter {}; set \
         `data_dir` to a directory it can reach (/var/lib/chainflume, for instance), or chmod o+x that one",
        dir.display()
    )]
    Unreachable {
        /// Who.
        user: String,
        /// The topmost directory that stops them.
        dir: PathBuf,
    },
    /// Made by another user.
    #[error(
        "{} belongs to {owner} and this is {user}; run chainflume as {owner} or root, or use another `data_dir`",
        cluster.display()
    )]
    OtherOwner {
        /// The cluster.
        cluster: PathBuf,
        /// Who made it.
        owner: String,
        /// Who asks.
        user: String,
    },
    /// A tool of PostgreSQL's said no.
    #[error("{tool} failed: {output}")]
    Tool {
        /// Its name.
        tool: &'static str,
        /// The end of what it printed.
        output: String,
    },
    /// The server ended before it was ready.
    #[error("PostgreSQL ended while starting ({status}); it said: {said} (all of it is in {})", log.display())]
    Died {
        /// How it ended.
        status: String,
        /// The end of its log.
        said: String,
        /// Its log.
        log: PathBuf,
    },
    /// A server from before that nothing ends.
    #[error(
        "processes {pids} of an earlier PostgreSQL still use {} and did not end when killed; restart the machine",
        cluster.display()
    )]
    StillRunning {
        /// The cluster.
        cluster: PathBuf,
        /// Who they are.
        pids: String,
    },
    /// The system said no.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Says what was tried, and on what, when the system refuses.
pub(super) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, PostgresError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, PostgresError> {
        self.map_err(|source| PostgresError::Io { action, path: path.into(), source: source.into() })
    }
}
