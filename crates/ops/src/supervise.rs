//! Supervises every loop of the daemon. A loop that panics or returns on its own is logged and counted, turns readiness
//! red at once and is started again. A loop that cannot be started again ends the process. A loop that hangs shows by
//! its [`Heartbeat`]: readiness is red, and the watchdog of the service manager gets no signal until the loop turns
//! again.

mod beside;
mod fault;
mod isolated;

use std::any::Any;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::health::{Board, HUNG_AFTER, Heartbeat, TurnSource};
use crate::metrics;
pub use beside::{Beside, Turns};
pub use fault::{LoopFault, LoopFaults};
pub use isolated::{WorkFailure, exposed, hang_limit, isolated};

/// Pause before a failed loop is started again; doubles each time, up to [`LONGEST`]. The loop repeats its work from
/// the start, so there is no hurry, and a permanent fault must not fill the log.
const FIRST: Duration = Duration::from_secs(1);
/// The longest such pause: a loop whose fault is gone runs within a minute.
const LONGEST: Duration = Duration::from_secs(60);
/// A loop that ran this long before it failed starts with [`FIRST`] again.
const STEADY: Duration = Duration::from_mins(5);

/// A supervised loop.
#[derive(Clone, Debug)]
pub struct Loop {
    /// In readiness, logs and metrics: `chain mainnet`, `sink redis`, `leases`.
    pub name: String,
    /// The loop hangs if it has not turned for this long: longer than any wait in it.
    pub hung_after: Duration,
    /// Other places where the loop shows that it turns, besides its [`Heartbeat`].
    pub clock: TurnSource,
}

impl Loop {
    /// A loop of this name, which hangs if it has not turned for this long.
    pub fn new(name: impl Into<String>, hung_after: Duration) -> Self {
        Self { name: name.into(), hung_after, clock: TurnSource::Heartbeat }
    }

    /// The loop of a chain.
    pub fn of_chain(name: &str) -> Self {
        Self { clock: TurnSource::Chain(name.to_owned()), ..Self::new(format!("chain {name}"), HUNG_AFTER) }
    }

    /// The loop of a sink.
    pub fn of_sink(name: &str) -> Self {
        Self { clock: TurnSource::Sink(name.to_owned()), ..Self::new(format!("sink {name}"), HUNG_AFTER) }
    }
}

/// Supervises loops. Clones are the same supervisor.
#[derive(Clone)]
pub struct Supervisor {
    board: Board,
    stop: CancellationToken,
    fallen: Arc<OnceLock<String>>,
    faults: Option<LoopFaults>,
}

/// How a loop failed.
enum LoopFailure {
    Panicked(Box<dyn Any + Send>),
    Returned,
}

impl LoopFailure {
    /// The word in metrics and reasons.
    fn word(&self) -> &'static str {
        match self {
            Self::Panicked(_) => "panicked",
            Self::Returned => "returned",
        }
    }
}

impl Supervisor {
    /// Reports on `board`, and cancels `stop` when the process must end.
    pub fn new(board: &Board, stop: &CancellationToken) -> Self {
        Self { board: board.clone(), stop: stop.clone(), fallen: Arc::default(), faults: None }
    }

    /// For tests: loops, and all tasks beside loops in this process from now on, fail and hang as `faults` defines. No
    /// configuration leads here.
    pub fn with_faults(self, faults: Option<LoopFaults>) -> Self {
        faults.iter().for_each(fault::tasks);
        Self { faults, ..self }
    }

    /// The loop that ended the process, and how it failed.
    pub fn fallen(&self) -> Option<&str> {
        self.fallen.get().map(String::as_str)
    }

