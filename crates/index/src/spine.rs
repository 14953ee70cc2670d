use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use super::ahead::Ahead;
use super::error::IndexerError;
use super::follow::Paused;
use super::followed::Following;
use super::gaps::Filling;
use super::history::Reading;
use super::memory::Memory;
use super::pending::Telling;
use super::reorg::Settled;
use super::translate::Translator;
use super::view::View;
use chainflume_core::canon::{Confirmations, Group, Heads, Plan, Policy, Position, plan};
use chainflume_core::domain::BlockRef;
use chainflume_node::{ChainError, ChainSettings, Node, Pool, Switched, Tag, Wake, Work};
use chainflume_ops::health::{Board, ChainState};
use chainflume_ops::telemetry::Troubles;
use chainflume_store::{ChainRecord, ChainStore, Epoch, Store};

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

/// One chain's loop: the only writer of its checkpoints.
pub struct ChainIndexer {
    pub(super) settings: ChainSettings,
    pub(super) policy: Policy,
    pub(super) pool: Pool,
    pub(super) switched: Switched,
    /// Whom a step asks; another one only from the next step on.
    pub(super) node: Arc<Node>,
    /// Whom old blocks are asked of.
    pub(super) past: Arc<Node>,
    pub(super) translator: Translator,
    pub(super) board: Board,
    pub(super) wake: Wake,
    pub(super) woken_at: Instant,
    pub(super) reading: Option<Reading>,
    pub(super) telling: Telling,
    /// How what is configured compares with what is stored.
    pub(super) following: Following,
    /// A source's past that is being read.
    pub(super) filling: Option<Filling>,
    /// The newest block the node told us of.
    pub(super) newest: Option<BlockRef>,
    pub(super) store: Store,
    pub(super) memory: Memory,
    pub(super) record: ChainRecord,
    pub(super) opened: Option<ChainStore>,
    /// Of the turn, where there are turns.
    pub(super) epoch: Option<Epoch>,
    /// `None` until it is read, and again after any error: what was committed is then read anew.
    pub(super) view: Option<View>,
    /// What came with the head.
    pub(super) ahead: Option<Ahead>,
    /// What is told of errors, those of readers in the background included.
    pub(super) troubles: Arc<Troubles>,
    /// The state the log has been told.
    pub(super) said: Option<ChainState>,
    /// Whether the chain was looked at since the view was read. Nothing is carried before.
    pub(super) looked: bool,
    pub(super) heads: Option<Heads>,
    pub(super) tags_at: Option<Instant>,
    /// Since when a node that lags contradicts what is final.
    pub(super) doubted_since: Option<Instant>,
    /// Whether every index of the store is there, as far as we know.
    pub(super) indexed: bool,
}

impl ChainIndexer {
    /// Nothing is asked and nothing written yet.
    ///
    /// # Errors
    /// When no HTTP client can be made of the settings.
    pub fn new(parts: Parts) -> Result<Self, IndexerError> {
        let Parts { settings, policy, record, translator, store, board } = parts;
        let pool = Pool::new(&settings)?;
        let (node, past, wake) = (pool.live(), pool.history(), Wake::deaf(&settings));
        let memory = Memory::new(store.clone());
        let woken_at = Instant::now();
        board.chain(&settings.name, |chain| chain.provider = Some(node.host().to_owned()));
        Ok(Self {
            settings,
            policy,
            switched: pool.switched(),
            pool,
            node,
            past,
            translator,
            board,
            wake,
            woken_at,
            reading: None,
            telling: Telling::default(),
            following: Following::default(),
            filling: None,
            newest: None,
            store,
            memory,
            record,
            opened: None,
            epoch: None,
            view: None,
            ahead: None,
            troubles: Arc::default(),
            said: None,
            looked: false,
            heads: None,
            tags_at: None,
            doubted_since: None,
            indexed: false,
        })
    }

