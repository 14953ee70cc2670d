use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::error::PostgresError;
use super::server::{Launch, PostgresServer};
use super::{log_file, orphan};

/// Pause between two checks of the log's size.
const LOG_CHECK: Duration = Duration::from_secs(10);
/// Pause before the first restart; doubles after each failed one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The task that keeps the server running, and its handle.
#[derive(Debug)]
pub(super) struct ServerSupervisor {
    /// Dropping it ends the task, and the end of the task stops the server.
    stop: DropGuard,
    task: JoinHandle<Result<(), PostgresError>>,
    pid: Arc<AtomicU32>,
    ended: CancellationToken,
}

impl ServerSupervisor {
    /// Returns when the server is ready.
    pub(super) async fn start(launch: Launch) -> Result<Self, PostgresError> {
        let server = launch.up().await?;
        let stop = CancellationToken::new();
        let pid = Arc::new(AtomicU32::new(server.pid()));
        let watch = Watch { launch, stop: stop.clone(), pid: Arc::clone(&pid) };
        let ended = CancellationToken::new();
        let end = ended.clone().drop_guard();
        let task = tokio::spawn(async move {
            let _end = end;
            watch.run(server).await
        });
        Ok(Self { stop: stop.drop_guard(), task, pid, ended })
    }

    /// Cancelled when the server will not be restarted any more.
    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// `None` between two runs of the server.
    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    pub(super) async fn stop(self) -> Result<(), PostgresError> {
        drop(self.stop);
        // The task does not panic. If the runtime cancels it, the leash stops the server.
        self.task.await.unwrap_or(Ok(()))
    }
}

struct Watch {
    launch: Launch,
    stop: CancellationToken,
    /// 0 for none.
    pid: Arc<AtomicU32>,
}

impl Watch {
    async fn run(self, mut server: PostgresServer) -> Result<(), PostgresError> {
        let mut log_check = interval(LOG_CHECK);
        log_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return server.stop().await,
                _ = log_check.tick() => self.bound_log(),
                ended = server.ended() => {
                    let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                    tracing::error!(%status, log = %self.launch.log.display(), "PostgreSQL ended unexpectedly");
                    self.pid.store(0, Ordering::Relaxed);
                    server.release_leash().await;
                    let Some(next) = self.again().await else { return Ok(()) };
                    server = next;
                    self.pid.store(server.pid(), Ordering::Relaxed);
                }
            }
        }
    }

    /// Tries until the server is up; `None` if stopped first. The leash stops the server of an abandoned attempt.
    async fn again(&self) -> Option<PostgresServer> {
        let mut pause = FIRST_PAUSE;
        loop {
            let attempt = async {
                sleep(pause).await;
                orphan::clear(&self.launch.cluster).await?;
                self.launch.up().await
            };
            match self.stop.run_until_cancelled(attempt).await? {
                Ok(server) => return Some(server),
                Err(error) => tracing::error!(error = with_causes(&error), "cannot start PostgreSQL again"),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn bound_log(&self) {
        if let Err(error) = log_file::bound(&self.launch.log) {
            tracing::warn!(error = with_causes(&error), "cannot keep PostgreSQL's log short");
        }
    }
}

fn with_causes(error: &PostgresError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
