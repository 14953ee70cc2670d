use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Board, LoopHealth, TurnSource};

/// The sign of life of a loop. Clones are the same loop.
#[derive(Clone)]
pub struct Heartbeat {
    board: Board,
    name: Arc<str>,
}

/// Interval of the sign of life during a long wait: much shorter than the limits for a hanging loop.
const BEAT: Duration = Duration::from_secs(1);

impl Heartbeat {
    /// Records that the loop turns.
    pub fn beat(&self) {
        self.board.turned(&self.name);
    }

    /// Waits for a future that may take any time, and turns meanwhile. Only for waiting: work that hangs must not
    /// appear alive.
    pub async fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        wait_beating(|| self.beat(), what).await
    }

    /// Pauses the loop. Returns whether it continues: `false` as soon as `stop` is cancelled.
    pub async fn pause(&self, pause: Duration, stop: &CancellationToken) -> bool {
        stop.run_until_cancelled(self.wait(tokio::time::sleep(pause))).await.is_some()
    }
}

/// Waits for `what`, and calls `beat` at once and then every second until it is done.
pub(crate) async fn wait_beating<T>(beat: impl Fn(), what: impl Future<Output = T>) -> T {
    let mut what = std::pin::pin!(what);
    loop {
        beat();
        if let Ok(done) = tokio::time::timeout(BEAT, what.as_mut()).await {
            return done;
        }
    }
}

impl Board {
    /// Adds a loop to the board.
    pub fn loop_starts(&self, name: &str, clock: TurnSource, hung_after: Duration) -> Heartbeat {
        self.lock().loops.insert(name.to_owned(), LoopHealth::new(clock, hung_after));
        Heartbeat { board: self.clone(), name: name.into() }
    }

    /// Records how a loop failed.
    pub fn loop_failed(&self, name: &str, how: String) {
        self.change(name, |health| {
            health.failures += 1;
            (health.failed, health.again) = (Some(how), None);
        });
    }

    /// Records that a failed loop runs again; it counts as well after it has run for this long.
    pub fn loop_again(&self, name: &str, well_after: Duration) {
        self.change(name, |health| {
            let now = Instant::now();
            (health.alive_at, health.again) = (now, Some((now, well_after)));
        });
    }

    /// Removes a loop that ended after `stop`.
    pub fn loop_ends(&self, name: &str) {
        self.lock().loops.remove(name);
    }

    /// Every loop of the daemon.
    pub fn loops(&self) -> BTreeMap<String, LoopHealth> {
        let inner = self.lock();
        let mut loops = inner.loops.clone();
        for health in loops.values_mut() {
            let at = match &health.clock {
                TurnSource::Heartbeat => None,
                TurnSource::Chain(name) => inner.chains.get(name).map(|chain| chain.alive_at),
                TurnSource::Sink(name) => inner.sinks.get(name).map(|sink| sink.alive_at),
            };
            let at = at.map(Instant::from_std);
            health.alive_at = at.map_or(health.alive_at, |at| at.max(health.alive_at));
        }
        loops
    }

    fn turned(&self, name: &str) {
        self.change(name, |health| health.alive_at = Instant::now());
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut LoopHealth)) {
        if let Some(health) = self.lock().loops.get_mut(name) {
            change(health);
        }
    }
}