    /// Leads as the chain's only writer, without a lease, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        self.lead(None, stop).await;
    }

    /// Carries steps until `stop`, or until another instance leads. An error is told, waited out and tried again; one that an
    /// operator has to decide stops this chain and no other. A commit is never interrupted.
    pub async fn lead(&mut self, epoch: Option<Epoch>, stop: CancellationToken) {
        self.begin(epoch);
        self.carry(&stop).await;
        self.memory.keep_now(&[&self.node, &self.past]).await;
        // Whoever leads next would wait for what was written ahead, and a standby needs nobody to wake it.
        self.forget();
        self.wake = Wake::deaf(&self.settings);
    }

    async fn carry(&mut self, stop: &CancellationToken) {
        let mut pause = backoff();
        while !stop.is_cancelled() {
            let stepped = Box::pin(self.step(stop)).await;
            self.beat();
            self.memory.keep(&[&self.node, &self.past]).await;
            let error = match stepped {
                Ok(Progress::Made) => {
                    if self.succeeded() {
                        pause = backoff();
                    }
                    continue;
                }
                Ok(Progress::None) => continue,
                Err(IndexerError::Store(error)) if error.is_fenced() => {
                    tracing::warn!(chain = %self.settings.name, %error, "this instance does not lead any more");
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

    /// Nothing that was known in an earlier turn is believed.
    fn begin(&mut self, epoch: Option<Epoch>) {
        self.forget();
        self.forget_following();
        self.wake = Wake::new(&self.settings, self.pool.live_settings());
        (self.epoch, self.opened, self.heads, self.tags_at) = (epoch, None, None, None);
        (self.telling, self.newest, self.indexed) = (Telling::default(), None, false);
    }

    /// One step, whose parts are boxed: a task of the runtime has two megabytes of stack, and each future that is held inside
    /// another is there as often as futures are moved. Near the head block by block if there is anything to read, else whichever comes first of a
    /// new head and a batch of history.
    async fn step(&mut self, stop: &CancellationToken) -> Result<Progress, IndexerError> {
        self.pool.check();
        self.wake.check();
        self.follow_provider();
        if self.view.is_none() && stop.run_until_cancelled(Box::pin(self.open())).await.transpose()?.is_none()
        {
            return Ok(Progress::None);
        }
        self.look_for_decisions().await?;
        if self.view.is_none() {
            return Ok(Progress::None);
        }
        let Plan { live, pending, history } = if self.looked { self.plan_now() } else { Plan::default() };
        self.say_state(live.is_some(), history.is_some());
        Box::pin(self.keep_indexed(history.as_ref().filter(|_| live.is_none()), stop)).await?;
        if let Some(group) = live {
            // A head that fell back may make live what was history: then its rows, written ahead, would be in their own way.
            self.drop_unplanned(history.as_ref());
            return Box::pin(self.carry_blocks(group, stop)).await.map(|()| Progress::Made);
        }
        if let Some(group) = pending {
            return Box::pin(self.tell_pending(group, stop)).await.map(|()| Progress::None);
        }
        Box::pin(self.read_gaps(history.is_some())).await?;
        self.read_history(history);
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(Progress::None),
            () = self.switched.next() => Ok(Progress::None),
            () = self.wake.ready() => Box::pin(self.observe(stop)).await,
            batch = Reading::next(&mut self.reading) => Box::pin(self.land(batch, stop)).await.map(|()| Progress::Made),
            batch = Filling::next(&mut self.filling) => Box::pin(self.land_gap(batch)).await.map(|()| Progress::None),
            () = std::future::ready(()), if Filling::is_young(self.filling.as_ref()) => {
                Box::pin(self.read_young()).await.map(|()| Progress::None)
            }
            () = tokio::time::sleep(self.telling.rest().map_or(BEAT, |rest| rest.min(BEAT))) => Ok(Progress::None),
        }
    }

    fn plan_now(&self) -> Plan {
        self.heads.as_ref().map_or_else(Plan::default, |heads| self.plan(heads))
    }

    /// What there is to do under these heads.
    pub(super) fn plan(&self, heads: &Heads) -> Plan {
        let mut zones = self.policy.zones(heads);
        zones.pending_to = zones.pending_to.filter(|_| self.telling.rest().is_none());
        let positions: Vec<Position> = self
            .next_blocks()
            .into_iter()
            .enumerate()
            .map(|(index, next)| Position { next, told: self.view().told(index) })
            .collect();
        plan(&positions, zones)
    }

    /// Looks where the chain is, and if that gives nothing to read, whether what we hold is still part of it.
    async fn observe(&mut self, stop: &CancellationToken) -> Result<Progress, IndexerError> {
        self.woken_at = Instant::now();
        let Some(heads) = stop.run_until_cancelled(self.ask_heads()).await.transpose()? else {
            return Ok(Progress::None);
        };
        let heads = self.with_age(heads).await?;
        self.heads = Some(heads);
        self.say_heads(&heads);
        if let Some(tag) = self.policy.missing_tag(&heads) {
            return Err(ChainError::NoTag { host: self.node.host().to_owned(), tag }.into());
        }
        if !self.links_next() {
            let top = self.view().highest().map_or(0, |highest| highest.min(heads.latest));
            match self.settle(top, stop).await? {
                Settled::Agrees => {}
                Settled::Rewound => return Ok(Progress::Made),
                Settled::Unsure => {
                    return Err(IndexerError::Moved("two reads of what we hold differ".to_owned()));
                }
            }
        }
        self.looked = true;
        // While there is something to read, a head says nothing about how that goes.
        let Plan { live, history, .. } = self.plan_now();
        if live.is_some() || history.is_some() {
            return Ok(Progress::None);
        }
        self.node.worked(Work::Live, None);
        Ok(Progress::Made)
    }

    /// Whether the newest block we hold is shown to be canonical by the parent link of the block read next, or of the
    /// head itself. Where it is not, because a source joins elsewhere, that has to be asked before anything is stored: what is
    /// stored under a new head makes blocks final, and orphans among what we hold must not become so.
    fn links_next(&self) -> bool {
        let Plan { live, pending, .. } = self.plan_now();
        let follows = |group: &Group| group.range.from().checked_sub(1) == self.view().highest();
        live.or(pending).as_ref().is_some_and(follows) || self.newest_links()
    }

    /// Tags move once in minutes, so they are not asked for with every head.
    pub(super) async fn ask_heads(&mut self) -> Result<Heads, IndexerError> {
        let expected = self.expected();
        let due = self.tags_at.is_none_or(|at| at.elapsed() >= self.settings.poll_interval);
        let tag = |tag, wanted| {
            let node = self.node.clone();
            async move { if wanted { node.tagged(tag).await } else { Ok(None) } }
        };
        let safe = due && self.policy.confirmations == Confirmations::Safe;
        let ((head, near), safe, finalized) = tokio::try_join!(
            self.ask_head(expected.as_ref()),
            tag(Tag::Safe, safe),
            tag(Tag::Finalized, due)
        )?;
        self.keep_ahead(expected, near);
        if due {
            self.tags_at = Some(Instant::now());
        }
        self.newest = Some(head);
        // A tag never goes back; a node that forgets one for a moment proves nothing. One above the head was another chain's.
        let newest = |old: Option<u64>, new: Option<u64>| old.filter(|old| *old <= head.number).max(new);
        Ok(Heads {
            latest: head.number,
            safe: newest(self.heads.and_then(|h| h.safe), safe.map(|b| b.number)),
            finalized: newest(self.heads.and_then(|h| h.finalized), finalized.map(|b| b.number)),
            aged: self.heads.and_then(|h| h.aged),
        })
    }

    pub(super) fn store(&self) -> &ChainStore {
        self.opened.as_ref().expect("a step opens the chain before anything else")
    }

    pub(super) fn view(&self) -> &View {
        self.view.as_ref().expect("a step reads the view before anything else")
    }

    pub(super) fn view_mut(&mut self) -> &mut View {
        self.view.as_mut().expect("a step reads the view before anything else")
    }

    /// The newest block the node is known to have.
    pub(super) fn head(&self) -> u64 {
        self.heads.map_or(0, |heads| heads.latest)
    }

    /// What is final now, never less than what was final before.
    pub(super) fn final_number(&self) -> u64 {
        let now = self.heads.map_or(0, |heads| self.policy.final_number(&heads));
        now.max(self.view.as_ref().map_or(0, View::final_number))
    }

    /// What we hold is to be read anew and the chain to be looked at before the next step, and what is being read
    /// is dropped.
    pub(super) fn forget(&mut self) {
        self.view = None;
        self.looked = false;
        (self.reading, self.filling, self.ahead) = (None, None, None);
        self.wake.again();
    }
}

/// Whether a step got anywhere: only that ends a row of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
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
