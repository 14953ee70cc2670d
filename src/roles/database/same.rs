//! Whether a command looks at the database of the daemon that runs beside it. A command without the variables of the service
//! reads the same configuration otherwise, and would report an empty database as if nothing were stored.

use super::{AppError, Loaded, OpenDatabase};
use crate::admin;

/// The database of the daemon on the configured admin address, where one runs and reports it.
pub(crate) struct DaemonDatabase(Option<String>);

impl DaemonDatabase {
    /// Asks the daemon.
    pub(crate) async fn ask(loaded: &Loaded) -> Self {
        let report = admin::ask(loaded.config.admin.listen).await;
        Self(report.and_then(|report| report.database.identity))
    }

    /// Nothing is open, since there is no private database yet.
    ///
    /// # Errors
    /// That the daemon uses another one.
    pub(crate) fn check_none(&self, loaded: &Loaded) -> Result<(), AppError> {
        match self.0 {
            Some(_) => Err(other(loaded)),
            None => Ok(()),
        }
    }

    /// This database is open.
    ///
    /// # Errors
    /// That the daemon uses another one.
    pub(crate) async fn check(&self, loaded: &Loaded, database: &OpenDatabase) -> Result<(), AppError> {
        let Some(daemons) = &self.0 else { return Ok(()) };
        match database.store.identity().await {
            Ok(ours) if ours != *daemons => Err(other(loaded)),
            // What cannot be compared is no reason to refuse.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn other(loaded: &Loaded) -> AppError {
    let (path, listen) = (loaded.path.display(), loaded.config.admin.listen);
    let here = match loaded.config.database.url {
        Some(_) => "the one that database.url names here".to_owned(),
        None => format!(
            "the private one in {}, since database.url is empty here",
            loaded.config.data_dir.display()
        ),
    };
    AppError::Config(format!(
        "{path}: database.url: the daemon at {listen} uses another database than {here}; give this command the variables of the \
         service (as root: `set -a; . /etc/chainflume/secrets.env`), or the daemon's configuration by --config"
    ))
}
