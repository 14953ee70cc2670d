//! What each chain and each sink reports, for readiness, metrics, `status` and the watchdog. Written by the
//! spine and the relays, read by every part; ages are computed when they are read, so that they grow during a stall.

mod audits;
mod contracts;
mod database;
mod heartbeat;
mod loops;
mod public;
mod source;
mod throughput;
mod wake;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Notify;

pub use audits::AuditHealth;
pub use contracts::ContractHealth;
pub use heartbeat::Heartbeat;
pub(crate) use heartbeat::wait_beating;
pub use loops::{LoopHealth, TurnSource};
pub use public::PublicHealth;
pub use source::{SourceHealth, UnreadHealth};
pub use throughput::{Rate, Throughput};

/// A loop of a chain or a sink that has not turned for so long hangs: each request and each pause in it is shorter.
pub const HUNG_AFTER: Duration = Duration::from_secs(60);

/// What a chain is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainState {
    /// Not yet asked its node or its database.
    Starting,
    /// Reads history.
    Syncing,
    /// All sources follow the head.
    Live,
    /// The last step failed; it is tried again.
    Failing,
    /// Stopped for good: an operator has to decide.
    Stopped,
    /// Another instance leads; this one waits for its turn.
    Standby,
}

impl ChainState {
    /// All of them, for metrics.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Syncing, Self::Live, Self::Failing, Self::Stopped, Self::Standby];

    /// The word in metrics and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Syncing => "syncing",
            Self::Live => "live",
            Self::Failing => "failing",
            Self::Stopped => "stopped",
            Self::Standby => "standby",
        }
    }
}

/// A reorg deeper than the confirmations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeepReorg {
    /// Confirmed blocks undone.
    pub depth: u64,
    /// When it was noticed.
    pub at: Instant,
}

/// One chain, as the spine last left it.
#[derive(Clone, Debug)]
pub struct ChainHealth {
    /// When this process took it up.
    pub since: Instant,
    /// What it is doing.
    pub state: ChainState,
    /// Host of the node that is asked now; nothing else of its URL.
    pub provider: Option<String>,
    /// Newest block the node knows.
    pub head: Option<u64>,
    /// Time of the head in seconds since the Unix epoch, as its header says.
    pub head_time: Option<u64>,
    /// Highest confirmed block.
    pub confirmed: Option<u64>,
    /// Blocks by which its node is below what is stored; 0 while that is no more than a backend may lag.
    pub node_behind: u64,
    /// Why new sources publish nothing yet, where they wait for their node to sync.
    pub unpublished: Option<String>,
    /// Highest final block.
    pub final_number: u64,
    /// When the head last moved.
    pub head_moved_at: Instant,
    /// Whether the WebSocket announces heads, else the head is polled for.
    pub pushed: bool,
    /// When the loop last went round: it turns even while node and database are away.
    pub alive_at: Instant,
    /// Errors since the last success.
    pub consecutive_errors: u64,
    /// The last error that has not been overcome.
    pub last_error: Option<String>,
    /// What kind of error that is, the word in metrics.
    pub last_error_kind: Option<&'static str>,
    /// The last reorg that took back what was announced, in this process.
    pub deep_reorg: Option<DeepReorg>,
    /// Typed views that could not be made, each with what to do; nothing depends on them.
    pub view_troubles: Vec<String>,
    /// Its sources.
    pub sources: Vec<SourceHealth>,
    /// About sources that are stored and not configured any more.
    pub notes: Vec<String>,
    /// Name of the lease by which it is led, where there is one.
    pub lease: Option<String>,
    /// What its nodes were asked, by method.
    pub rpc: Vec<MethodHealth>,
    /// Its nodes, in the order of the config.
    pub providers: Vec<ProviderHealth>,
}

