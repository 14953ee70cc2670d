//! What carries messages out: a relay for each sink, what wakes them, and what trims behind them.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::AppError;
use super::parts::{Loaded, redis_settings};
use super::turns::Turns;
use super::webhooks;
use crate::health::Board;
use crate::relay::{Courier, CourierSettings, Parts, Relay, Retention, Wake, listen};
use crate::sink::{Bus, InProcess, Redis, Sink};
use crate::store::Store;

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
    carry_in_turn(loaded, store, tasks, &mut Turns::alone(board, stop))
}

/// As [`carry`], to sinks that several daemons may share.
pub(super) fn carry_in_turn(
    loaded: &Loaded,
    store: &Store,
    tasks: &mut JoinSet<()>,
    turns: &mut Turns,
) -> Result<Option<Bus>, AppError> {
    let (redis, webhooks) = (redis(loaded)?, webhooks::sinks(loaded)?);
    let (wake, listening) = listen(store.clone(), turns.stop().clone());
    tasks.spawn(listening);
    let mut relays = Relays { store, wake, turns, tasks, names: Vec::new() };
    let bus = match redis {
        Some(redis) => {
            relays.spawn_led(redis);
            None
        }
        None => {
            let bus = Bus::default();
            relays.spawn(InProcess::new(bus.clone()));
            Some(bus)
        }
    };
    for (webhook, settings) in webhooks {
        relays.spawn_courier(webhook, settings);
    }
    let sinks = relays.names;
    let age = loaded.config.outbox.retention;
    let retention = Retention { store: store.clone(), board: turns.board().clone(), age, sinks };
    turns.retention(tasks, retention);
    Ok(bus)
}

struct Relays<'a> {
    store: &'a Store,
    wake: Wake,
    turns: &'a mut Turns,
    tasks: &'a mut JoinSet<()>,
    names: Vec<String>,
}

impl Relays<'_> {
    /// For a sink of this process alone: every daemon carries to its own.
    fn spawn(&mut self, sink: impl Sink) {
        let parts = self.parts(sink);
        self.tasks.spawn(Relay::new(parts).run(self.turns.stop().clone()));
    }

    /// For a sink that daemons share: one of them carries.
    fn spawn_led(&mut self, sink: impl Sink) {
        let relay = Relay::new(self.parts(sink));
        self.turns.sink(self.tasks, relay);
    }

    fn spawn_courier(&mut self, sink: impl Sink + Clone + Sync, settings: CourierSettings) {
        let courier = Courier::new(self.parts(sink), settings);
        self.turns.sink(self.tasks, courier);
    }

    fn parts<S: Sink>(&mut self, sink: S) -> Parts<S> {
        self.names.push(sink.name().to_owned());
        let (store, board, wake) = (self.store.clone(), self.turns.board().clone(), self.wake.clone());
        Parts { sink, store, board, wake }
    }
}

/// The configured Redis; nothing is connected yet.
pub(super) fn redis(loaded: &Loaded) -> Result<Option<Redis>, AppError> {
    let Some(settings) = redis_settings(loaded)? else { return Ok(None) };
    let redis = Redis::new(settings);
    redis.map(Some).map_err(|error| AppError::Config(format!("{}: {error}", loaded.path.display())))
}
