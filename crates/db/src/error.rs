use sqlx::migrate::MigrateError;

use crate::LeaseName;
use chainflume_core::domain::{Place, causes};

/// What can go wrong with the database and its tables.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL cannot be read. The URL itself is not repeated: it may hold a password.
    #[error("database url cannot be read: {reason}")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// No server answers at the host, or the server refuses the connection.
    #[error("no connection to the database at {host}: {}", plain(cause))]
    Connect {
        /// Host and port, or the socket's folder.
        host: String,
        /// The cause.
        cause: sqlx::Error,
    },
    /// The database answered with an error, or the connection broke.
    #[error("database: {}", plain(.0))]
    Database(sqlx::Error),
    /// A migration failed; it was rolled back whole.
    #[error("database migration: {}", plain_migration(.0))]
    Migrate(MigrateError),
    /// The role lacks a right that a migration or the daemon needs. Nothing was changed.
    #[error("database: {what}; {remedy}")]
    Rights {
        /// What is missing, for which role and where.
        what: String,
        /// SQL that helps.
        remedy: String,
    },
    /// The server or the role accepts no writes. Nothing was changed.
    #[error("the database takes no writes: {what}; {remedy}")]
    NoWrites {
        /// Why.
        what: String,
        /// What helps.
        remedy: String,
    },
    /// A newer program has migrated the database. Nothing was changed.
    #[error(
        "the database is at migration {found}, this program knows none above {known}; run the newer program"
    )]
    NewerSchema {
        /// Newest migration in the database.
        found: i64,
        /// Newest one known here.
        known: i64,
    },
    /// The database changed since the writer read it: read the snapshot again.
    #[error("the store has moved on: {what}")]
    Conflict {
        /// What differs.
        what: String,
    },
    /// Another instance has taken the writer's lease. Nothing was committed.
    #[error("another instance holds the lease `{lease}` now; nothing was committed")]
    Fenced {
        /// Name of the lease.
        lease: LeaseName,
    },
    /// A daemon leads the chain and would undo what a command is to do. Nothing was changed.
    #[error(
        "the daemon {holder} leads the chain and follows {what} by another configuration than this one: restart it with this \
         one, or stop it, and run the command again"
    )]
    Led {
        /// The source or the chain.
        what: String,
        /// The daemon.
        holder: String,
    },
    /// A daemon waits to lead the chain and would then undo what a command is to do. Nothing was changed.
    #[error(
        "the daemon {holder} waits to lead the chain and would follow {what} by another configuration than this one: restart it \
         with this one, or stop it, and run the command again"
    )]
    Awaited {
        /// The source.
        what: String,
        /// The daemon.
        holder: String,
    },
    /// A part of a source's events is deleted, by a command that has not ended.
    #[error(
        "source {source_name} is deleted in part: run `chainflume sources remove {source_name}` to delete the rest"
    )]
    Emptying {
        /// The source.
        source_name: String,
    },
    /// None of several servers accepts writes.
    #[error("the database at {host} is read-only, and no other server of the url takes writes")]
    ReadOnly {
        /// The server that last accepted writes.
        host: String,
    },
    /// A pooler gives each transaction another session, but does not prepare the statements there.
    #[error(
        "a pooler between us and the database mixes up prepared statements; let it pool sessions, set \
         max_prepared_statements (PgBouncer 1.21 and later), or name the server itself"
    )]
    Pooler,
    /// Work that needs a session of its own, which the pooler does not give.
    #[error("{what} needs a session of its own, which the pooler does not give; name the server itself")]
    NoSession {
        /// The work.
        what: &'static str,
    },
    /// A log that is already stored would be stored again.
    #[error(
        "the event at {place} of source {claimant} is already stored for source {source_name}: \
         `chainflume sources rename {source_name} {claimant}` keeps it, `chainflume sources reset {source_name}` deletes it, \
         as does `sources remove` where {source_name} is no longer configured"
    )]
    Overlap {
        /// Where.
        place: Place,
        /// The source that holds it.
        source_name: String,
        /// The source that would store it again.
        claimant: String,
    },
    /// The chain would be undone below its final block.
    #[error("block {to} lies below the final block {final_number}, which is never undone")]
    BelowFinal {
        /// Where to.
        to: u64,
        /// The newest final block.
        final_number: u64,
    },
    /// A backfill reaches above the checkpoint of its source.
    #[error("source `{source_name}` has not reached block {to} yet; backfill ends at its checkpoint at most")]
    NotReached {
        /// The source.
        source_name: String,
        /// End of the range.
        to: u64,
    },
    /// A replay reaches above the final block.
    #[error("block {to} may still be undone; a replay ends at the final block at most{}",
        .final_number.map(|number| format!(", which is {number}")).unwrap_or_default())]
    NotFinal {
        /// End of the range.
        to: u64,
        /// The newest final block, where there is one.
        final_number: Option<u64>,
    },
    /// A type that no event has.
    #[error("no event is of type `{given}`; there are: {known}")]
    UnknownType {
        /// The type in the command.
        given: String,
        /// The types that exist.
        known: String,
    },
    /// Another chain of the same id.
    #[error(
        "chain {chain_id} in the database has genesis {stored}, the node has {given}; use another database"
    )]
    OtherChain {
        /// EIP-155.
        chain_id: u64,
        /// Genesis hash stored.
        stored: String,
        /// Genesis hash given.
        given: String,
    },
    /// A typed view cannot be made.
    #[error("view `{view}`: {reason}")]
    View {
        /// Its name.
        view: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A number that does not fit its PostgreSQL type.
    #[error("{what} {value} does not fit the database")]
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// The number.
        value: String,
    },
    /// The arguments of a call contradict each other: a fault of the program.
    #[error("a call of the store is wrong: {0}")]
    Invalid(String),
    /// The database contains something that this program did not write.
    #[error("table {table} does not agree with events: {what}; another program wrote to it")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// What is wrong.
        what: String,
    },
}

