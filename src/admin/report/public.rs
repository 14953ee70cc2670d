use serde::{Deserialize, Serialize};

use chainflume_ops::health::{Board, PublicHealth};
use chainflume_ops::metrics;

/// The public server in a [`super::Report`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicReport {
    /// Why it is not ready, one reason a line; empty while clients get messages.
    pub not_ready: Vec<String>,
    /// The newest message sent to clients.
    pub position: String,
    /// Number of stored messages that it has not read yet.
    pub lag: u64,
}

impl PublicReport {
    pub(super) fn of(health: PublicHealth) -> Self {
        Self { not_ready: health.troubles(), position: health.position, lag: health.lag }
    }
}

pub(super) fn refresh_metrics(board: &Board) {
    if let Some(public) = board.public() {
        metrics::push_lag(public.lag);
    }
}
