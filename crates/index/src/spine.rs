use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use super::error::IndexerError;
use super::follow::Paused;
use super::gaps::Filling;
use super::history::Reading;
use super::memory::Memory;
use super::session::Session;
use super::translate::Translator;
use chainflume_core::canon::{Heads, Plan, Policy, Position, plan};
use chainflume_node::{ChainSettings, Pool, Work};
use chainflume_ops::health::{Board, ChainState};
use chainflume_ops::telemetry::Troubles;
use chainflume_store::{ChainRecord, Epoch, Store};

/// What a chain's loop is built of.
pub struct Parts {
    /// How the node is asked.
    pub settings: ChainSettings,
    /// When a block is confirmed and when final.
    pub policy: Policy,
    /// What is registered in the store; the genesis hash is filled in here.
    pub record: ChainRecord,
    /// The chain's sources and what their events mean.
    pub translator: Translator,
    /// The database, migrated.
    pub store: Store,
    /// Where to say how it goes.
    pub board: Board,
}

/// One chain's loop: the only writer of its checkpoints. It holds what outlives a lease turn; a [`Session`] holds the rest.
pub struct ChainIndexer {
    pub(super) settings: ChainSettings,
    pub(super) policy: Policy,
    pub(super) pool: Pool,
    pub(super) translator: Translator,
    pub(super) record: ChainRecord,
    pub(super) store: Store,
    pub(super) memory: Memory,
    pub(super) board: Board,
    /// Which errors were logged, those of readers in the background included.
    pub(super) troubles: Arc<Troubles>,
    /// The state that was last logged.
    pub(super) logged_state: Option<ChainState>,
    /// The differences between configuration and store that were logged.
    pub(super) logged_differences: BTreeSet<String>,
}

impl ChainIndexer {
    /// Fetches and writes nothing yet.
    ///
    /// # Errors
    /// When no HTTP client can be made of the settings.
    pub fn new(parts: Parts) -> Result<Self, IndexerError> {
        let Parts { settings, policy, record, translator, store, board } = parts;
        let pool = Pool::new(&settings)?;
        let host = pool.live().host().to_owned();
        board.chain(&settings.name, |chain| chain.provider = Some(host));
        Ok(Self {
            settings,
            policy,
            pool,
            translator,
            record,
            memory: Memory::new(store.clone()),
            store,
            board,
            troubles: Arc::default(),
            logged_state: None,
            logged_differences: BTreeSet::new(),
        })
    }

    /// Runs as the chain's only writer, without a lease, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        self.lead(None, stop).await;
    }

    /// Runs steps until `stop`, or until another instance holds the lease. An error is logged, and the step is retried after
    /// a pause; an error that needs an operator stops this chain and no other. A commit is never interrupted.
    pub async fn lead(&mut self, epoch: Option<Epoch>, stop: CancellationToken) {
        let mut session = Session::new(self, epoch);
        session.run(&stop).await;
        session.chain.memory.keep_now(&[&session.node, &session.past]).await;
    }
}

