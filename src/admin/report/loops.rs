use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use chainflume_ops::health::Board;
use chainflume_ops::metrics;

/// A loop of the daemon in a [`super::Report`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoopReport {
    /// Why it is not ready, one reason a line; empty while it runs and turns.
    pub not_ready: Vec<String>,
    /// Since it last turned.
    pub seconds_since_turn: f64,
    /// How often it failed since the start of the daemon.
    pub failures: u64,
}

pub(super) fn report(board: &Board) -> BTreeMap<String, LoopReport> {
    let loops = board.loops().into_iter().map(|(name, health)| {
        let seconds_since_turn = health.alive_at.elapsed().as_secs_f64();
        (name, LoopReport { not_ready: health.troubles(), seconds_since_turn, failures: health.failures })
    });
    loops.collect()
}

pub(super) fn refresh_metrics(board: &Board) {
    for (name, health) in board.loops() {
        metrics::loop_runs(&name, health.troubles().is_empty(), health.alive_at.elapsed());
    }
}