    /// Runs a loop until `stop`, and starts it again whenever it fails. `start` builds all state anew, so that no state
    /// of a failed run is used again.
    ///
    /// # Panics
    /// When the loop panics after `stop`: the caller that drains counts it.
    pub fn keep<F, W>(
        &self,
        this: Loop,
        stop: CancellationToken,
        mut start: F,
    ) -> impl Future<Output = ()> + Send + use<F, W>
    where
        F: FnMut(Heartbeat) -> W + Send,
        W: Future<Output = ()> + Send,
    {
        let (supervisor, heartbeat) = (self.clone(), self.begin(&this));
        async move {
            let mut pause = FIRST;
            loop {
                let started = Instant::now();
                let Some(failure) = supervisor.run_once(&this, &stop, || start(heartbeat.clone())).await
                else {
                    return;
                };
                if started.elapsed() >= STEADY {
                    pause = FIRST;
                }
                supervisor.failed(&this, &failure, Some(pause));
                if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return supervisor.board.loop_ends(&this.name);
                }
                supervisor.board.loop_again(&this.name, pause * 2);
                pause = (pause * 2).min(LONGEST);
            }
        }
    }

    /// Runs a loop that cannot be started again. If it fails, the process must end, and [`Self::fallen`] returns the
    /// reason.
    ///
    /// # Panics
    /// As [`Self::keep`].
    pub fn end_with<F, W>(
        &self,
        this: Loop,
        stop: CancellationToken,
        start: F,
    ) -> impl Future<Output = ()> + Send + use<F, W>
    where
        F: FnOnce(Heartbeat) -> W + Send,
        W: Future<Output = ()> + Send,
    {
        let (supervisor, heartbeat) = (self.clone(), self.begin(&this));
        async move {
            if let Some(failure) = supervisor.run_once(&this, &stop, || start(heartbeat)).await {
                supervisor.failed(&this, &failure, None);
                let _first = supervisor.fallen.set(format!("{} {}", this.name, failure.word()));
                supervisor.stop.cancel();
            }
        }
    }

    /// Registers the loop before it first runs, so that a loop that never turns is noticed.
    fn begin(&self, this: &Loop) -> Heartbeat {
        metrics::loop_starts(&this.name);
        let hang_limit =
            self.faults.as_ref().map_or(this.hung_after, |faults| faults.hung_after.min(this.hung_after));
        self.board.loop_starts(&this.name, this.clock.clone(), hang_limit)
    }

    /// One run of a loop; `None` when it ended after `stop`.
    async fn run_once<W: Future<Output = ()>>(
        &self,
        this: &Loop,
        stop: &CancellationToken,
        start: impl FnOnce() -> W,
    ) -> Option<LoopFailure> {
        let work = async {
            match &self.faults {
                None => Box::pin(start()).await,
                Some(faults) => {
                    let _returned = fault::run(faults, &this.name, Box::pin(start())).await;
                }
            }
        };
        let failure = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(()) => LoopFailure::Returned,
            Err(panic) => LoopFailure::Panicked(panic),
        };
        if !stop.is_cancelled() {
            return Some(failure);
        }
        self.board.loop_ends(&this.name);
        if let LoopFailure::Panicked(panic) = failure {
            metrics::loop_ended(&this.name, "panicked");
            resume_unwind(panic);
        }
        None
    }

    fn failed(&self, this: &Loop, failure: &LoopFailure, again_in: Option<Duration>) {
        let (name, how) = (&this.name, failure.word());
        metrics::loop_ended(name, how);
        match again_in {
            Some(pause) => {
                self.board.loop_failed(name, format!("{how} and is started again"));
                tracing::error!(loop_name = %name, how, ?pause, "a loop of the daemon failed and is started again; report it");
            }
            None => {
                self.board.loop_failed(name, format!("{how} and cannot be started again; the daemon ends"));
                tracing::error!(loop_name = %name, how, "a loop of the daemon failed and cannot be started again; the daemon ends");
            }
        }
    }
}

/// Ticks of a loop: at once, and then every `period`. A tick that is late delays the ones after it, so that a slow round is not followed by
/// several in a row.
pub fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests;
