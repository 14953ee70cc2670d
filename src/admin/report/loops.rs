use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use chainflume_ops::health::Board;
use chainflume_ops::{metrics, telemetry};

/// A loop of the daemon in a [`super::Report`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoopReport {
    /// Why it is not ready, one reason a line; empty while it runs and turns.
    pub not_ready: Vec<String>,
    /// Time since it last turned.
    pub seconds_since_turn: f64,
    /// Number of failures since the start of the daemon.
    pub failures: u64,
}

pub(super) fn report(board: &Board) -> BTreeMap<String, LoopReport> {
    let loops = board.loops().into_iter().map(|(name, health)| {
        let seconds_since_turn = health.alive_at.elapsed().as_secs_f64();
        (name, LoopReport { not_ready: health.troubles(), seconds_since_turn, failures: health.failures })
    });
    loops.chain(log(telemetry::lost_lines())).collect()
}

/// The writer of the log is a thread, not a loop. It is listed while it loses lines.
fn log(lost: u64) -> Option<(String, LoopReport)> {
    let reason = format!(
        "{lost} log lines are lost: stderr accepts none; make room on its disk, or restart the daemon with a reader that stays"
    );
    let report = LoopReport { not_ready: vec![reason], seconds_since_turn: 0.0, failures: lost };
    (lost > 0).then(|| ("log".to_owned(), report))
}

pub(super) fn refresh_metrics(board: &Board) {
    for (name, health) in board.loops() {
        metrics::loop_runs(&name, health.troubles().is_empty(), health.alive_at.elapsed());
    }
}
