//! Every loop of the daemon under supervision: one that panics, or returns although nobody asked it to, is logged and counted,
//! turns readiness red at once and is started again, or ends the process where it cannot be. One that hangs shows by its
//! [`Pulse`]: readiness is red, and the watchdog of the service manager is not fed until it turns again.

mod beside;
mod hurt;

use std::any::Any;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::health::{Board, Clock, HUNG_AFTER, Pulse};
use crate::metrics;
pub use beside::{Beside, Turns};
pub use hurt::{Hurt, Hurts};

/// Before a loop that failed is started again; twice as long each time, up to [`LONGEST`]. What it was about to do is done again from
/// the start, so there is no hurry, and a fault that comes back at once must not fill the log.
const FIRST: Duration = Duration::from_secs(1);
/// The longest such pause: a loop whose cause is gone runs within a minute.
const LONGEST: Duration = Duration::from_secs(60);
/// A loop that ran for so long before it failed begins with [`FIRST`] again.
const STEADY: Duration = Duration::from_mins(5);

/// A loop, to the supervisor.
#[derive(Clone, Debug)]
pub struct Loop {
    /// In readiness, logs and metrics: `chain mainnet`, `sink redis`, `leases`.
    pub name: String,
    /// One that has not turned for so long hangs: more than anything it waits for takes.
    pub hung_after: Duration,
    /// Where it shows that it turns, besides its [`Pulse`].
    pub clock: Clock,
}

impl Loop {
    /// A loop of this name, which hangs when it has not turned for so long.
    pub fn new(name: impl Into<String>, hung_after: Duration) -> Self {
        Self { name: name.into(), hung_after, clock: Clock::Pulse }
    }

    /// That of a chain.
    pub fn of_chain(name: &str) -> Self {
        Self { clock: Clock::Chain(name.to_owned()), ..Self::new(format!("chain {name}"), HUNG_AFTER) }
    }

    /// That of a sink.
    pub fn of_sink(name: &str) -> Self {
        Self { clock: Clock::Sink(name.to_owned()), ..Self::new(format!("sink {name}"), HUNG_AFTER) }
    }
}

/// Supervises loops. Clones are of the same.
#[derive(Clone)]
pub struct Supervisor {
    board: Board,
    stop: CancellationToken,
    fallen: Arc<OnceLock<String>>,
    hurts: Option<Hurts>,
}

/// How a loop ended that should not have.
enum Failure {
    Panicked(Box<dyn Any + Send>),
    Returned,
}

impl Failure {
    /// The word in metrics and reasons.
    fn word(&self) -> &'static str {
        match self {
            Self::Panicked(_) => "panicked",
            Self::Returned => "returned",
        }
    }
}

impl Supervisor {
    /// Writes on `board`, and cancels `stop` when the process has to end.
    pub fn new(board: &Board, stop: &CancellationToken) -> Self {
        Self { board: board.clone(), stop: stop.clone(), fallen: Arc::default(), hurts: None }
    }

    /// For tests: the loops, and from now on all tasks beside loops in this process, fail and hang as `hurts` says. Nothing that a
    /// user can configure leads here.
    pub fn hurt_by(self, hurts: Option<Hurts>) -> Self {
        hurts.iter().for_each(hurt::tasks);
        Self { hurts, ..self }
    }

    /// The loop that ended the process, and how it failed.
    pub fn fallen(&self) -> Option<&str> {
        self.fallen.get().map(String::as_str)
    }

    /// Runs a loop until `stop`, and starts it again whenever it fails. `start` builds all its state anew, so that nothing
    /// a failure left half done is used again.
    ///
    /// # Panics
    /// When the loop panics after `stop`: whoever drains counts it.
    pub fn keep<F, W>(
        &self,
        this: Loop,
        stop: CancellationToken,
        mut start: F,
    ) -> impl Future<Output = ()> + Send + use<F, W>
    where
        F: FnMut(Pulse) -> W + Send,
        W: Future<Output = ()> + Send,
    {
        let (supervisor, pulse) = (self.clone(), self.begin(&this));
        async move {
            let mut pause = FIRST;
            loop {
                let started = Instant::now();
                let Some(failure) = supervisor.run_once(&this, &stop, || start(pulse.clone())).await else {
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

    /// Runs a loop that cannot be started again: if it fails, the process is to end, and [`Self::fallen`] says why.
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
        F: FnOnce(Pulse) -> W + Send,
        W: Future<Output = ()> + Send,
    {
        let (supervisor, pulse) = (self.clone(), self.begin(&this));
        async move {
            if let Some(failure) = supervisor.run_once(&this, &stop, || start(pulse)).await {
                supervisor.failed(&this, &failure, None);
                let _first = supervisor.fallen.set(format!("{} {}", this.name, failure.word()));
                supervisor.stop.cancel();
            }
        }
    }

    /// Puts it on the board before it first runs, so that it is missed if it never does.
    fn begin(&self, this: &Loop) -> Pulse {
        metrics::loop_starts(&this.name);
        let patience =
            self.hurts.as_ref().map_or(this.hung_after, |hurts| hurts.patience.min(this.hung_after));
        self.board.loop_starts(&this.name, this.clock.clone(), patience)
    }

    /// One run of a loop; `None` when it ended because it was asked to.
    async fn run_once<W: Future<Output = ()>>(
        &self,
        this: &Loop,
        stop: &CancellationToken,
        start: impl FnOnce() -> W,
    ) -> Option<Failure> {
        let work = async {
            match &self.hurts {
                None => Box::pin(start()).await,
                Some(hurts) => hurt::run(hurts, &this.name, Box::pin(start())).await,
            }
        };
        let failure = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(()) => Failure::Returned,
            Err(panic) => Failure::Panicked(panic),
        };
        if !stop.is_cancelled() {
            return Some(failure);
        }
        self.board.loop_ends(&this.name);
        if let Failure::Panicked(panic) = failure {
            metrics::loop_ended(&this.name, "panicked");
            resume_unwind(panic);
        }
        None
    }

    fn failed(&self, this: &Loop, failure: &Failure, again_in: Option<Duration>) {
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

#[cfg(test)]
mod tests;
