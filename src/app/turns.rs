//! Who leads, leads: each loop that writes waits for its turn where several daemons share a database.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::database::Database;
use super::parts::{Loaded, lease_settings};
use crate::config;
use crate::lease::{Chair, Keeper, Turn};
use chainflume_db::{OUTBOX_LEASE, audit_lease, chain_lease, sink_lease};
use chainflume_deliver::relay::{Lead, Retention};
use chainflume_index::ChainIndexer;
use chainflume_ops::health::{Board, ChainState, Pulse};
use chainflume_ops::supervise::{Loop, Supervisor};

/// Starts loops, each under a supervisor, and under its lease where there are leases.
pub(super) struct Turns {
    keeper: Option<Keeper>,
    supervisor: Supervisor,
    board: Board,
    stop: CancellationToken,
}

/// By what a loop leads; `None` where nobody else is there.
type Seat = Option<Arc<Chair>>;

/// A loop that waits says so as often: much more often than one that hangs is looked for.
const BEAT: Duration = Duration::from_millis(250);
/// An audit waits for a node as long as the node asks for, five minutes at most, and then for its answer.
const AUDIT_HUNG: Duration = Duration::from_mins(15);
/// Trimming waits for a database that is busy or restarts.
const TRIM_HUNG: Duration = Duration::from_mins(2);
/// Listening waits for a connection, and for nothing else without turning.
pub(super) const LISTEN_HUNG: Duration = Duration::from_mins(1);

impl Turns {
    /// Without leases: nobody else is there.
    pub(super) fn alone(supervisor: &Supervisor, board: &Board, stop: &CancellationToken) -> Self {
        Self { keeper: None, supervisor: supervisor.clone(), board: board.clone(), stop: stop.clone() }
    }

    /// With leases in the database.
    pub(super) fn of(
        loaded: &Loaded,
        database: &Database,
        (supervisor, board): (&Supervisor, &Board),
        stop: &CancellationToken,
    ) -> Self {
        let settings = lease_settings(&loaded.config, database.private.is_some());
        let keeper = Keeper::new(settings, &database.store, board.clone());
        Self { keeper: Some(keeper), ..Self::alone(supervisor, board, stop) }
    }

    /// Whoever keeps the leases, once every loop has its chair.
    pub(super) fn into_keeper(self) -> Option<Keeper> {
        self.keeper
    }

