//! Sends one notice when a problem has lasted, and one when it is over: by log and metric, and to the configured
//! webhook in the JSON of Slack and similar services.
//!
//! The [`rules`] find problems from the health board alone. The [`tracker`] decides which of them are new. The sender
//! sends notices from a bounded queue, so that an unreachable chat delays nothing.

mod rules;
mod sender;
mod tracker;

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::health::{Board, Heartbeat};
use crate::http::{HttpClient, HttpError};
use crate::metrics;
use crate::supervise::every;
pub use rules::{AlertThresholds, BoardSnapshot, CLOCK_OFF, Incident, IncidentKey, incidents};
use sender::AlertSender;
use tracker::{AlertNotice, IncidentTracker, NoticeKind};

/// The limits to watch, and the target of notices.
#[derive(Clone, Debug)]
pub struct AlertSettings {
    /// The webhook for notices; `None` leaves them in log and metrics.
    pub webhook: Option<crate::http::HttpSettings>,
    /// A problem that is absent for this long is over. A problem that returns earlier is the same incident.
    pub over_after: Duration,
    /// The limits of each chain.
    pub limits: AlertThresholds,
}

/// Pause between two checks.
const EVERY: Duration = Duration::from_secs(1);

/// Watches the health board until it is stopped.
pub struct AlertWatcher {
    board: Board,
    limits: AlertThresholds,
    tracker: IncidentTracker,
    sender: Option<AlertSender>,
}

impl AlertWatcher {
    /// Creates the watch without reading or sending anything.
    ///
    /// # Errors
    /// The problem with the webhook's URL.
    pub fn new(board: Board, settings: AlertSettings) -> Result<Self, HttpError> {
        let AlertSettings { webhook, over_after, limits } = settings;
        metrics::alerts_start();
        let post = webhook.as_ref().map(HttpClient::new).transpose()?;
        Ok(Self {
            board,
            limits,
            tracker: IncidentTracker::new(over_after),
            sender: post.map(AlertSender::new),
        })
    }

    /// Checks the board and sends notices until `stop`. Unsent notices are in the log.
    ///
    /// # Panics
    /// When the sending task panics, returns or hangs: the supervisor starts both again.
    pub async fn run(mut self, stop: CancellationToken, heartbeat: Heartbeat) {
        let mut sending = self.sender.take().map(AlertSender::start);
        let mut tick = every(EVERY);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            heartbeat.beat();
            if let Some((_, task)) = &mut sending {
                task.check();
            }
            let now = Instant::now();
            let found = incidents(&BoardSnapshot::of(&self.board), &self.limits, now);
            for notice in self.tracker.step(found, now) {
                log_notice(&notice);
                if let Some((queue, _)) = &sending {
                    queue.put(notice);
                }
            }
        }
    }
}

fn log_notice(notice: &AlertNotice) {
    let AlertNotice { key, text, news } = notice;
    metrics::incident(key.kind, &key.of, matches!(news, NoticeKind::Began));
    match news {
        NoticeKind::Began => tracing::error!(incident = key.kind, of = %key.of, "incident: {text}"),
        NoticeKind::Over { lasted } => {
            tracing::info!(incident = key.kind, of = %key.of, seconds = lasted.as_secs(), "incident is over: {text}");
        }
    }
}
