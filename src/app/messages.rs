//! What carries messages out: a relay for each sink, what wakes them, and what trims behind them.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::AppError;
use super::parts::{Loaded, redis_settings};
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
    let (redis, webhooks) = (redis(loaded)?, webhooks::sinks(loaded)?);
    let (wake, listening) = listen(store.clone(), stop.clone());
    tasks.spawn(listening);
    let mut relays = Relays { store, board, wake, stop, tasks, names: Vec::new() };
    let bus = match redis {
        Some(redis) => {
            relays.spawn(redis);
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
    let retention = Retention { store: store.clone(), board: board.clone(), age, sinks };
    tasks.spawn(retention.run(stop.clone()));
    Ok(bus)
}

struct Relays<'a> {
    store: &'a Store,
    board: &'a Board,
    wake: Wake,
    stop: &'a CancellationToken,
    tasks: &'a mut JoinSet<()>,
    names: Vec<String>,
}

impl Relays<'_> {
    fn spawn(&mut self, sink: impl Sink) {
        let parts = self.parts(sink);
        self.tasks.spawn(Relay::new(parts).run(self.stop.clone()));
    }

    fn spawn_courier(&mut self, sink: impl Sink + Clone + Sync, settings: CourierSettings) {
        let parts = self.parts(sink);
        self.tasks.spawn(Courier::new(parts, settings).run(self.stop.clone()));
    }

    fn parts<S: Sink>(&mut self, sink: S) -> Parts<S> {
        self.names.push(sink.name().to_owned());
        let (store, board, wake) = (self.store.clone(), self.board.clone(), self.wake.clone());
        Parts { sink, store, board, wake }
    }
}

/// The configured Redis; nothing is connected yet.
pub(super) fn redis(loaded: &Loaded) -> Result<Option<Redis>, AppError> {
    let Some(settings) = redis_settings(loaded)? else { return Ok(None) };
    let redis = Redis::new(settings);
    redis.map(Some).map_err(|error| AppError::Config(format!("{}: {error}", loaded.path.display())))
}
