//! Who is told when something is wrong.

use std::time::Duration;

use super::super::error::AppError;
use super::super::parts::{Loaded, head_silence};
use chainflume_ops::alert::{Limits, Settings, Watch};
use chainflume_ops::health::Board;
use chainflume_ops::post::{self, Post, Reach};

/// A chat answers at once; one that does not is asked again.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What watches the board; nothing is sent yet.
///
/// # Errors
/// What is wrong with the URL.
pub fn watch(loaded: &Loaded, board: &Board) -> Result<Watch, AppError> {
    let config = &loaded.config;
    let limits = Limits {
        head_silence: config.chains.iter().map(|chain| (chain.name.clone(), head_silence(chain))).collect(),
        websocket: config
            .chains
            .iter()
            .filter(|c| c.providers.iter().any(|p| p.ws.is_some()))
            .map(|c| c.name.clone())
            .collect(),
    };
    let settings = Settings { webhook: webhook(loaded), over_after: config.alerts.over_after, limits };
    Watch::new(board.clone(), settings)
        .map_err(|error| AppError::Config(format!("{}: alerts.webhook: {error}", loaded.path.display())))
}

/// The configured chat, to look at.
pub(crate) fn post(loaded: &Loaded) -> Option<Result<Post, post::PostError>> {
    webhook(loaded).as_ref().map(Post::new)
}

/// It may be anywhere: it is the operator's own, and often within the house.
fn webhook(loaded: &Loaded) -> Option<post::Settings> {
    let url = loaded.config.alerts.webhook.as_ref()?.expose().to_owned();
    Some(post::Settings { url, timeout: TIMEOUT, reach: Reach::Anywhere, ca: None })
}
