//! Who leads, leads: each loop that writes waits for its turn where several daemons share a database.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::database::Database;
use super::parts::{Loaded, lease_settings};
use crate::config;
use crate::health::{Board, ChainState};
use crate::indexer::ChainIndexer;
use crate::lease::{Chair, Keeper, Turn};
use crate::relay::{Lead, Retention};
use crate::store::{OUTBOX_LEASE, audit_lease, chain_lease, sink_lease};

/// Starts loops, each under its lease where there are leases.
pub(super) struct Turns {
    keeper: Option<Keeper>,
    board: Board,
    stop: CancellationToken,
}

/// A loop that waits says so as often: much more often than one that hangs is looked for.
const BEAT: Duration = Duration::from_millis(250);

impl Turns {
    /// Without leases: nobody else is there.
    pub(super) fn alone(board: &Board, stop: &CancellationToken) -> Self {
        Self { keeper: None, board: board.clone(), stop: stop.clone() }
    }

    /// With leases in the database.
    pub(super) fn of(loaded: &Loaded, database: &Database, board: &Board, stop: &CancellationToken) -> Self {
        let settings = lease_settings(&loaded.config, database.private.is_some());
        let keeper = Keeper::new(settings, &database.store, board.clone());
        Self { keeper: Some(keeper), ..Self::alone(board, stop) }
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

    /// Leads a chain.
    pub(super) fn chain(&mut self, tasks: &mut JoinSet<()>, chain: &config::Chain, indexer: ChainIndexer) {
        let Some((chair, lease)) = self.chair(chain_lease(chain.chain_id)) else {
            tasks.spawn(indexer.run(self.stop.clone()));
            return;
        };
        self.board.chain(&chain.name, |chain| chain.lease = Some(lease.clone()));
        tasks.spawn(lead_chain(
            (chair, lease),
            chain.name.clone(),
            indexer,
            self.board.clone(),
            self.stop.clone(),
        ));
    }

    /// Carries to a sink that all daemons share.
    pub(super) fn sink(&mut self, tasks: &mut JoinSet<()>, mut carrier: impl Lead) {
        let stop = self.stop.clone();
        let Some((chair, lease)) = self.chair(sink_lease(carrier.sink())) else {
            tasks.spawn(async move { carrier.lead(None, stop).await });
            return;
        };
        self.board.sink(carrier.sink(), |sink| sink.lease = Some(lease));
        tasks.spawn(lead_sink(chair, carrier, self.board.clone(), stop));
    }

    /// Trims the outbox.
    pub(super) fn retention(&mut self, tasks: &mut JoinSet<()>, retention: Retention) {
        tasks.spawn(retention.clone().watch(self.stop.clone()));
        self.each_turn(tasks, OUTBOX_LEASE.to_owned(), move |turn| {
            let retention = retention.clone();
            async move { retention.trim(turn).await }
        });
    }

    /// Audits a chain.
    pub(super) fn audit<F, W>(&mut self, tasks: &mut JoinSet<()>, chain: &config::Chain, work: F)
    where
        F: Fn(CancellationToken) -> W + Send + 'static,
        W: Future<Output = ()> + Send,
    {
        self.each_turn(tasks, audit_lease(chain.chain_id), work);
    }

    /// Work that may begin anew with each turn.
    fn each_turn<F, W>(&mut self, tasks: &mut JoinSet<()>, lease: String, work: F)
    where
        F: Fn(CancellationToken) -> W + Send + 'static,
        W: Future<Output = ()> + Send,
    {
        let (chair, stop) = (self.chair(lease), self.stop.clone());
        tasks.spawn(async move {
            let Some((chair, _)) = chair else { return work(stop).await };
            while let Some(turn) = chair.next(&stop).await {
                work(turn.token()).await;
            }
        });
    }

    fn chair(&mut self, lease: String) -> Option<(Chair, String)> {
        Some((self.keeper.as_mut()?.chair(lease.clone()), lease))
    }
}

async fn lead_chain(
    (chair, lease): (Chair, String),
    name: String,
    mut indexer: ChainIndexer,
    board: Board,
    stop: CancellationToken,
) {
    let waits = || {
        let is_led = board.leases().get(&lease).is_some_and(|lease| !lease.held && lease.holder.is_some());
        board.chain(&name, |chain| {
            chain.alive_at = Instant::now();
            if is_led && chain.state != ChainState::Standby {
                chain.turn(ChainState::Standby);
                tracing::info!(chain = %name, "another instance leads; this one stands by");
            }
        });
    };
    while let Some(turn) = next(&chair, &stop, waits).await {
        board.chain(&name, |chain| chain.turn(ChainState::Starting));
        indexer.lead(Some(turn.epoch()), turn.token()).await;
    }
}

async fn lead_sink(chair: Chair, mut carrier: impl Lead, board: Board, stop: CancellationToken) {
    let name = carrier.sink().to_owned();
    let waits = || board.sink(&name, |sink| sink.alive_at = Instant::now());
    while let Some(turn) = next(&chair, &stop, waits).await {
        carrier.lead(Some(turn.epoch()), turn.token()).await;
        board.sink(&name, crate::health::SinkHealth::turn);
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