/// The state of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderHealth {
    /// Its name, or its host.
    pub name: String,
    /// `any`, `live`, `history` or `audit`.
    pub role: &'static str,
    /// Whether the newest blocks are read from it.
    pub live: bool,
    /// Whether old blocks are read from it.
    pub history: bool,
    /// `well`, `failing`, `behind`, `wrong_chain`, `contradicts` or `incapable`.
    pub state: &'static str,
    /// Its newest block, as it last said to a probe; `None` where there is but one provider.
    pub head: Option<u64>,
    /// Blocks the others have and it lacks.
    pub behind: u64,
    /// Usual time of an answer.
    pub latency: Option<std::time::Duration>,
    /// Questions that failed since the start.
    pub failures: u64,
    /// The last failure that was not overcome.
    pub last_error: Option<String>,
    /// What it was asked, by method.
    pub rpc: Vec<MethodHealth>,
}

/// What a JSON-RPC method was used for since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodHealth {
    /// Its name.
    pub method: &'static str,
    /// Calls.
    pub requests: u64,
    /// Calls without a usable answer.
    pub failed: u64,
    /// Compute units by the configured table.
    pub compute_units: u64,
}

impl ChainHealth {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            since: now,
            state: ChainState::Starting,
            provider: None,
            head: None,
            head_time: None,
            confirmed: None,
            node_behind: 0,
            unpublished: None,
            final_number: 0,
            head_moved_at: now,
            pushed: false,
            alive_at: now,
            consecutive_errors: 0,
            last_error: None,
            last_error_kind: None,
            deep_reorg: None,
            view_troubles: Vec::new(),
            sources: Vec::new(),
            notes: Vec::new(),
            lease: None,
            rpc: Vec::new(),
            providers: Vec::new(),
        }
    }

    /// Another turn begins, or (as [`ChainState::Standby`]) another instance's: what was said of the last is over.
    pub fn turn(&mut self, state: ChainState) {
        let sources = std::mem::take(&mut self.sources);
        let fresh = |source| SourceHealth {
            tip: None,
            committed_at: None,
            is_blocked: false,
            hindrance: None,
            unread: None,
            notes: Vec::new(),
            ..source
        };
        *self = Self {
            state,
            provider: self.provider.take(),
            rpc: std::mem::take(&mut self.rpc),
            lease: self.lease.take(),
            sources: sources.into_iter().map(fresh).collect(),
            ..Self::new()
        };
    }

    /// The largest lag of its sources.
    pub fn lag(&self) -> u64 {
        self.sources.iter().map(|source| source.lag(self.confirmed)).max().unwrap_or(0)
    }
}

/// The database, as the last probe found it.
#[derive(Clone, Debug)]
pub struct DatabaseHealth {
    /// Whether a write went through.
    pub writable: bool,
    /// Why not.
    pub error: Option<String>,
    /// Balances below zero.
    pub negative_balances: u64,
    /// Open dead letters.
    pub open_dead_letters: u64,
    /// When their number last rose, `None` while it has not in this process.
    pub letters_rose_at: Option<Instant>,
}

/// A sink, as its relay last left it.
#[derive(Clone, Debug)]
pub struct SinkHealth {
    /// Everything up to this number is there; `None` until it is known.
    pub delivered: Option<u64>,
    /// Since when messages wait and none was delivered, `None` while none waits.
    pub waiting_since: Option<Instant>,
    /// Messages that wait for another try, or behind one that does.
    pub held: u64,
    /// Since when the oldest of them waits; `None` while none does.
    pub held_since: Option<Instant>,
    /// Whether so many wait that no new messages are read for it.
    pub held_full: bool,
    /// Why nothing is sent there until an operator enables it.
    pub disabled: Option<String>,
    /// What it holds that this database never sent, and what to do: nothing is sent there until an operator decides.
    pub foreign: Option<String>,
    /// When the relay last went round.
    pub alive_at: Instant,
    /// Errors since the last success.
    pub consecutive_errors: u64,
    /// The last error that has not been overcome.
    pub last_error: Option<String>,
    /// Name of the lease by which it is led, where there is one.
    pub lease: Option<String>,
}

impl SinkHealth {
    fn new() -> Self {
        let alive_at = Instant::now();
        Self {
            delivered: None,
            waiting_since: None,
            held: 0,
            held_since: None,
            held_full: false,
            disabled: None,
            foreign: None,
            alive_at,
            consecutive_errors: 0,
            last_error: None,
            lease: None,
        }
    }

