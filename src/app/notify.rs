//! What systemd is told: ready once it really is, a status line, and a watchdog tied to the loops.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::health::{Board, ChainState};

/// A loop that has not gone round for so long gets no more pings; each request and each pause in it is shorter.
const HUNG_AFTER: Duration = Duration::from_secs(60);

/// Tells systemd until `stop`. Does nothing where there is no systemd.
pub(super) async fn run(board: Board, stop: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut ready = false;
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let chains = board.chains();
        let writable = board.database().is_some_and(|database| database.writable);
        if !ready
            && writable
            && chains.values().any(|c| !matches!(c.state, ChainState::Starting | ChainState::Failing))
        {
            ready = true;
            tell(&[NotifyState::Ready]);
        }
        let states: Vec<String> = chains
            .iter()
            .map(|(name, c)| {
                format!("{name} {} at {}, lag {}", c.state.as_str(), c.confirmed.unwrap_or(0), c.lag())
            })
            .collect();
        tell(&[NotifyState::Status(&states.join("; "))]);
        let sinks = board.sinks();
        let mut alive =
            chains.values().map(|chain| chain.alive_at).chain(sinks.values().map(|sink| sink.alive_at));
        if alive.all(|at| at.elapsed() < HUNG_AFTER) {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// The drain has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}