/// What a caller can do about a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreVerdict {
    /// Retry: server, connection or another transaction were in the way.
    Transient,
    /// The server cannot be reached, for a reason that is not known to pass.
    Unreachable,
    /// Read what is stored again, or leave the work to the instance that has the lease.
    Moved,
    /// The call asks for what cannot be: a configuration or a command must change. Only calls of commands return it.
    Request,
    /// As [`Self::Request`], of calls that the daemon makes: no retry helps.
    Permanent,
    /// The program, or another program that wrote to the tables, made a mistake: no retry helps.
    Mistake,
    /// An error of the database that is in no list.
    Unknown,
}

impl StoreError {
    /// The verdict on the error. Every kind of error is listed here.
    pub fn verdict(&self) -> StoreVerdict {
        match self {
            error if error.is_transient() => StoreVerdict::Transient,
            Self::ReadOnly { .. } | Self::NoWrites { .. } => StoreVerdict::Transient,
            Self::Connect { .. } => StoreVerdict::Unreachable,
            Self::Conflict { .. } | Self::Fenced { .. } => StoreVerdict::Moved,
            Self::Url { .. }
            | Self::Led { .. }
            | Self::Awaited { .. }
            | Self::NotFinal { .. }
            | Self::UnknownType { .. }
            | Self::View { .. } => StoreVerdict::Request,
            Self::Rights { .. }
            | Self::NewerSchema { .. }
            | Self::Emptying { .. }
            | Self::Pooler
            | Self::NoSession { .. }
            | Self::Overlap { .. }
            | Self::BelowFinal { .. }
            | Self::NotReached { .. }
            | Self::OtherChain { .. } => StoreVerdict::Permanent,
            Self::OutOfRange { .. } | Self::Invalid(_) | Self::Corrupt { .. } => StoreVerdict::Mistake,
            Self::Database(_) | Self::Migrate(_) => StoreVerdict::Unknown,
        }
    }

    /// Whether no retry helps. An error that is not known to be permanent is retried.
    pub fn is_permanent(&self) -> bool {
        matches!(self.verdict(), StoreVerdict::Permanent | StoreVerdict::Mistake)
    }

    /// Whether the same call may succeed later without an operator: the connection is lost, the server starts, stops or lacks
    /// resources, another transaction was in the way, or a replica was reached.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(error) | Self::Connect { cause: error, .. } => transient(error),
            Self::Migrate(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                transient(error)
            }
            Self::ReadOnly { .. } | Self::NoWrites { .. } => true,
            _ => false,
        }
    }

    /// Whether another session held a lock for longer than the statement waited.
    pub fn is_lock_timeout(&self) -> bool {
        matches!(self, Self::Database(error) if sqlstate(error).as_deref() == Some("55P03"))
    }

    /// Whether the database has moved on since the caller read it.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Fenced { .. })
    }

    /// Whether another instance is the writer now.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Fenced { .. })
    }

    /// A [`StoreError::Conflict`]; `what` names the difference.
    pub fn conflict(what: impl Into<String>) -> Self {
        Self::Conflict { what: what.into() }
    }

    /// A [`StoreError::Fenced`].
    pub fn fenced(lease: LeaseName) -> Self {
        Self::Fenced { lease }
    }

    /// A [`StoreError::Invalid`].
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into())
    }

    /// A [`StoreError::Url`] with the reason, which names the part at fault, and without the URL.
    pub(crate) fn url(error: &sqlx::Error) -> Self {
        let reason = match error {
            sqlx::Error::Configuration(cause) => cause.to_string(),
            other => other.to_string(),
        };
        Self::Url { reason }
    }

    /// Name of the violated constraint; `None` for other errors.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Database(error) => error.as_database_error()?.constraint(),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// The text of the server or the system, without the library's words around it.
fn plain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::PoolTimedOut => "no connection within acquire_timeout".to_owned(),
        other => causes(other),
    }
}

fn plain_migration(error: &MigrateError) -> String {
    match error {
        MigrateError::Execute(error) => plain(error),
        MigrateError::ExecuteMigration(error, version) => format!("number {version}: {}", plain(error)),
        other => causes(other),
    }
}

/// SQLSTATE of a database error.
pub fn sqlstate(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// See appendix A of PostgreSQL's manual for the codes.
fn transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(_) => sqlstate(error).is_some_and(|code| {
            // Connection, resources, system (disk) errors by class.
            ["08", "53", "58"].iter().any(|class| code.starts_with(class))
                || matches!(
                    code.as_str(),
                    "25006" // read-only: a replica, or a primary being demoted
                        | "25P03" // idle in transaction for too long: this process was frozen
                        | "40001" | "40P01" // serialization, deadlock
                        | "55P03" // lock not available in time
                        | "57014" // statement timeout
                        | "57P01" | "57P02" | "57P03" | "57P05" // shutdown, crash, starting up, idle session
                )
        }),
        _ => false,
    }
}
