use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use tokio::time::interval;

/// The fault that a test injects into a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopFault {
    /// No fault.
    None,
    /// It panics.
    Panic,
    /// It hangs while the test returns this fault.
    Hang,
    /// It returns.
    Return,
}

/// How tests inject faults into loops. An argument of a library function passes it; no configuration, variable or
/// argument of the program does.
#[derive(Clone)]
pub struct LoopFaults {
    /// Returns the fault for the loop of this name; called again and again.
    pub what: Arc<dyn Fn(&str) -> LoopFault + Send + Sync>,
    /// Maximum time after which a loop counts as hung, so that a test need not wait for minutes.
    pub hung_after: Duration,
}

impl fmt::Debug for LoopFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopFaults").field("hung_after", &self.hung_after).finish_non_exhaustive()
    }
}

/// Faults for tasks beside loops. Those start deep inside the loops, where no argument of the library reaches.
static TASKS: OnceLock<LoopFaults> = OnceLock::new();

/// Injects faults into tasks beside loops from now on; only the first call counts.
pub(super) fn tasks(faults: &LoopFaults) {
    let _first = TASKS.set(faults.clone());
}

/// The injected faults for tasks beside loops, if any.
pub(super) fn of_tasks() -> Option<&'static LoopFaults> {
    TASKS.get()
}

/// Pause between two checks of the fault, whatever the loop waits for.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a loop, and injects faults where it waits. `None` where a test makes it return.
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
