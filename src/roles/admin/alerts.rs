//! Starts the loop that sends alerts to the configured receivers.

use std::time::Duration;

use super::super::error::AppError;
use super::super::parts::{Loaded, head_silence};
use chainflume_ops::alert::{AlertSettings, AlertThresholds, AlertWatcher};
use chainflume_ops::health::Board;
use chainflume_ops::http::{self, AddressPolicy, HttpClient};

/// A receiver of alerts answers at once. An alert without an answer in this time is sent again.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The loop that watches the board and sends alerts. It does not run yet.
///
/// # Errors
/// What is wrong with the URL.
pub fn watch(loaded: &Loaded, board: &Board) -> Result<AlertWatcher, AppError> {
    let config = &loaded.config;
    let limits = AlertThresholds {
        head_silence: config.chains.iter().map(|chain| (chain.name.clone(), head_silence(chain))).collect(),
        block_time: config.chains.iter().map(|chain| (chain.name.clone(), chain.block_time)).collect(),
        max_lag: config.admin.limits.max_lag,
        websocket: config
            .chains
            .iter()
            .filter(|c| c.node.providers.iter().any(|p| p.ws_url.is_some()))
            .map(|c| c.name.clone())
            .collect(),
    };
    let settings = AlertSettings { webhook: webhook(loaded), over_after: config.alerts.over_after, limits };
    AlertWatcher::new(board.clone(), settings)
        .map_err(|error| AppError::Config(format!("{}: alerts.webhook: {error}", loaded.path.display())))
}

/// The client of the alert webhook, for a check; `None` without such a webhook.
pub(crate) fn post(loaded: &Loaded) -> Option<Result<HttpClient, http::HttpError>> {
    webhook(loaded).as_ref().map(HttpClient::new)
}

/// The settings of the alert webhook. Any address is allowed: the receiver is often in the operator's own network.
fn webhook(loaded: &Loaded) -> Option<http::HttpSettings> {
    let url = loaded.config.alerts.webhook.as_ref()?.expose().to_owned();
    Some(http::HttpSettings { url, timeout: TIMEOUT, reach: AddressPolicy::Anywhere, ca: None })
}
