//! Tasks beside a loop, for which the loop does not wait. A failure of such a task counts as a failure of the loop: its
//! supervisor logs and counts it, turns readiness red, and starts the loop again with all its tasks.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{Loop, fault, hang_limit};
use crate::health::wait_beating;

/// A task beside a loop. Dropping it ends the task.
pub struct Beside {
    name: String,
    /// `None` once its end was observed.
    task: Option<AbortOnDropHandle<()>>,
    turns: Turns,
    hung_after: Duration,
}

/// The sign of life of a task beside a loop. Clones are the same task.
#[derive(Clone)]
pub struct Turns(Arc<Mutex<Instant>>);

impl Turns {
    /// Records that the task turns.
    pub fn turn(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits for a future that may take any time, and turns meanwhile. Only for waiting: work that hangs must not
    /// appear alive.
    pub async fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        let done = wait_beating(|| self.turn(), what).await;
        self.turn();
        done
    }

    fn since(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

impl Beside {
    /// Starts a task. Needs a Tokio runtime.
    pub fn start<W>(this: Loop, work: impl FnOnce(Turns) -> W) -> Self
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let Loop { name, hung_after, .. } = this;
        let turns = Turns(Arc::new(Mutex::new(Instant::now())));
        let work = work(turns.clone());
        let task = match fault::of_tasks() {
            None => tokio::spawn(work),
            Some(faults) => {
                let of = name.clone();
                tokio::spawn(async move {
                    let _returned = fault::run(faults, &of, Box::pin(work)).await;
                })
            }
        };
        Self { name, task: Some(AbortOnDropHandle::new(task)), turns, hung_after: hang_limit(hung_after) }
    }

    /// Checks a task that must never return.
    ///
    /// # Panics
    /// When it panicked, returned or hangs.
    pub fn check(&mut self) {
        assert!(!self.has_ended(), "the task `{}` returned although nothing stopped it", self.name);
    }

    /// Whether it has returned without a failure.
    ///
    /// # Panics
    /// When it panicked or hangs.
    pub fn has_ended(&mut self) -> bool {
        let Some(task) = &mut self.task else { return true };
        match task.now_or_never() {
            Some(ended) => {
                self.task = None;
                rethrow(ended);
                true
            }
            None => {
                let since = self.turns.since();
                assert!(
                    since <= self.hung_after,
                    "the task `{}` has not turned for {} s; its loop is started again",
                    self.name,
                    since.as_secs()
                );
                false
            }
        }
    }

    /// Waits for its end. May be cancelled and called again.
    ///
    /// # Panics
    /// When it panicked.
    pub async fn ended(&mut self) {
        if let Some(task) = &mut self.task {
            let ended = task.await;
            self.task = None;
            rethrow(ended);
        }
    }
}

/// Repeats the panic of a task.
fn rethrow(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        resume_unwind(error.into_panic());
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn this(hung_after: Duration) -> Loop {
        Loop::new("websocket dev", hung_after)
    }

    const LONG: Duration = Duration::from_mins(10);

    /// Checks until it panics, and returns the text of the panic; for at most a minute.
    async fn panic_text(mut task: Beside) -> String {
        for _ in 0..6_000 {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| task.check())) {
                let text = panic.downcast_ref::<String>().cloned();
                return text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).expect("text");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never fails")
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_beside_the_loop_is_the_loops() {
        let mut task = Beside::start(this(LONG), |_| std::future::pending());
        task.check();
        assert_eq!(
            panic_text(Beside::start(this(LONG), |_| async { panic!("on purpose") })).await,
            "on purpose"
        );
        let returned = panic_text(Beside::start(this(LONG), |_| async {})).await;
        assert_eq!(returned, "the task `websocket dev` returned although nothing stopped it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hung_task_beside_the_loop_is_noticed_and_a_waiting_one_not() {
        let short = Duration::from_millis(2_500);
        let hangs = Beside::start(this(short), |_| std::future::pending());
        let mut waits =
            Beside::start(this(short), |turns| async move { turns.wait(std::future::pending()).await });
        let text = panic_text(hangs).await;
        assert!(text.starts_with("the task `websocket dev` has not turned for 2 s"), "{text}");
        waits.check();
    }

    #[tokio::test]
    async fn a_task_that_may_end_is_waited_for() {
        let mut task = Beside::start(this(LONG), |_| async {});
        task.ended().await;
        assert!(task.has_ended());
        let mut panics = Beside::start(this(LONG), |_| async { panic!("on purpose") });
        assert!(AssertUnwindSafe(panics.ended()).catch_unwind().await.is_err());
    }
}
