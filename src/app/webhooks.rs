//! The commands about webhooks.

use serde::Serialize;

use super::dead_letters::with_database;
use crate::roles::AppError;
use crate::roles::Loaded;
use crate::roles::database::store_error;
use crate::roles::deliver::sink_name;

/// The state of a configured endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// All messages up to this number are there or are held; `None` before the first.
    pub cursor: Option<u64>,
    /// Messages that wait for another try, or behind one that does.
    pub held: u64,
    /// For how long the oldest of them has waited.
    pub held_oldest_seconds: u64,
    /// Rounds in a row in which nothing could be delivered.
    pub failures: u64,
    /// Seconds for which nothing is tried.
    pub paused_seconds: u64,
    /// Why nothing is sent there until it is enabled.
    pub disabled: Option<String>,
    /// Why nothing could be delivered at the last try.
    pub last_error: Option<String>,
}

/// The state of each configured endpoint.
///
/// # Errors
/// When the database cannot be read.
pub async fn webhooks(loaded: &Loaded) -> Result<Vec<Endpoint>, AppError> {
    with_database(loaded, async |database| {
        let mut endpoints = Vec::new();
        for webhook in &loaded.config.webhooks {
            let sink = sink_name(&webhook.endpoint.name);
            let state = database.store.outbox().sink_state(&sink).await.map_err(store_error)?;
            endpoints.push(Endpoint {
                name: webhook.endpoint.name.clone(),
                cursor: database.store.outbox().sink_cursor(&sink).await.map_err(store_error)?,
                held: state.held,
                held_oldest_seconds: state.held_for.as_secs(),
                failures: state.failures,
                paused_seconds: state.paused.as_secs(),
                disabled: state.disabled,
                last_error: state.last_error,
            });
        }
        Ok(endpoints)
    })
    .await
}

/// Lets an endpoint that answered 410 have messages again, from where it stopped; a running daemon sees it by itself.
///
/// # Errors
/// When there is none of that name or it is not disabled, or the database fails.
pub async fn enable_webhook(loaded: &Loaded, name: &str) -> Result<(), AppError> {
    find(loaded, name)?;
    with_database(loaded, async |database| {
        match database.store.outbox().enable_sink(&sink_name(name)).await.map_err(store_error)? {
            true => Ok(()),
            false => Err(AppError::Failed(format!("webhook {name} is not disabled"))),
        }
    })
    .await
}

/// Retries at once what waits for an endpoint, in place of the next time of its schedule; a running daemon sees it by itself.
/// Returns how many messages wait, those behind others included.
///
/// # Errors
/// When there is none of that name or it is disabled, or the database fails.
pub async fn retry_webhook(loaded: &Loaded, name: &str) -> Result<u64, AppError> {
    find(loaded, name)?;
    with_database(loaded, async |database| {
        let (outbox, sink) = (database.store.outbox(), sink_name(name));
        if outbox.sink_state(&sink).await.map_err(store_error)?.disabled.is_some() {
            let remedy = format!("`chainflume webhooks enable {name}`");
            return Err(AppError::Failed(format!("webhook {name} is disabled; {remedy} sends to it again")));
        }
        outbox.retry_sink(&sink).await.map_err(store_error)
    })
    .await
}

/// That there is an endpoint of that name.
fn find(loaded: &Loaded, name: &str) -> Result<(), AppError> {
    let names: Vec<&str> =
        loaded.config.webhooks.iter().map(|webhook| webhook.endpoint.name.as_str()).collect();
    if names.contains(&name) {
        return Ok(());
    }
    let path = loaded.path.display();
    let all = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Err(AppError::Config(format!("{path}: there is no webhook \"{name}\"; there are: {all}")))
}
