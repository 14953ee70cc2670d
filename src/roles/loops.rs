//! Starts the loops. Where several instances share a database, each loop that writes works under a lease.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::database::OpenDatabase;
use super::parts::{Loaded, lease_settings};
use crate::config;
use crate::lease::{LeaseGuard, LeaseHandle, LeaseManager};
use chainflume_db::{OUTBOX_LEASE, audit_lease, chain_lease, sink_lease};
use chainflume_deliver::relay::{Retention, SinkDelivery};
use chainflume_index::ChainIndexer;
use chainflume_ops::health::{Board, ChainState, Heartbeat};
use chainflume_ops::supervise::{Loop, Supervisor};

/// Starts loops, each under a supervisor, and under its lease where there are leases.
pub(crate) struct Loops {
    manager: Option<LeaseManager>,
    supervisor: Supervisor,
    board: Board,
    stop: CancellationToken,
}

/// The lease handle of a loop; `None` without leases.
type Handle = Option<Arc<LeaseHandle>>;

/// How often a standby loop reports that it is alive: much more often than the check for loops that hang.
const STANDBY_HEALTH_INTERVAL: Duration = Duration::from_millis(250);
/// An audit waits for a node as long as the node asks for, five minutes at most, and then for its answer.
const AUDIT_HANG_TIMEOUT: Duration = Duration::from_mins(15);
/// Trimming waits for a database that is busy or restarts.
const TRIM_HANG_TIMEOUT: Duration = Duration::from_mins(2);
/// Listening waits for a connection, and for nothing else without a beat.
pub(crate) const LISTEN_HANG_TIMEOUT: Duration = Duration::from_mins(1);

impl Loops {
    /// Without leases: no other instance is there.
    pub(crate) fn without_leases(supervisor: &Supervisor, board: &Board, stop: &CancellationToken) -> Self {
        Self { manager: None, supervisor: supervisor.clone(), board: board.clone(), stop: stop.clone() }
    }

    /// With leases in the database.
    pub(crate) fn with_leases(
        loaded: &Loaded,
        database: &OpenDatabase,
        (supervisor, board): (&Supervisor, &Board),
        stop: &CancellationToken,
    ) -> Self {
        let settings = lease_settings(&loaded.config, database.private.is_some());
        let manager = LeaseManager::new(settings, &database.store, board.clone());
        Self { manager: Some(manager), ..Self::without_leases(supervisor, board, stop) }
    }

    /// The lease manager, once every loop has its handle.
    pub(crate) fn into_manager(self) -> Option<LeaseManager> {
        self.manager
    }

    /// Until when loops run.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Where loops say how it goes.
    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    /// Any other loop that runs until [`Self::stop`].
    pub(crate) fn spawn<F, W>(&self, tasks: &mut JoinSet<()>, this: Loop, start: F)
    where
        F: FnMut(Heartbeat) -> W + Send + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        tasks.spawn(self.supervisor.keep(this, self.stop.clone(), start));
    }

    /// Leads a chain. `make` builds its loop, and builds it again where it failed.
    pub(crate) fn chain(
        &mut self,
        tasks: &mut JoinSet<()>,
        chain: &config::Chain,
        mut make: impl FnMut() -> Option<ChainIndexer> + Send + 'static,
    ) {
        let (handle, lease) = self.lease_handle(chain_lease(chain.chain_id));
        let (name, board, stop) = (chain.name.clone(), self.board.clone(), self.stop.clone());
        board.chain(&name, |chain| chain.lease = lease.clone());
        self.spawn(tasks, Loop::of_chain(&chain.name), move |_| {
            board.chain(&name, |chain| chain.turn(ChainState::Starting));
            let (indexer, handle, lease) = (make(), handle.clone(), lease.clone());
            let (panic_report, stop) =
                (PanicReport { board: board.clone(), chain: name.clone() }, stop.clone());
            async move {
                let Some(indexer) = indexer else { return };
                match handle.zip(lease) {
                    None => Box::pin(indexer.run(stop)).await,
                    Some(handle) => Box::pin(run_chain_turns(handle, &panic_report, indexer, &stop)).await,
                }
            }
        });
    }

    /// Carries to the sink of this name, which all daemons share. As for `make`, see [`Self::chain`].
    pub(crate) fn sink<C: SinkDelivery>(
        &mut self,
        tasks: &mut JoinSet<()>,
        sink: &str,
        mut make: impl FnMut() -> Option<C> + Send + 'static,
    ) {
        let (handle, lease) = self.lease_handle(sink_lease(sink));
        self.board.sink(sink, |sink| sink.lease = lease);
        let (board, stop) = (self.board.clone(), self.stop.clone());
        self.spawn(tasks, Loop::of_sink(sink), move |_| {
            let (relay, handle, board, stop) = (make(), handle.clone(), board.clone(), stop.clone());
            async move {
                match (relay, handle) {
                    (None, _) => {}
                    (Some(mut relay), None) => relay.run_turn(None, stop).await,
                    (Some(relay), Some(handle)) => run_sink_turns(&handle, relay, board, &stop).await,
                }
            }
        });
    }

    /// Delivers to a sink of this process alone, as every instance does to its own.
    pub(crate) fn own_sink<C: SinkDelivery>(
        &self,
        tasks: &mut JoinSet<()>,
        sink: &str,
        mut make: impl FnMut() -> Option<C> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.spawn(tasks, Loop::of_sink(sink), move |_| {
            let (relay, stop) = (make(), stop.clone());
            async move {
                if let Some(mut relay) = relay {
                    relay.run_turn(None, stop).await;
                }
            }
        });
    }

    /// Trims the outbox.
    pub(crate) fn retention(&mut self, tasks: &mut JoinSet<()>, retention: Retention) {
        let (watched, stop) = (retention.clone(), self.stop.clone());
        self.spawn(tasks, Loop::new("outbox watch", TRIM_HANG_TIMEOUT), move |heartbeat| {
            watched.clone().watch(stop.clone(), heartbeat)
        });
        self.each_turn(
            tasks,
            Loop::new("outbox trim", TRIM_HANG_TIMEOUT),
            OUTBOX_LEASE.to_owned(),
            move |turn, heartbeat| {
                let retention = retention.clone();
                async move { retention.trim(turn, heartbeat).await }
            },
        );
    }

    /// Audits a chain.
    pub(crate) fn audit<F, W>(&mut self, tasks: &mut JoinSet<()>, chain: &config::Chain, work: F)
    where
        F: Fn(CancellationToken, Heartbeat) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send,
    {
        let this = Loop::new(format!("audit {}", chain.name), AUDIT_HANG_TIMEOUT);
        self.each_turn(tasks, this, audit_lease(chain.chain_id), work);
    }

    /// Work that begins anew with each lease turn.
    fn each_turn<F, W>(&mut self, tasks: &mut JoinSet<()>, this: Loop, lease: String, work: F)
    where
        F: Fn(CancellationToken, Heartbeat) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send,
    {
        let ((handle, _), stop, work) = (self.lease_handle(lease), self.stop.clone(), Arc::new(work));
        self.spawn(tasks, this, move |heartbeat| {
            let (handle, stop, work) = (handle.clone(), stop.clone(), work.clone());
            async move {
                let Some(handle) = handle else { return work(stop, heartbeat).await };
                while let Some(turn) = heartbeat.wait(handle.next(&stop)).await {
                    work(turn.token(), heartbeat.clone()).await;
                }
            }
        });
    }

    /// The handle and its lease.
    fn lease_handle(&mut self, lease: String) -> (Handle, Option<String>) {
        let handle = self.manager.as_mut().map(|manager| Arc::new(manager.handle(lease.clone())));
        (handle.clone(), handle.map(|_| lease))
    }
}

