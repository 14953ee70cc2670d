//! The deliver role: a relay for each sink, the listener that wakes them, and the retention of the outbox.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::AppError;
use super::loops::{LISTEN_HANG_TIMEOUT, Loops, anew};
use super::parts::{Loaded, authority, redis_settings};
use super::trigger::reaction;
use crate::config;
use chainflume_core::domain::AddressSet;
use chainflume_deliver::relay::{
    CommitSignal, DeliveryQueue, DeliverySettings, Relay, RelayParts, Retention, RoomIndex, TrimPage, listen,
};
use chainflume_deliver::sink::{Bus, InProcess, RedisSink, Sink, TakeAnswer, WebhookSettings, WebhookSink};
use chainflume_ops::health::Board;
use chainflume_ops::http::HttpError;
use chainflume_ops::metrics;
use chainflume_ops::supervise::{Loop, Supervisor};
use chainflume_store::{HistoryRetention, Store};

/// Starts all delivery, on a database that is migrated already. Returns the bus of this process where no Redis is
/// configured.
///
/// # Errors
/// What is wrong with the settings of a sink. One that cannot be reached is waited for.
pub fn deliver(
    loaded: &Loaded,
    store: &Store,
    board: &Board,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<Option<Bus>, AppError> {
    let supervisor = Supervisor::new(board, stop);
    start_relays(loaded, store, tasks, &mut Loops::without_leases(&supervisor, board, stop))
}

/// As [`deliver`], to sinks that several daemons may share.
pub(crate) fn start_relays(
    loaded: &Loaded,
    store: &Store,
    tasks: &mut JoinSet<()>,
    loops: &mut Loops,
) -> Result<Option<Bus>, AppError> {
    let (redis, webhooks) = (redis(loaded)?, webhooks(loaded)?);
    let (wake, listener) = listen(store.outbox());
    let stop = loops.stop().clone();
    loops.spawn(tasks, Loop::new("listen", LISTEN_HANG_TIMEOUT), move |heartbeat| {
        listener.clone().run(stop.clone(), heartbeat)
    });
    let mut relays = Relays { loaded, store, wake, loops, tasks, names: Vec::new() };
    let bus = match redis {
        Some(redis) => {
            relays.deliver_to_redis(redis);
            None
        }
        None => {
            let bus = Bus::default();
            relays.deliver_to_bus(&bus);
            Some(bus)
        }
    };
    for ((webhook, settings), config) in webhooks.into_iter().zip(&loaded.config.webhooks) {
        relays.deliver_to_webhook(webhook, settings, config, reaction(loaded, store, config)?);
    }
    let sinks = relays.names;
    let age = loaded.config.outbox.retention;
    for source in &loaded.config.sources {
        metrics::dead_letters_trimmed(&source.name, 0);
    }
    let history = (store.clone(), history_retention(loaded));
    let others =
        loaded.config.publish.events.retention.map(|kept| trim_events(store, kept)).into_iter().collect();
    let (outbox, board) = (store.outbox(), loops.board().clone());
    loops.room_index(tasks, RoomIndex { outbox: outbox.clone() });
    let retention = Retention { outbox, board, age, history, others, sinks };
    loops.retention(tasks, retention);
    Ok(bus)
}

/// Deletes the application's events that are older than this.
fn trim_events(store: &Store, kept: Duration) -> TrimPage {
    let store = store.clone();
    Arc::new(move |most| {
        let store = store.clone();
        Box::pin(async move {
            let trimmed = chainflume_publish::trim_events(&store, kept, most).await?;
            Ok(trimmed == u64::from(most))
        })
    })
}

fn history_retention(loaded: &Loaded) -> HistoryRetention {
    let config = &loaded.config;
    let strangers = config.sources.iter().filter(|source| source.addresses == AddressSet::Any);
    HistoryRetention {
        strangers: strangers.map(|source| source.name.clone()).collect(),
        ..config.retention.history.clone()
    }
}

struct Relays<'a> {
    loaded: &'a Loaded,
    store: &'a Store,
    wake: CommitSignal,
    loops: &'a mut Loops,
    tasks: &'a mut JoinSet<()>,
    names: Vec<String>,
}

