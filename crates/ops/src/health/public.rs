use std::time::{Duration, Instant};

use super::Board;

/// The state of the public server at the last check.
#[derive(Clone, Debug, Default)]
pub struct PublicHealth {
    /// The newest message sent to clients, `<epoch>.<seq>`.
    pub position: String,
    /// Number of stored messages that the feed has not read yet.
    pub lag: u64,
    /// Since when messages wait and the feed reads none; `None` while it reads.
    pub stuck_since: Option<Instant>,
    /// Why the outbox cannot be read.
    pub error: Option<String>,
}

/// A feed that has read nothing for this long has stopped: it polls every second, and its longest pause after an error
/// is two seconds.
const STUCK_AFTER: Duration = Duration::from_secs(10);

impl PublicHealth {
    /// All problems, one reason a line; empty while clients get messages.
    pub fn troubles(&self) -> Vec<String> {
        let error = self.error.as_ref().map(|error| format!("the outbox cannot be read: {error}"));
        let stuck = self.stuck_since.map(|since| since.elapsed()).filter(|stuck| *stuck > STUCK_AFTER);
        let stuck = stuck
            .map(|stuck| format!("{} messages wait, and none was read for {} s", self.lag, stuck.as_secs()));
        error.into_iter().chain(stuck).collect()
    }
}

impl Board {
    /// Sets the state of the public server.
    pub fn set_public(&self, health: PublicHealth) {
        self.lock().public = Some(health);
    }

    /// The last state of the public server; `None` without such a server.
    pub fn public(&self) -> Option<PublicHealth> {
        self.lock().public.clone()
    }

    /// Records the request to stop: the process accepts no new work.
    pub fn stop(&self) {
        self.lock().stopping = true;
    }

    /// Whether a stop was requested.
    pub fn is_stopping(&self) -> bool {
        self.lock().stopping
    }
}