    /// As [`ChainHealth::turn`].
    pub fn turn(&mut self) {
        *self = Self { lease: self.lease.take(), ..Self::new() };
    }
}

/// A lease, as its keeper last found it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseHealth {
    /// Whether this instance holds it.
    pub held: bool,
    /// The instance that holds it, `None` while no instance does.
    pub holder: Option<String>,
    /// How often it changed hands, the fencing token.
    pub epoch: u64,
}

/// How full the outbox is, as retention last found it.
#[derive(Clone, Copy, Debug)]
pub struct OutboxHealth {
    /// Number of the newest message ever written.
    pub last: u64,
    /// Number of the oldest message kept, `last + 1` where none is.
    pub first: u64,
    /// When the oldest message kept was written.
    pub oldest_at: Option<Instant>,
}

/// The board all chains write on.
#[derive(Clone, Default)]
pub struct Board {
    inner: Arc<Mutex<BoardState>>,
}

#[derive(Default)]
struct BoardState {
    chains: BTreeMap<String, ChainHealth>,
    database: Option<DatabaseHealth>,
    database_identity: Option<String>,
    clock_ahead: Option<f64>,
    sinks: BTreeMap<String, SinkHealth>,
    outbox: Option<OutboxHealth>,
    leases: BTreeMap<String, LeaseHealth>,
    audits: BTreeMap<(String, String), AuditHealth>,
    contracts: BTreeMap<(String, String), ContractHealth>,
    loops: BTreeMap<String, LoopHealth>,
    public: Option<PublicHealth>,
    wakes: BTreeMap<String, Arc<Notify>>,
    stopping: bool,
}

impl Board {
    /// Changes what is said of a chain; the first change puts it on the board.
    pub fn chain(&self, name: &str, change: impl FnOnce(&mut ChainHealth)) {
        let mut inner = self.lock();
        if let Some(chain) = inner.chains.get_mut(name) {
            return change(chain);
        }
        change(inner.chains.entry(name.to_owned()).or_insert_with(ChainHealth::new));
    }

    /// Everything said of the chains now.
    pub fn chains(&self) -> BTreeMap<String, ChainHealth> {
        self.lock().chains.clone()
    }

    /// What the last probe of the database found.
    pub fn set_database(&self, health: DatabaseHealth) {
        self.lock().database = Some(health);
    }

    /// What the last probe of the database found, `None` before the first.
    pub fn database(&self) -> Option<DatabaseHealth> {
        self.lock().database.clone()
    }

    /// Changes what is said of a sink; the first change puts it on the board.
    pub fn sink(&self, name: &str, change: impl FnOnce(&mut SinkHealth)) {
        let mut inner = self.lock();
        if let Some(sink) = inner.sinks.get_mut(name) {
            return change(sink);
        }
        change(inner.sinks.entry(name.to_owned()).or_insert_with(SinkHealth::new));
    }

    /// Everything said of the sinks now.
    pub fn sinks(&self) -> BTreeMap<String, SinkHealth> {
        self.lock().sinks.clone()
    }

    /// Changes what is said of a lease; the first change puts it on the board.
    pub fn lease(&self, name: &str, change: impl FnOnce(&mut LeaseHealth)) {
        change(self.lock().leases.entry(name.to_owned()).or_default());
    }

    /// Every lease this instance would hold. None where it is alone.
    pub fn leases(&self) -> BTreeMap<String, LeaseHealth> {
        self.lock().leases.clone()
    }

    /// How full the outbox was found.
    pub fn set_outbox(&self, health: OutboxHealth) {
        self.lock().outbox = Some(health);
    }

    /// How full the outbox was last found, `None` before the first look.
    pub fn outbox(&self) -> Option<OutboxHealth> {
        self.lock().outbox
    }

    /// The map stays usable whatever panicked while it was held.
    fn lock(&self) -> MutexGuard<'_, BoardState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
