//! Shutdown: a signal requests it, each task finishes its step, and a deadline ends the wait.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::telemetry;

/// Default deadline for the tasks. The service manager must wait longer than this (`TimeoutStopSec` in the unit).
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// A token that the first SIGTERM or SIGINT cancels. A second signal ends the process at once, with the exit code that
/// a shell reports for a process killed by it (143 or 130). This is safe: no data is lost.
///
/// Must be called within a Tokio runtime, once.
///
/// # Errors
/// If the system does not allow a signal handler.
pub fn on_signal() -> io::Result<CancellationToken> {
    let mut signals =
        Signals { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? };
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let first = signals.next().await;
        tracing::info!(signal = first.name, "stopping; a second signal ends the process at once");
        cancelled.cancel();
        let second = signals.next().await;
        tracing::warn!(signal = second.name, "a second signal ends the process");
        telemetry::flush(LAST_LINE);
        std::process::exit(second.exit_code);
    });
    Ok(token)
}

/// Maximum time to write the log line of a second signal.
const LAST_LINE: Duration = Duration::from_millis(100);

struct Signals {
    term: Signal,
    int: Signal,
}

struct ReceivedSignal {
    name: &'static str,
    exit_code: i32,
}

impl Signals {
    async fn next(&mut self) -> ReceivedSignal {
        tokio::select! {
            _ = self.term.recv() => ReceivedSignal { name: "SIGTERM", exit_code: 143 },
            _ = self.int.recv() => ReceivedSignal { name: "SIGINT", exit_code: 130 },
        }
    }
}

/// How the tasks ended.
#[derive(Debug, PartialEq, Eq)]
pub struct DrainReport<T> {
    /// Their results, in the order in which they ended.
    pub finished: Vec<T>,
    /// How many panicked.
    pub panicked: usize,
    /// How many were aborted at the deadline.
    pub abandoned: usize,
}

impl<T> DrainReport<T> {
    /// Whether every task ended without a panic or an abort.
    pub fn is_clean(&self) -> bool {
        self.panicked == 0 && self.abandoned == 0
    }
}

/// Waits until all `tasks` have ended, for `deadline` at most; then aborts the rest at their next await.
///
/// The caller has requested the stop already. Each task finishes its step first (a commit is never aborted), so the
/// wait is needed.
pub async fn drain<T: 'static>(deadline: Duration, mut tasks: JoinSet<T>) -> DrainReport<T> {
    let mut drained = DrainReport { finished: Vec::new(), panicked: 0, abandoned: 0 };
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(value) => drained.finished.push(value),
                Err(_) => drained.panicked += 1,
            }
        }
    };
    if timeout(deadline, all).await.is_err() {
        drained.abandoned = tasks.len();
        tracing::warn!(tasks = drained.abandoned, ?deadline, "tasks did not finish before the deadline");
        tasks.shutdown().await;
    }
    drained
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process};
    use tokio::time::Instant;

    use super::*;

    const CHILD: &str = "CHAINFLUME_TEST_SIGNALS";

    #[tokio::test]
    #[ignore = "a process of its own for the test beside it, which starts it"]
    async fn a_process_that_drains_for_ever() {
        if std::env::var_os(CHILD).is_some() {
            let asked = on_signal().unwrap();
            println!("up");
            asked.cancelled().await;
            println!("draining");
            std::future::pending::<()>().await;
        }
    }

    #[test]
    fn the_first_signal_asks_and_the_second_ends_at_once() {
        for (signal, exit_code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--ignored",
                    "--exact",
                    "--nocapture",
                    "shutdown::tests::a_process_that_drains_for_ever",
                ])
                .env(CHILD, "1")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
            for word in ["up", "draining"] {
                assert!(lines.any(|line| line.ends_with(word)), "{word}");
                kill_process(pid, signal).unwrap();
            }
            assert_eq!(child.wait().unwrap().code(), Some(exit_code));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_finish_in_time_are_waited_for() {
        let mut tasks = JoinSet::new();
        for seconds in [3, 1, 2] {
            tasks.spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                seconds
            });
        }
        let drained = drain(DRAIN_DEADLINE, tasks).await;
        assert_eq!(drained, DrainReport { finished: vec![1, 2, 3], panicked: 0, abandoned: 0 });
        assert!(drained.is_clean());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_hangs_is_cut_off_at_the_deadline() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async { 1 });
        tasks.spawn(std::future::pending());
        tasks.spawn(async { panic!("on purpose") });
        let began = Instant::now();
        let drained = drain(DRAIN_DEADLINE, tasks).await;
        assert_eq!(drained, DrainReport { finished: vec![1], panicked: 1, abandoned: 1 });
        assert_eq!(began.elapsed().as_secs(), DRAIN_DEADLINE.as_secs());
    }
}
