//! What carries messages out: a relay for each sink, what wakes them, and what trims behind them.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::AppError;
use super::parts::{Loaded, redis_settings};
use super::turns::{LISTEN_HUNG, Turns, anew};
use super::webhooks;
use crate::config;
use chainflume_deliver::relay::{Courier, CourierSettings, Parts, Relay, Retention, Wake, listen};
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
    carry_in_turn(loaded, store, tasks, &mut Turns::alone(&supervisor, board, stop))
}

/// As [`carry`], to sinks that several daemons may share.
pub(super) fn carry_in_turn(
    loaded: &Loaded,
    store: &Store,
    tasks: &mut JoinSet<()>,
    turns: &mut Turns,
) -> Result<Option<Bus>, AppError> {
    let (redis, webhooks) = (redis(loaded)?, webhooks::sinks(loaded)?);
    let (wake, listener) = listen(store.outbox());
    let stop = turns.stop().clone();
    turns.keep(tasks, Loop::new("listen", LISTEN_HUNG), move |pulse| {
        listener.clone().run(stop.clone(), pulse)
    });
    let mut relays = Relays { loaded, store, wake, turns, tasks, names: Vec::new() };
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
    let retention = Retention { outbox: store.outbox(), board: turns.board().clone(), age, sinks };
    turns.retention(tasks, retention);
    Ok(bus)
}

struct Relays<'a> {
    loaded: &'a Loaded,
    store: &'a Store,
    wake: Wake,
    turns: &'a mut Turns,
    tasks: &'a mut JoinSet<()>,
    names: Vec<String>,
}

impl Relays<'_> {
    fn carry_to_bus(&mut self, bus: &Bus) {
        let (parts, bus) = (self.parts(), bus.clone());
        let name = self.name(&InProcess::new(bus.clone()));
        self.turns.own_sink(self.tasks, &name, move || Some(Relay::new(parts(InProcess::new(bus.clone())))));
    }

    fn carry_to_redis(&mut self, first: Redis) {
        let (parts, loaded, name) = (self.parts(), self.loaded.clone(), self.name(&first));
        let mut sink = anew(Some(first), move || redis(&loaded));
        self.turns.sink(self.tasks, &name, move || sink()?.map(|sink| Relay::new(parts(sink))));
    }

    fn carry_to_webhook(&mut self, first: Webhook, settings: CourierSettings, config: &config::Webhook) {
        let (parts, loaded, name) = (self.parts(), self.loaded.clone(), self.name(&first));
        let config = config.clone();
        let mut sink = anew(first, move || webhooks::sink(&loaded, &config));
        self.turns.sink(self.tasks, &name, move || Some(Courier::new(parts(sink()?), settings.clone())));
    }

    /// What a relay is built of, for each time it is built.
    fn parts<S: Sink>(&self) -> impl Fn(S) -> Parts<S> + Send + 'static {
        let (outbox, board, wake) = (self.store.outbox(), self.turns.board().clone(), self.wake.clone());
        move |sink| Parts { sink, outbox: outbox.clone(), board: board.clone(), wake: wake.clone() }
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
