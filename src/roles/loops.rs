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
use chainflume_db::{Epoch, LeaseName};
use chainflume_deliver::relay::{Retention, RoomIndex, SinkDelivery};
use chainflume_index::{ChainIndexer, ContractWatch};
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
/// A look at the contracts of one source ends by its timeout of a minute, and the database answers before or not at all.
const CONTRACTS_HANG_TIMEOUT: Duration = Duration::from_mins(5);
/// A look at followed transactions asks a node four times, each for as long as a request may take, or waits for a place.
const FOLLOW_HANG_TIMEOUT: Duration = Duration::from_mins(5);
/// A turn is a few statements of at most five seconds each, and a wait for a connection.
const TRIGGER_HANG_TIMEOUT: Duration = Duration::from_mins(2);
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
        supervisor: &Supervisor,
        board: &Board,
        stop: &CancellationToken,
    ) -> Self {
        let sole = database.private.is_some();
        let settings = lease_settings(&loaded.config, sole);
        let manager = LeaseManager::new(settings, &database.store, board.clone());
        Self { manager: Some(manager), ..Self::without_leases(supervisor, board, stop) }
    }

    /// The lease manager, once every loop has its handle.
    pub(crate) fn into_manager(self) -> Option<LeaseManager> {
        self.manager
    }

    /// Cancelled when the loops are to end.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Where loops report how they are.
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

    /// Indexes a chain. `make` builds its loop, and builds it again after a failure.
    pub(crate) fn chain(
        &mut self,
        tasks: &mut JoinSet<()>,
        chain: &config::Chain,
        mut make: impl FnMut() -> Option<ChainIndexer> + Send + 'static,
    ) {
        let (handle, lease) = self.lease_handle(LeaseName::chain(chain.chain_id));
        let (name, board, stop) = (chain.name.clone(), self.board.clone(), self.stop.clone());
        board.chain(&name, |chain| chain.lease = lease.as_ref().map(LeaseName::to_string));
        self.spawn(tasks, Loop::of_chain(&chain.name), move |_| {
            board.chain(&name, |chain| chain.turn(ChainState::Starting));
            let (indexer, handle, stop) = (make(), handle.clone(), stop.clone());
            let standby = chain_standby(board.clone(), name.clone(), lease.clone());
            let health = ChainPanic { board: board.clone(), chain: name.clone() };
            async move {
                if let Some(indexer) = indexer {
                    run_led(handle, &stop, standby, ChainWork { indexer, health }).await;
                }
            }
        });
    }

    /// Delivers to the sink of this name, which all instances share. As for `make`, see [`Self::chain`].
    pub(crate) fn sink<C: SinkDelivery>(
        &mut self,
        tasks: &mut JoinSet<()>,
        sink: &str,
        mut make: impl FnMut() -> Option<C> + Send + 'static,
    ) {
        let (handle, lease) = self.lease_handle(LeaseName::sink(sink));
        self.board.sink(sink, |sink| sink.lease = lease.map(|lease| lease.to_string()));
        let (board, stop) = (self.board.clone(), self.stop.clone());
        self.spawn(tasks, Loop::of_sink(sink), move |_| {
            let (delivery, handle, board, stop) = (make(), handle.clone(), board.clone(), stop.clone());
            async move {
                let Some(delivery) = delivery else { return };
                let name = delivery.sink().to_owned();
                let (shown, shown_name) = (board.clone(), name.clone());
                let standby = move || shown.sink(&shown_name, |sink| sink.alive_at = Instant::now());
                run_led(handle, &stop, standby, SinkWork { delivery, board, name }).await;
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

    /// Adds new messages to the index of rooms.
    pub(crate) fn room_index(&self, tasks: &mut JoinSet<()>, index: RoomIndex) {
        let stop = self.stop.clone();
        self.spawn(tasks, Loop::new("room index", TRIM_HANG_TIMEOUT), move |heartbeat| {
            index.clone().run(stop.clone(), heartbeat)
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
            LeaseName::outbox(),
            move |turn, heartbeat| {
                let retention = retention.clone();
                async move { retention.trim(turn, heartbeat).await }
            },
        );
    }

    /// Looks at the contracts of a chain's sources.
    pub(crate) fn contracts(
        &self,
        tasks: &mut JoinSet<()>,
        chain: &config::Chain,
        make: impl Fn() -> Option<ContractWatch> + Send + 'static,
    ) {
        let (this, stop) =
            (Loop::new(format!("contracts {}", chain.name), CONTRACTS_HANG_TIMEOUT), self.stop.clone());
        self.spawn(tasks, this, move |heartbeat| {
            let (watch, stop) = (make(), stop.clone());
            async move {
                if let Some(watch) = watch {
                    watch.run(stop, heartbeat).await;
                }
            }
        });
    }

    /// Audits a chain.
    pub(crate) fn audit<F, W>(&mut self, tasks: &mut JoinSet<()>, chain: &config::Chain, work: F)
    where
        F: Fn(CancellationToken, Heartbeat) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send,
    {
        let this = Loop::new(format!("audit {}", chain.name), AUDIT_HANG_TIMEOUT);
        self.each_turn(tasks, this, LeaseName::audit(chain.chain_id), work);
    }

    /// Follows the transactions of a chain.
    pub(crate) fn follow<F, W>(&mut self, tasks: &mut JoinSet<()>, chain: &config::Chain, work: F)
    where
        F: Fn(CancellationToken, Heartbeat) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send,
    {
        let this = Loop::new(format!("follow {}", chain.name), FOLLOW_HANG_TIMEOUT);
        self.each_turn(tasks, this, LeaseName::follow(chain.chain_id), work);
    }

    /// Publishes by itself; one instance does, under the lease of this name.
    pub(crate) fn trigger<F, W>(&mut self, tasks: &mut JoinSet<()>, lease: LeaseName, work: F)
    where
        F: Fn(CancellationToken, Heartbeat) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send,
    {
        self.each_turn(tasks, Loop::new(lease.as_str(), TRIGGER_HANG_TIMEOUT), lease, work);
    }

    /// Work that begins anew with each lease turn.
    fn each_turn<F, W>(&mut self, tasks: &mut JoinSet<()>, this: Loop, lease: LeaseName, work: F)
    where
        F: Fn(CancellationToken, Heartbeat) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send,
    {
        let ((handle, _), stop, work) = (self.lease_handle(lease), self.stop.clone(), Arc::new(work));
        self.spawn(tasks, this, move |heartbeat| {
            let (handle, stop, work) = (handle.clone(), stop.clone(), work.clone());
            async move {
                let beat = heartbeat.clone();
                run_led(handle, &stop, move || beat.beat(), OtherWork { work, heartbeat }).await;
            }
        });
    }

    /// The handle and its lease.
    fn lease_handle(&mut self, lease: LeaseName) -> (Handle, Option<LeaseName>) {
        let handle = self.manager.as_mut().map(|manager| Arc::new(manager.handle(lease.clone())));
        (handle.clone(), handle.map(|_| lease))
    }
}

/// What was built already, and from then on what `make` builds: a loop that failed gets no part of its last run.
pub(crate) fn anew<T, E: Display>(first: T, make: impl Fn() -> Result<T, E>) -> impl FnMut() -> Option<T> {
    let mut first = Some(first);
    move || {
        first.take().or_else(|| {
            make()
                .map_err(|error| tracing::error!(%error, "a loop cannot be built again; restart the daemon"))
                .ok()
        })
    }
}

/// What a loop does while its instance holds the lease.
trait LeaseWork: Send {
    /// Works until `stop`; `epoch` is `None` without leases.
    fn run_turn(&mut self, epoch: Option<Epoch>, stop: CancellationToken) -> impl Future<Output = ()> + Send;
}

/// Runs `work` once for each lease turn, or once where there are no leases. `standby` shows that the loop is alive while
/// another instance holds the lease.
async fn run_led(
    handle: Handle,
    stop: &CancellationToken,
    standby: impl Fn() + Send + Sync,
    mut work: impl LeaseWork,
) {
    let Some(handle) = handle else { return work.run_turn(None, stop.clone()).await };
    while let Some(turn) = next_turn(&handle, stop, &standby).await {
        work.run_turn(Some(turn.epoch()), turn.token()).await;
    }
}

/// Waits for the lease, and reports meanwhile that the loop is alive.
async fn next_turn(
    handle: &LeaseHandle,
    stop: &CancellationToken,
    standby: &(impl Fn() + Send + Sync),
) -> Option<LeaseGuard> {
    loop {
        tokio::select! {
            turn = handle.next(stop) => return turn,
            () = tokio::time::sleep(STANDBY_HEALTH_INTERVAL) => standby(),
        }
    }
}

/// The indexer of a chain.
struct ChainWork {
    indexer: ChainIndexer,
    health: ChainPanic,
}

impl LeaseWork for ChainWork {
    async fn run_turn(&mut self, epoch: Option<Epoch>, stop: CancellationToken) {
        if epoch.is_some() {
            let ChainPanic { board, chain } = &self.health;
            board.chain(chain, |chain| chain.turn(ChainState::Starting));
        }
        // A future of this size does not belong in the one that contains it.
        Box::pin(self.indexer.run_turn(epoch, stop)).await;
    }
}

/// The delivery to a sink.
struct SinkWork<D> {
    delivery: D,
    board: Board,
    name: String,
}

impl<D: SinkDelivery> LeaseWork for SinkWork<D> {
    async fn run_turn(&mut self, epoch: Option<Epoch>, stop: CancellationToken) {
        self.delivery.run_turn(epoch, stop).await;
        if epoch.is_some() {
            self.board.sink(&self.name, chainflume_ops::health::SinkHealth::turn);
        }
    }
}

/// Work that begins anew with each turn.
struct OtherWork<F> {
    work: Arc<F>,
    heartbeat: Heartbeat,
}

impl<F, W> LeaseWork for OtherWork<F>
where
    F: Fn(CancellationToken, Heartbeat) -> W + Send + Sync,
    W: Future<Output = ()> + Send,
{
    async fn run_turn(&mut self, _epoch: Option<Epoch>, stop: CancellationToken) {
        (self.work)(stop, self.heartbeat.clone()).await;
    }
}

/// Reports that the chain's loop runs while another instance holds the lease.
fn chain_standby(board: Board, chain: String, lease: Option<LeaseName>) -> impl Fn() + Send + Sync {
    move || {
        let lease = lease.as_ref().and_then(|lease| board.leases().get(lease.as_str()).cloned());
        let is_led = lease.is_some_and(|lease| !lease.held && lease.holder.is_some());
        board.chain(&chain, |health| {
            health.alive_at = Instant::now();
            if is_led && health.state != ChainState::Standby {
                health.turn(ChainState::Standby);
                tracing::info!(%chain, "another instance holds the lease of this chain; this instance stands by");
            }
        });
    }
}

/// Reports a panic of a chain's loop on the board, which would otherwise show the state before it.
struct ChainPanic {
    board: Board,
    chain: String,
}

impl Drop for ChainPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.board.chain(&self.chain, |chain| {
                chain.state = ChainState::Failing;
                chain.errors.consecutive += 1;
                chain.errors.last = Some("its loop panicked; see the log".to_owned());
            });
        }
    }
}
