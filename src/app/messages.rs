//! What carries messages out: a relay for each sink, what wakes them, and what trims behind them.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::AppError;
use super::loops::{LISTEN_HANG_TIMEOUT, Loops, anew};
use super::parts::{Loaded, redis_settings};
use super::webhooks;
use crate::config;
use chainflume_deliver::relay::{
    CommitSignal, DeliveryQueue, DeliverySettings, Relay, RelayParts, Retention, listen,
};
use chainflume_deliver::sink::{Bus, InProcess, Redis, Sink, Webhook};
use chainflume_ops::health::Board;
use chainflume_ops::supervise::{Loop, Supervisor};
use chainflume_store::Store;

/// Starts everything that carries messages, on a database that is migrated already, and returns where they can be heard
/// in this process: where no Redis is configured.
///
/// # Errors
/// What is wrong with the settings of a sink. One that cannot be reached is waited for.
pub fn carry(
    loaded: &Loaded,
    store: &Store,
    board: &Board,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<Option<Bus>, AppError> {
    let supervisor = Supervisor::new(board, stop);
    start_relays(loaded, store, tasks, &mut Loops::without_leases(&supervisor, board, stop))
}

/// As [`carry`], to sinks that several daemons may share.
pub(super) fn start_relays(
    loaded: &Loaded,
    store: &Store,
    tasks: &mut JoinSet<()>,
    loops: &mut Loops,
) -> Result<Option<Bus>, AppError> {
    let (redis, webhooks) = (redis(loaded)?, webhooks::sinks(loaded)?);
    let (wake, listener) = listen(store.outbox());
    let stop = loops.stop().clone();
    loops.spawn(tasks, Loop::new("listen", LISTEN_HANG_TIMEOUT), move |pulse| {
        listener.clone().run(stop.clone(), pulse)
    });
    let mut relays = Relays { loaded, store, wake, loops, tasks, names: Vec::new() };
    let bus = match redis {
        Some(redis) => {
            relays.carry_to_redis(redis);
            None
        }
        None => {
            let bus = Bus::default();
            relays.carry_to_bus(&bus);
            Some(bus)
        }
    };
    for ((webhook, settings), config) in webhooks.into_iter().zip(&loaded.config.webhooks) {
        relays.carry_to_webhook(webhook, settings, config);
    }
    let sinks = relays.names;
    let age = loaded.config.outbox.retention;
    let retention = Retention { outbox: store.outbox(), board: loops.board().clone(), age, sinks };
    loops.retention(tasks, retention);
    Ok(bus)
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
    fn carry_to_bus(&mut self, bus: &Bus) {
        let (parts, bus) = (self.parts(), bus.clone());
        let name = self.name(&InProcess::new(bus.clone()));
        self.loops.own_sink(self.tasks, &name, move || Some(Relay::new(parts(InProcess::new(bus.clone())))));
    }

    fn carry_to_redis(&mut self, first: Redis) {
        let (parts, loaded, name) = (self.parts(), self.loaded.clone(), self.name(&first));
        let mut sink = anew(Some(first), move || redis(&loaded));
        self.loops.sink(self.tasks, &name, move || sink()?.map(|sink| Relay::new(parts(sink))));
    }

    fn carry_to_webhook(&mut self, first: Webhook, settings: DeliverySettings, config: &config::Webhook) {
        let (parts, loaded, name) = (self.parts(), self.loaded.clone(), self.name(&first));
        let config = config.clone();
        let mut sink = anew(first, move || webhooks::sink(&loaded, &config));
        self.loops
            .sink(self.tasks, &name, move || Some(DeliveryQueue::new(parts(sink()?), settings.clone())));
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
pub(super) fn redis(loaded: &Loaded) -> Result<Option<Redis>, AppError> {
    let Some(settings) = redis_settings(loaded)? else { return Ok(None) };
    let redis = Redis::new(settings);
    redis.map(Some).map_err(|error| AppError::Config(format!("{}: {error}", loaded.path.display())))
}
