use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use tokio::time::interval;

/// What a test does to a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopFault {
    /// Nothing.
    None,
    /// It panics.
    Panic,
    /// It does nothing for as long as this is said.
    Hang,
    /// It returns.
    Return,
}

/// How the tests hurt loops. It reaches them as an argument of a function of the library, and no configuration, variable or
/// argument of the program leads to it.
#[derive(Clone)]
pub struct LoopFaults {
    /// What to do to the loop of this name, asked again and again.
    pub what: Arc<dyn Fn(&str) -> LoopFault + Send + Sync>,
    /// A loop hangs after so long at the latest, so that a test has not to wait for minutes.
    pub patience: Duration,
}

impl fmt::Debug for LoopFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hurts").field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// How tasks beside loops are hurt. They are started deep inside the loops, where no argument of the library reaches.
static TASKS: OnceLock<LoopFaults> = OnceLock::new();

/// Hurts tasks beside loops from now on; the first call counts.
pub(super) fn tasks(faults: &LoopFaults) {
    let _first = TASKS.set(faults.clone());
}

/// How tasks beside loops are hurt, if a test does.
pub(super) fn of_tasks() -> Option<&'static LoopFaults> {
    TASKS.get()
}

/// The loop is looked at so often, whatever it waits for.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a loop, and hurts it where it waits. `None` where a test makes it return.
pub(super) async fn run<T>(faults: &LoopFaults, name: &str, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut look) = (pin!(work), interval(LOOK));
    poll_fn(|cx| {
        while look.poll_tick(cx).is_ready() {}
        match (faults.what)(name) {
            LoopFault::None => work.as_mut().poll(cx).map(Some),
            LoopFault::Panic => panic!("{name} is hurt on purpose"),
            LoopFault::Hang => Poll::Pending,
            LoopFault::Return => Poll::Ready(None),
        }
    })
    .await
}
