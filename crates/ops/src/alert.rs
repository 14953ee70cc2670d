//! Notifies when something is wrong for long, once, and when it is over: by log and metric, and by the configured
//! webhook in the JSON that Slack and its like take.
//!
//! The [`rules`] say what is wrong by the health board alone, the [`tracker`] what of it is news, and the sender sends it:
//! behind a bounded queue, so that a chat that is away holds up nothing.

mod rules;
mod sender;
mod tracker;

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::health::{Board, Heartbeat};
use crate::http::{HttpClient, HttpError};
use crate::metrics;
pub use rules::{AlertThresholds, BoardSnapshot, CLOCK_OFF, Incident, IncidentKey, incidents};
use sender::AlertSender;
use tracker::{AlertNotice, IncidentTracker, NoticeKind};

/// What is watched for, and where notices go.
#[derive(Clone, Debug)]
pub struct AlertSettings {
    /// Where notices are sent; `None` leaves them in log and metrics.
    pub webhook: Option<crate::http::HttpSettings>,
    /// What is well for so long is over. What comes and goes more often is one incident.
    pub over_after: Duration,
    /// What is normal for each chain.
    pub limits: AlertThresholds,
}

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(1);

/// Watches the board until it is stopped.
pub struct AlertWatcher {
    board: Board,
    limits: AlertThresholds,
    tracker: IncidentTracker,
    sender: Option<AlertSender>,
}

impl AlertWatcher {
    /// Nothing is looked at and nothing sent yet.
    ///
    /// # Errors
    /// What is wrong with the webhook's URL.
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

    /// Looks at the board and sends notices until `stop`. What has not been sent by then is in the log.
    ///
    /// # Panics
    /// When the task that sends panics, returns or hangs: the supervisor starts both again.
    pub async fn run(mut self, stop: CancellationToken, heartbeat: Heartbeat) {
        let mut sending = self.sender.take().map(AlertSender::start);
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            heartbeat.beat();
            if let Some((_, task)) = &mut sending {
                task.check();
            }
            let now = Instant::now();
            let found = incidents(&BoardSnapshot::of(&self.board), &self.limits, now);
            for notice in self.tracker.step(found, now) {
                say(&notice);
                if let Some((queue, _)) = &sending {
                    queue.put(notice);
                }
            }
        }
    }
}

fn say(notice: &AlertNotice) {
    let AlertNotice { key, text, news } = notice;
    metrics::incident(key.kind, &key.of, matches!(news, NoticeKind::Began));
    match news {
        NoticeKind::Began => tracing::error!(incident = key.kind, of = %key.of, "incident: {text}"),
        NoticeKind::Over { lasted } => {
            tracing::info!(incident = key.kind, of = %key.of, seconds = lasted.as_secs(), "incident is over: {text}");
        }
    }
}