/// What was built already, and from then on what `make` builds: a loop that failed gets no part of its last run.
pub(crate) fn anew<T, E: Display>(first: T, make: impl Fn() -> Result<T, E>) -> impl FnMut() -> Option<T> {
    let mut first = Some(first);
    move || {
        first
            .take()
            .or_else(|| make().map_err(|error| tracing::error!(%error, "a loop cannot be built again")).ok())
    }
}

/// Of a chain whose loop panics the board must not say that it is live.
struct PanicReport {
    board: Board,
    chain: String,
}

impl Drop for PanicReport {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.board.chain(&self.chain, |chain| {
                chain.state = ChainState::Failing;
                chain.consecutive_errors += 1;
                chain.last_error = Some("its loop panicked; see the log".to_owned());
            });
        }
    }
}

async fn run_chain_turns(
    (handle, lease): (Arc<LeaseHandle>, String),
    PanicReport { board, chain: name }: &PanicReport,
    mut indexer: ChainIndexer,
    stop: &CancellationToken,
) {
    let report_standby = || {
        let is_led = board.leases().get(&lease).is_some_and(|lease| !lease.held && lease.holder.is_some());
        board.chain(name, |chain| {
            chain.alive_at = Instant::now();
            if is_led && chain.state != ChainState::Standby {
                chain.turn(ChainState::Standby);
                tracing::info!(chain = %name, "another instance holds the lease of this chain; this instance stands by");
            }
        });
    };
    while let Some(turn) = next_turn(&handle, stop, report_standby).await {
        board.chain(name, |chain| chain.turn(ChainState::Starting));
        indexer.run_turn(Some(turn.epoch()), turn.token()).await;
    }
}

async fn run_sink_turns(
    handle: &LeaseHandle,
    mut relay: impl SinkDelivery,
    board: Board,
    stop: &CancellationToken,
) {
    let name = relay.sink().to_owned();
    let report_standby = || board.sink(&name, |sink| sink.alive_at = Instant::now());
    while let Some(turn) = next_turn(handle, stop, report_standby).await {
        relay.run_turn(Some(turn.epoch()), turn.token()).await;
        board.sink(&name, chainflume_ops::health::SinkHealth::turn);
    }
}

/// Waits for the lease, and reports meanwhile that the loop is alive.
async fn next_turn(
    handle: &LeaseHandle,
    stop: &CancellationToken,
    report_standby: impl Fn(),
) -> Option<LeaseGuard> {
    loop {
        tokio::select! {
            turn = handle.next(stop) => return turn,
            () = tokio::time::sleep(STANDBY_HEALTH_INTERVAL) => report_standby(),
        }
    }
}
