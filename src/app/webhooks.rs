//! Webhooks: what they are built from, and the commands about them.

use std::path::PathBuf;

use serde::Serialize;

use super::database::store_error;
use super::dead_letters::with_database;
use super::error::AppError;
use super::parts::Loaded;
use crate::config;
use chainflume_deliver::relay::{DeliverySettings, Schedule};
use chainflume_deliver::sink::{Webhook, WebhookSettings};
use chainflume_ops::post::Reach;

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

/// The sink of each configured endpoint, and how it is carried to; nothing is connected yet.
///
/// # Errors
/// What is wrong with its settings.
pub(super) fn sinks(loaded: &Loaded) -> Result<Vec<(Webhook, DeliverySettings)>, AppError> {
    loaded.config.webhooks.iter().map(|webhook| Ok((sink(loaded, webhook)?, courier(webhook)))).collect()
}

/// One of them.
pub(super) fn sink(loaded: &Loaded, webhook: &config::Webhook) -> Result<Webhook, AppError> {
    let wrong = |key: &str, text: String| {
        let (path, name) = (loaded.path.display(), &webhook.name);
        AppError::Config(format!("{path}: webhook \"{name}\": {key}: {text}"))
    };
    let read = |file: &PathBuf| {
        std::fs::read(file)
            .map_err(|error| wrong("ca_file", format!("{} cannot be read: {error}", file.display())))
    };
    let settings = WebhookSettings {
        name: webhook.name.clone(),
        url: webhook.url.expose().to_owned(),
        keys: webhook.keys.clone(),
        timeout: webhook.timeout,
        reach: Reach::Public { except: webhook.allow_hosts.clone() },
        ca: webhook.ca_file.as_ref().map(read).transpose()?,
        max_bytes: webhook.max_message_bytes,
    };
    Webhook::new(settings).map_err(|error| wrong("url", error.to_string()))
}

fn courier(webhook: &config::Webhook) -> DeliverySettings {
    DeliverySettings {
        schedule: Schedule { waits: webhook.retry_schedule.clone(), attempts: webhook.retry_attempts },
        types: webhook.types.clone(),
        in_flight: webhook.in_flight,
    }
}

/// The name its cursor goes by.
pub(super) fn sink_name(webhook: &str) -> String {
    format!("webhook:{webhook}")
}
