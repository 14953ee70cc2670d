mod plain;
mod remedy;
mod same;

pub(crate) use plain::plain_text;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};

use super::error::AppError;
use super::parts::{Loaded, postgres_settings, store_settings};
use crate::postgres::{self, PostgresError, PrivatePostgres};
use chainflume_core::domain::causes;
use chainflume_db::{StoreError, StoreVerdict};
use chainflume_store::Store;
use same::DaemonDatabase;

/// The configured database, or the private one.
pub(crate) struct OpenDatabase {
    pub store: Store,
    /// The private server, where this process runs it.
    pub private: Option<PrivatePostgres>,
}

/// Who may start the private server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The daemon: it is an error when another one runs it.
    Daemon,
    /// A command: it uses the server of a daemon that runs, and else starts it for as long as it takes.
    Command,
}

impl OpenDatabase {
    /// Connects. No table is touched.
    pub(crate) async fn open(loaded: &Loaded, owner: Owner) -> Result<Self, AppError> {
        let config = &loaded.config;
        if let Some(url) = &config.database.url {
            let store = connect(loaded, url.expose().to_owned()).await?;
            return Ok(Self { store, private: None });
        }
        let settings = postgres_settings(config);
        let running = match owner {
            Owner::Command => postgres::attach(&settings).await.map_err(private_error)?,
            Owner::Daemon => None,
        };
        if let Some(url) = running {
            return Ok(Self { store: connect(loaded, url).await?, private: None });
        }
        Self::over(loaded, PrivatePostgres::start(&settings).await.map_err(private_error)?).await
    }

    /// Connects to the private server, which is stopped where that fails.
    pub(crate) async fn over(loaded: &Loaded, private: PrivatePostgres) -> Result<Self, AppError> {
        match connect(loaded, private.url()).await {
            Ok(store) => Ok(Self { store, private: Some(private) }),
            Err(error) => {
                stop(private).await;
                Err(error)
            }
        }
    }

    /// As [`Self::open`] for a command, which refuses to work on another database than the daemon beside it.
    pub(crate) async fn open_daemons(loaded: &Loaded) -> Result<Self, AppError> {
        let database = Self::open(loaded, Owner::Command).await?;
        match Self::is_daemons(loaded, Some(&database)).await {
            Ok(()) => Ok(database),
            Err(error) => {
                database.close().await;
                Err(error)
            }
        }
    }

    /// As [`Self::open_made`], which refuses to work on another database than the daemon beside it.
    pub(crate) async fn open_daemons_made(loaded: &Loaded) -> Result<Option<Self>, AppError> {
        let database = Self::open_made(loaded).await?;
        match (Self::is_daemons(loaded, database.as_ref()).await, database) {
            (Ok(()), database) => Ok(database),
            (Err(error), database) => {
                if let Some(database) = database {
                    database.close().await;
                }
                Err(error)
            }
        }
    }

    /// What is open here, or that nothing is, held against the daemon beside this process.
    ///
    /// # Errors
    /// That the daemon uses another database.
    pub(crate) async fn is_daemons(loaded: &Loaded, database: Option<&Self>) -> Result<(), AppError> {
        let daemon = DaemonDatabase::ask(loaded).await;
        match database {
            Some(database) => daemon.check(loaded, database).await,
            None => daemon.check_none(loaded),
        }
    }

    /// Where the private server can be reached, by this process or another.
    pub(crate) async fn private_url(&self, loaded: &Loaded) -> Result<String, AppError> {
        if let Some(private) = &self.private {
            return Ok(private.url());
        }
        let running = postgres::attach(&postgres_settings(&loaded.config)).await.map_err(private_error)?;
        running
            .ok_or_else(|| AppError::Unavailable("the private postgresql has just been stopped".to_owned()))
    }

