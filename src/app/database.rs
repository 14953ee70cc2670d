use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};

use super::error::AppError;
use super::parts::{Loaded, postgres_settings, store_settings};
use crate::domain::causes;
use crate::postgres::{self, PostgresError, PrivatePostgres};
use crate::store::{Store, StoreError};

/// The configured database, or the private one.
pub(super) struct Database {
    pub store: Store,
    /// The private server, where this process runs it.
    pub private: Option<PrivatePostgres>,
}

/// Who may start the private server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The daemon: it is an error when another one runs it.
    Daemon,
    /// A command: it uses the server of a daemon that runs, and else starts it for as long as it takes.
    Command,
}

impl Database {
    /// Connects. No table is touched.
    pub(super) async fn open(loaded: &Loaded, owner: Owner) -> Result<Self, AppError> {
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
        let private = PrivatePostgres::start(&settings).await.map_err(private_error)?;
        match connect(loaded, private.url()).await {
            Ok(store) => Ok(Self { store, private: Some(private) }),
            Err(error) => {
                stop(private).await;
                Err(error)
            }
        }
    }

    /// Closes the connections and stops the private server.
    pub(super) async fn close(self) {
        self.store.close().await;
        if let Some(private) = self.private {
            stop(private).await;
        }
    }
}

async fn stop(private: PrivatePostgres) {
    if let Err(error) = private.stop().await {
        tracing::warn!(%error, "private postgresql did not stop cleanly; it recovers at the next start");
    }
}

/// A server that is just starting gets a few seconds; a wrong address or password is told soon.
async fn connect(loaded: &Loaded, url: String) -> Result<Store, AppError> {
    let settings = store_settings(&loaded.config, url);
    let patience = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(2))
        .with_max_times(4)
        .with_jitter();
    (|| Store::connect(&settings)).retry(patience).when(StoreError::is_transient).await.map_err(|error| {
        AppError::Unavailable(format!(
            "{}: database.url: {}; check that it runs and lets us in",
            loaded.path.display(),
            causes(&error)
        ))
    })
}

pub(super) fn private_error(error: PostgresError) -> AppError {
    match error {
        PostgresError::Busy { .. } => AppError::Busy(error.to_string()),
        _ => AppError::Unavailable(causes(&error)),
    }
}

/// Errors of the store by what the operator can do.
pub(super) fn store_error(error: StoreError) -> AppError {
    if error.is_transient() {
        AppError::Unavailable(causes(&error))
    } else {
        AppError::Config(causes(&error))
    }
}