impl Relays<'_> {
    fn deliver_to_bus(&mut self, bus: &Bus) {
        let (parts, bus) = (self.parts(), bus.clone());
        let name = self.name(&InProcess::new(bus.clone()));
        self.loops.own_sink(self.tasks, &name, move || Some(Relay::new(parts(InProcess::new(bus.clone())))));
    }

    fn deliver_to_redis(&mut self, first: RedisSink) {
        let (parts, loaded, name) = (self.parts(), self.loaded.clone(), self.name(&first));
        let mut sink = anew(Some(first), move || redis(&loaded));
        self.loops.sink(self.tasks, &name, move || sink()?.map(|sink| Relay::new(parts(sink))));
    }

    fn deliver_to_webhook(
        &mut self,
        first: WebhookSink,
        settings: DeliverySettings,
        config: &config::Webhook,
        answers: Option<Arc<dyn TakeAnswer>>,
    ) {
        let (parts, loaded, name) = (self.parts(), self.loaded.clone(), self.name(&first));
        let config = config.clone();
        let mut sink = anew(first, move || webhook_sink(&loaded, &config));
        self.loops.sink(self.tasks, &name, move || {
            let sink = sink()?;
            let sink = match &answers {
                Some(answers) => sink.taking(answers.clone()),
                None => sink,
            };
            Some(DeliveryQueue::new(parts(sink), settings.clone()))
        });
    }

    /// What a relay is built of, for each time it is built.
    fn parts<S: Sink>(&self) -> impl Fn(S) -> RelayParts<S> + Send + 'static {
        let (outbox, board, wake) = (self.store.outbox(), self.loops.board().clone(), self.wake.clone());
        move |sink| RelayParts { sink, outbox: outbox.clone(), board: board.clone(), wake: wake.clone() }
    }

    fn name(&mut self, sink: &impl Sink) -> String {
        self.names.push(sink.name().to_owned());
        sink.name().to_owned()
    }
}

/// The configured Redis; nothing is connected yet.
pub(crate) fn redis(loaded: &Loaded) -> Result<Option<RedisSink>, AppError> {
    let Some(settings) = redis_settings(loaded)? else { return Ok(None) };
    let redis = RedisSink::new(settings);
    redis.map(Some).map_err(|error| AppError::Config(format!("{}: {error}", loaded.path.display())))
}

/// The sink of each configured endpoint and its delivery settings; nothing is connected yet.
///
/// # Errors
/// What is wrong with its settings.
pub(crate) fn webhooks(loaded: &Loaded) -> Result<Vec<(WebhookSink, DeliverySettings)>, AppError> {
    loaded
        .config
        .webhooks
        .iter()
        .map(|webhook| Ok((webhook_sink(loaded, webhook)?, webhook.delivery.clone())))
        .collect()
}

/// One of them.
pub(crate) fn webhook_sink(loaded: &Loaded, webhook: &config::Webhook) -> Result<WebhookSink, AppError> {
    let wrong = |key: &str, text: String| {
        let (path, table, name) = (loaded.path.display(), webhook.table(), &webhook.endpoint.name);
        AppError::Config(format!("{path}: {table} \"{name}\": {key}: {text}"))
    };
    let read = |file: &PathBuf| authority(file).map_err(|text| wrong("ca_file", text));
    let ca = webhook.ca_file.as_ref().map(read).transpose()?;
    WebhookSink::new(WebhookSettings { ca, ..webhook.endpoint.clone() }).map_err(|error| {
        let key = if matches!(error, HttpError::Authority(_)) { "ca_file" } else { "url" };
        wrong(key, error.to_string())
    })
}

/// The name of its cursor.
pub(crate) fn sink_name(webhook: &str) -> String {
    format!("webhook:{webhook}")
}