    /// As [`Self::open`] for a command that only looks: `None` where there is no private database yet, which
    /// is then not made either. A look by root would leave it to the wrong user.
    pub(crate) async fn open_made(loaded: &Loaded) -> Result<Option<Self>, AppError> {
        let settings = postgres_settings(&loaded.config);
        let made = loaded.config.database.url.is_some()
            || postgres::survey(&settings).await.map_err(private_error)?;
        if made { Self::open(loaded, Owner::Command).await.map(Some) } else { Ok(None) }
    }

    /// Whether the private database, where there is none yet, can be made.
    pub(crate) async fn check_place(loaded: &Loaded) -> Result<(), AppError> {
        postgres::check_place(&postgres_settings(&loaded.config)).await.map_err(private_error)
    }

    /// Closes the connections and stops the private server.
    pub(crate) async fn close(self) {
        self.disconnect().await;
        if let Some(private) = self.private {
            stop(private).await;
        }
    }

    /// Closes the connections; a server that is frozen is not waited for.
    pub(crate) async fn disconnect(&self) {
        if tokio::time::timeout(GOODBYE, self.store.close()).await.is_err() {
            tracing::warn!("the database does not answer; its connections are dropped");
        }
    }
}

/// How long the database may take to see us off.
const GOODBYE: Duration = Duration::from_secs(1);

async fn stop(private: PrivatePostgres) {
    if let Err(error) = private.stop().await {
        tracing::warn!(%error, "private postgresql did not stop cleanly; it recovers at the next start");
    }
}

/// A server that is just starting gets a few seconds; a wrong address or password is reported at once.
async fn connect(loaded: &Loaded, url: String) -> Result<Store, AppError> {
    let settings = store_settings(&loaded.config, url);
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(2))
        .with_max_times(4)
        .with_jitter();
    let connected = (|| Store::connect(&settings)).retry(backoff).when(StoreError::is_transient).await;
    connected.map_err(|error| match (&loaded.config.database.url, error) {
        (Some(_), error @ StoreError::Url { .. }) => AppError::Config(key(loaded, &causes(&error))),
        (Some(_), error) => {
            let text = causes(&error);
            let remedy = remedy::remedy(loaded, &text);
            AppError::Unavailable(key(loaded, &format!("{text}; {remedy}")))
        }
        (None, error) => AppError::Unavailable(format!("private postgresql: {}", causes(&error))),
    })
}

fn key(loaded: &Loaded, text: &str) -> String {
    format!("{}: database.url: {text}", loaded.path.display())
}

pub(crate) fn private_error(error: PostgresError) -> AppError {
    match error {
        PostgresError::Busy { .. } | PostgresError::Starting { .. } => AppError::Busy(error.to_string()),
        _ => AppError::Unavailable(causes(&error)),
    }
}

/// Errors of the store by what the operator can do. Only an error that is known to come from the configuration or from what
/// the command asks for exits as such: an unknown error of the database is a mistake of the program.
pub(crate) fn store_error(error: StoreError) -> AppError {
    let text = causes(&error);
    match error.verdict() {
        StoreVerdict::Transient | StoreVerdict::Unreachable => AppError::Unavailable(text),
        StoreVerdict::Request | StoreVerdict::Permanent => AppError::Config(text),
        StoreVerdict::Moved | StoreVerdict::Mistake | StoreVerdict::Unknown => {
            AppError::Internal(anyhow::Error::msg(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_database_error_does_not_blame_the_configuration() {
        let corrupt = StoreError::Corrupt { table: "events", what: "a row is missing".to_owned() };
        assert!(matches!(store_error(corrupt), AppError::Internal(_)));
        let invalid = StoreError::Invalid("a range that ends before it begins".to_owned());
        assert!(matches!(store_error(invalid), AppError::Internal(_)));
        let newer = StoreError::NewerSchema { found: 99, known: 1 };
        assert!(matches!(store_error(newer), AppError::Config(_)));
        let (what, holder) = ("source one".to_owned(), "other".to_owned());
        assert!(matches!(store_error(StoreError::Awaited { what, holder }), AppError::Config(_)));
    }
}
