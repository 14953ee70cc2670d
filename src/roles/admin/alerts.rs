//! Starts the loop that sends alerts to the configured receivers.

use std::time::Duration;

use super::super::error::AppError;
use super::super::parts::{Loaded, head_silence};
use chainflume_ops::alert::{AlertSettings, AlertThresholds, AlertWatcher};
use chainflume_ops::health::Board;
use chainflume_ops::http::{self, AddressPolicy, HttpClient};

/// A chat answers at once; one that does not is asked again.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What watches the board; nothing is sent yet.
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

/// The configured chat, to look at.
pub(crate) fn post(loaded: &Loaded) -> Option<Result<HttpClient, http::HttpError>> {
    webhook(loaded).as_ref().map(HttpClient::new)
}

/// It may be anywhere: it is the operator's own, and often within the house.
fn webhook(loaded: &Loaded) -> Option<http::HttpSettings> {
    let url = loaded.config.alerts.webhook.as_ref()?.expose().to_owned();
    Some(http::HttpSettings { url, timeout: TIMEOUT, reach: AddressPolicy::Anywhere, ca: None })
}
