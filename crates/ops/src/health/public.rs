use std::time::{Duration, Instant};

use super::Board;

/// The public server, as its watch last found it.
#[derive(Clone, Debug, Default)]
pub struct PublicHealth {
    /// The newest message that clients were sent, `<epoch>.<seq>`.
    pub position: String,
    /// Messages stored that the feed has not read yet.
    pub lag: u64,
    /// Since when messages wait and the feed reads none, `None` while it does.
    pub stuck_since: Option<Instant>,
    /// Why the outbox cannot be read.
    pub error: Option<String>,
}

/// A feed that reads nothing for so long has stopped: it polls every second, and its longest pause after an error is two.
const STUCK_AFTER: Duration = Duration::from_secs(10);

impl PublicHealth {
    /// What is wrong, one reason a line; empty while clients get messages.
    pub fn troubles(&self) -> Vec<String> {
        let error = self.error.as_ref().map(|error| format!("the outbox cannot be read: {error}"));
        let stuck = self.stuck_since.map(|since| since.elapsed()).filter(|stuck| *stuck > STUCK_AFTER);
        let stuck = stuck
            .map(|stuck| format!("{} messages wait, and none was read for {} s", self.lag, stuck.as_secs()));
        error.into_iter().chain(stuck).collect()
    }
}

impl Board {
    /// What the watch of the public server found.
    pub fn set_public(&self, health: PublicHealth) {
        self.lock().public = Some(health);
    }

    /// What the watch of the public server last found; `None` where there is no such server.
    pub fn public(&self) -> Option<PublicHealth> {
        self.lock().public.clone()
    }

    /// The process was asked to stop: it takes no new work.
    pub fn stop(&self) {
        self.lock().stopping = true;
    }

    /// Whether the process was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.lock().stopping
    }
}