impl Session<'_> {
    async fn run(&mut self, stop: &CancellationToken) {
        let mut pause = backoff();
        while !stop.is_cancelled() {
            let stepped = Box::pin(self.step(stop)).await;
            self.beat();
            self.chain.memory.keep(&[&self.node, &self.past]).await;
            let error = match stepped {
                Ok(Progress::Made) => {
                    if self.succeeded() {
                        pause = backoff();
                    }
                    continue;
                }
                Ok(Progress::None) => continue,
                Err(IndexerError::Store(error)) if error.is_fenced() => {
                    tracing::warn!(chain = %self.chain.settings.name, %error, "this instance does not lead any more");
                    return;
                }
                Err(error) if self.stands_aside(&error) => continue,
                Err(error) => error,
            };
            self.blame(Work::Live, &error);
            let fatal = error.is_fatal() && !self.may_help_itself(&error);
            self.failed(&error, fatal);
            if fatal {
                self.keep_stopped(&error, stop).await;
                continue;
            }
            let wait = error.wait(pause.next().unwrap_or(MAX_PAUSE));
            if stop.run_until_cancelled(self.pause(wait)).await == Some(Paused::Switched) {
                // What the last one ran into says nothing of this one.
                pause = backoff();
            }
        }
    }

    /// One step: new blocks first, then pending blocks, else the first of a new head and a batch of old blocks.
    ///
    /// The parts are boxed: a task of the runtime has two megabytes of stack, and a future inside another is there as often
    /// as futures are moved.
    async fn step(&mut self, stop: &CancellationToken) -> Result<Progress, IndexerError> {
        if !self.prepare(stop).await? {
            return Ok(Progress::None);
        }
        let Plan { live, pending, history } =
            if self.attempt.looked { self.plan_now() } else { Plan::default() };
        self.say_state(live.is_some(), history.is_some());
        Box::pin(self.keep_indexed(history.as_ref().filter(|_| live.is_none()), stop)).await?;
        if let Some(group) = live {
            // A head that fell back may make live what was history: its rows, written ahead, would then block the live rows.
            self.drop_unplanned(history.as_ref());
            return Box::pin(self.carry_blocks(group, stop)).await.map(|()| Progress::Made);
        }
        if let Some(group) = pending {
            return Box::pin(self.tell_pending(group, stop)).await.map(|()| Progress::None);
        }
        Box::pin(self.read_gaps(history.is_some())).await?;
        self.read_history(history);
        self.first_of_all(stop).await
    }

    /// Takes the provider that the pool names and reads what is stored. Returns whether the step can go on.
    async fn prepare(&mut self, stop: &CancellationToken) -> Result<bool, IndexerError> {
        self.chain.pool.check();
        self.wake.check();
        self.follow_provider();
        if self.attempt.view.is_none() {
            let opened = stop.run_until_cancelled(Box::pin(self.open())).await.transpose()?;
            if opened.is_none() {
                return Ok(false);
            }
        }
        self.look_for_decisions().await?;
        Ok(self.attempt.view.is_some())
    }

    /// Waits for a new head, a batch of history or a batch of a gap, and processes the first.
    async fn first_of_all(&mut self, stop: &CancellationToken) -> Result<Progress, IndexerError> {
        let longest = self.telling.rest().map_or(BEAT, |rest| rest.min(BEAT));
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(Progress::None),
            () = self.switched.next() => Ok(Progress::None),
            () = self.wake.ready() => Box::pin(self.observe(stop)).await,
            batch = Reading::next(&mut self.attempt.reading) => {
                Box::pin(self.land(batch, stop)).await.map(|()| Progress::Made)
            }
            batch = Filling::next(&mut self.attempt.filling) => {
                Box::pin(self.land_gap(batch)).await.map(|()| Progress::None)
            }
            () = std::future::ready(()), if Filling::is_young(self.attempt.filling.as_ref()) => {
                Box::pin(self.read_young()).await.map(|()| Progress::None)
            }
            () = tokio::time::sleep(longest) => Ok(Progress::None),
        }
    }

    /// What there is to do under the heads that were fetched last.
    pub(super) fn plan_now(&self) -> Plan {
        self.observed.heads.as_ref().map_or_else(Plan::default, |heads| self.plan(heads))
    }

    /// What there is to do under these heads.
    pub(super) fn plan(&self, heads: &Heads) -> Plan {
        let mut zones = self.chain.policy.zones(heads);
        zones.pending_to = zones.pending_to.filter(|_| self.telling.rest().is_none());
        let positions: Vec<Position> = self
            .next_blocks()
            .into_iter()
            .enumerate()
            .map(|(index, next)| Position { next, told: self.view().told(index) })
            .collect();
        plan(&positions, zones)
    }
}

/// Whether a step got anywhere: only that ends a row of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Made,
    None,
}

/// The loop goes round at least this often, so that one that hangs can be told from one that waits.
pub(super) const BEAT: Duration = Duration::from_secs(5);
/// Longest pause between two tries: a node or database that comes back is noticed within it.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(15);
fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(MAX_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}
