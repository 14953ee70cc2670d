//! The commands about webhooks.

use serde::Serialize;

use super::dead_letters::with_database;
use crate::roles::AppError;
use crate::roles::Loaded;
use crate::roles::database::store_error;
use crate::roles::deliver::sink_name;

/// Where a configured endpoint stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// All messages up to this number are there or are held; `None` before the first.
    pub cursor: Option<u64>,
    /// Messages that wait for another try, or behind one that does.
    pub held: u64,
    /// Rounds in a row in which nothing could be delivered.
    pub failures: u64,
    /// Seconds for which nothing is tried.
    pub paused_seconds: u64,
    /// Why nothing is sent there until it is enabled.
    pub disabled: Option<String>,
}

/// Where each configured endpoint stands.
///
/// # Errors
/// When the database cannot be read.
pub async fn webhooks(loaded: &Loaded) -> Result<Vec<Endpoint>, AppError> {
    with_database(loaded, async |database| {
        let mut endpoints = Vec::new();
        for webhook in &loaded.config.webhooks {
            let sink = sink_name(&webhook.name);
            let state = database.store.outbox().sink_state(&sink).await.map_err(store_error)?;
            endpoints.push(Endpoint {
                name: webhook.name.clone(),
                cursor: database.store.outbox().sink_cursor(&sink).await.map_err(store_error)?,
                held: state.held,
                failures: state.failures,
                paused_seconds: state.paused.as_secs(),
                disabled: state.disabled,
            });
        }
        Ok(endpoints)
    })
    .await
}

/// Lets an endpoint that answered 410 have messages again, from where it stood; a running daemon sees it by itself.
///
/// # Errors
/// When there is none of that name or it is not disabled, or the database fails.
pub async fn enable_webhook(loaded: &Loaded, name: &str) -> Result<(), AppError> {
    let names: Vec<&str> = loaded.config.webhooks.iter().map(|webhook| webhook.name.as_str()).collect();
    if !names.contains(&name) {
        let path = loaded.path.display();
        let all = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(AppError::Config(format!("{path}: there is no webhook \"{name}\"; there are: {all}")));
    }
    with_database(loaded, async |database| {
        match database.store.outbox().enable_sink(&sink_name(name)).await.map_err(store_error)? {
            true => Ok(()),
            false => Err(AppError::Failed(format!("webhook {name} is not disabled"))),
        }
    })
    .await
}
