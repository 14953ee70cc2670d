//! Tells a person when something is wrong for long, once, and when it is over: by log and metric, and by the configured
//! webhook in the JSON that Slack and its like take.
//!
//! The [`rules`] say what is wrong by the health board alone, the [`ledger`] what of it is news, and the teller sends it:
//! behind a bounded queue, so that a chat that is away holds up nothing.

mod ledger;
mod rules;
mod teller;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::health::{Board, Pulse};
use crate::metrics;
use crate::post::{Post, PostError};
use ledger::{Ledger, News, Notice};
pub use rules::{Incident, Key, Snapshot, incidents};
use teller::Teller;

/// What is watched for, and who is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where notices are sent; `None` leaves them in log and metrics.
    pub webhook: Option<crate::post::Settings>,
    /// What is well for so long is over. What comes and goes more often is one incident.
    pub over_after: Duration,
    /// What is normal for each chain.
    pub limits: Limits,
}

/// What is normal for each chain.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// By chain, how long its head may stand still.
    pub head_silence: BTreeMap<String, Duration>,
    /// Chains whose heads are announced by WebSocket while all is well.
    pub websocket: BTreeSet<String>,
}

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(1);

/// Watches the board until told to stop.
pub struct Watch {
    board: Board,
    limits: Limits,
    ledger: Ledger,
    teller: Option<Teller>,
}

impl Watch {
    /// Nothing is looked at and nothing sent yet.
    ///
    /// # Errors
    /// What is wrong with the webhook's URL.
    pub fn new(board: Board, settings: Settings) -> Result<Self, PostError> {
        let Settings { webhook, over_after, limits } = settings;
        metrics::alerts_start();
        let post = webhook.as_ref().map(Post::new).transpose()?;
        Ok(Self { board, limits, ledger: Ledger::new(over_after), teller: post.map(Teller::new) })
    }

    /// Looks, and tells, until `stop`. What has not been sent by then is in the log.
    ///
    /// # Panics
    /// When what sends panics.
    pub async fn run(mut self, stop: CancellationToken, pulse: Pulse) {
        let mut queue = None;
        let mut sending = tokio::task::JoinSet::new();
        if let Some(teller) = self.teller.take() {
            let (sender, work) = teller.start(stop.clone());
            queue = Some(sender);
            sending.spawn(work);
        }
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            pulse.beat();
            if let Some(Err(error)) = sending.try_join_next()
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
            let now = Instant::now();
            let found = incidents(&Snapshot::of(&self.board), &self.limits, now);
            for notice in self.ledger.step(found, now) {
                say(&notice);
                if let Some(queue) = &queue {
                    queue.put(notice);
                }
            }
        }
        while sending.join_next().await.is_some() {}
    }
}

fn say(notice: &Notice) {
    let Notice { key, text, news } = notice;
    metrics::incident(key.kind, &key.of, matches!(news, News::Began));
    match news {
        News::Began => tracing::error!(incident = key.kind, of = %key.of, "incident: {text}"),
        News::Over { lasted } => {
            tracing::info!(incident = key.kind, of = %key.of, seconds = lasted.as_secs(), "incident is over: {text}");
        }
    }
}