    /// Until when loops run.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Where loops say how it goes.
    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    /// Any other loop that runs until [`Self::stop`].
    pub(super) fn keep<F, W>(&self, tasks: &mut JoinSet<()>, this: Loop, start: F)
    where
        F: FnMut(Pulse) -> W + Send + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        tasks.spawn(self.supervisor.keep(this, self.stop.clone(), start));
    }

    /// Leads a chain. `make` builds its loop, and builds it again where it failed.
    pub(super) fn chain(
        &mut self,
        tasks: &mut JoinSet<()>,
        chain: &config::Chain,
        mut make: impl FnMut() -> Option<ChainIndexer> + Send + 'static,
    ) {
        let (seat, lease) = self.seat(chain_lease(chain.chain_id));
        let (name, board, stop) = (chain.name.clone(), self.board.clone(), self.stop.clone());
        board.chain(&name, |chain| chain.lease = lease.clone());
        self.keep(tasks, Loop::of_chain(&chain.name), move |_| {
            board.chain(&name, |chain| chain.turn(ChainState::Starting));
            let (indexer, seat, lease) = (make(), seat.clone(), lease.clone());
            let (fall, stop) = (Fall { board: board.clone(), chain: name.clone() }, stop.clone());
            async move {
                let Some(indexer) = indexer else { return };
                match seat.zip(lease) {
                    None => Box::pin(indexer.run(stop)).await,
                    Some(seat) => Box::pin(lead_chain(seat, &fall, indexer, &stop)).await,
                }
            }
        });
    }

    /// Carries to the sink of this name, which all daemons share. As for `make`, see [`Self::chain`].
    pub(super) fn sink<C: Lead>(
        &mut self,
        tasks: &mut JoinSet<()>,
        sink: &str,
        mut make: impl FnMut() -> Option<C> + Send + 'static,
    ) {
        let (seat, lease) = self.seat(sink_lease(sink));
        self.board.sink(sink, |sink| sink.lease = lease);
        let (board, stop) = (self.board.clone(), self.stop.clone());
        self.keep(tasks, Loop::of_sink(sink), move |_| {
            let (carrier, seat, board, stop) = (make(), seat.clone(), board.clone(), stop.clone());
            async move {
                match (carrier, seat) {
                    (None, _) => {}
                    (Some(mut carrier), None) => carrier.lead(None, stop).await,
                    (Some(carrier), Some(chair)) => lead_sink(&chair, carrier, board, &stop).await,
                }
            }
        });
    }

    /// Carries to a sink of this process alone: every daemon carries to its own.
    pub(super) fn own_sink<C: Lead>(
        &self,
        tasks: &mut JoinSet<()>,
        sink: &str,
        mut make: impl FnMut() -> Option<C> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.keep(tasks, Loop::of_sink(sink), move |_| {
            let (carrier, stop) = (make(), stop.clone());
            async move {
                if let Some(mut carrier) = carrier {
                    carrier.lead(None, stop).await;
                }
            }
        });
    }

    /// Trims the outbox.
    pub(super) fn retention(&mut self, tasks: &mut JoinSet<()>, retention: Retention) {
        let (watched, stop) = (retention.clone(), self.stop.clone());
        self.keep(tasks, Loop::new("outbox watch", TRIM_HUNG), move |pulse| {
            watched.clone().watch(stop.clone(), pulse)
        });
        self.each_turn(
            tasks,
            Loop::new("outbox trim", TRIM_HUNG),
            OUTBOX_LEASE.to_owned(),
            move |turn, pulse| {
                let retention = retention.clone();
                async move { retention.trim(turn, pulse).await }
            },
        );
    }

    /// Audits a chain.
    pub(super) fn audit<F, W>(&mut self, tasks: &mut JoinSet<()>, chain: &config::Chain, work: F)
    where
        F: Fn(CancellationToken, Pulse) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send,
    {
        let this = Loop::new(format!("audit {}", chain.name), AUDIT_HUNG);
        self.each_turn(tasks, this, audit_lease(chain.chain_id), work);
    }

    /// Work that may begin anew with each turn.
    fn each_turn<F, W>(&mut self, tasks: &mut JoinSet<()>, this: Loop, lease: String, work: F)
    where
        F: Fn(CancellationToken, Pulse) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send,
    {
        let ((seat, _), stop, work) = (self.seat(lease), self.stop.clone(), Arc::new(work));
        self.keep(tasks, this, move |pulse| {
            let (seat, stop, work) = (seat.clone(), stop.clone(), work.clone());
            async move {
                let Some(chair) = seat else { return work(stop, pulse).await };
                while let Some(turn) = pulse.wait(chair.next(&stop)).await {
                    work(turn.token(), pulse.clone()).await;
                }
            }
        });
    }

    /// The chair and its lease.
    fn seat(&mut self, lease: String) -> (Seat, Option<String>) {
        let chair = self.keeper.as_mut().map(|keeper| Arc::new(keeper.chair(lease.clone())));
        (chair.clone(), chair.map(|_| lease))
    }
}

/// What was built already, and from then on what `make` builds: a loop that failed gets no part of its last run.
pub(super) fn anew<T, E: Display>(first: T, make: impl Fn() -> Result<T, E>) -> impl FnMut() -> Option<T> {
    let mut first = Some(first);
    move || {
        first
            .take()
            .or_else(|| make().map_err(|error| tracing::error!(%error, "a loop cannot be built again")).ok())
    }
}

/// Of a chain whose loop panics the board must not say that it is live.
struct Fall {
    board: Board,
    chain: String,
}

impl Drop for Fall {
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

async fn lead_chain(
    (chair, lease): (Arc<Chair>, String),
    Fall { board, chain: name }: &Fall,
    mut indexer: ChainIndexer,
    stop: &CancellationToken,
) {
    let waits = || {
        let is_led = board.leases().get(&lease).is_some_and(|lease| !lease.held && lease.holder.is_some());
        board.chain(name, |chain| {
            chain.alive_at = Instant::now();
            if is_led && chain.state != ChainState::Standby {
                chain.turn(ChainState::Standby);
                tracing::info!(chain = %name, "another instance leads; this one stands by");
            }
        });
    };
    while let Some(turn) = next(&chair, stop, waits).await {
        board.chain(name, |chain| chain.turn(ChainState::Starting));
        indexer.run_turn(Some(turn.epoch()), turn.token()).await;
    }
}

async fn lead_sink(chair: &Chair, mut carrier: impl Lead, board: Board, stop: &CancellationToken) {
    let name = carrier.sink().to_owned();
    let waits = || board.sink(&name, |sink| sink.alive_at = Instant::now());
    while let Some(turn) = next(chair, stop, waits).await {
        carrier.lead(Some(turn.epoch()), turn.token()).await;
        board.sink(&name, chainflume_ops::health::SinkHealth::turn);
    }
}

/// The next turn; meanwhile the loop is seen to live.
async fn next(chair: &Chair, stop: &CancellationToken, waits: impl Fn()) -> Option<Turn> {
    loop {
        tokio::select! {
            turn = chair.next(stop) => return turn,
            () = tokio::time::sleep(BEAT) => waits(),
        }
    }
}
