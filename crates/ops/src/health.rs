//! The state of each chain and each sink, for readiness, metrics, `status` and the watchdog. The spine and the relays
//! write it, every part reads it. Ages are computed when they are read, so that they grow during a stall.

mod audits;
mod chain;
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

use tokio::sync::Notify;

pub use audits::AuditHealth;
pub use chain::{
    ChainHeads, ChainHealth, ChainNotices, ChainState, DeepReorg, ErrorRun, MethodHealth, NodeUse,
    ProviderHealth,
};
pub use contracts::ContractHealth;
pub use heartbeat::Heartbeat;
pub(crate) use heartbeat::wait_beating;
pub use loops::{LoopHealth, TurnSource};
pub use public::PublicHealth;
pub use source::{SourceHealth, SourceIdle, UnreadHealth};
pub use throughput::{Rate, Throughput};

/// A loop of a chain or a sink hangs if it has not turned for this long: each request and each pause in it is shorter.
pub const HUNG_AFTER: Duration = Duration::from_secs(60);

/// The database, at the last probe.
#[derive(Clone, Debug, Default)]
pub struct DatabaseHealth {
    /// Whether a write succeeded.
    pub writable: bool,
    /// Why the write failed.
    pub error: Option<String>,
    /// Balances below zero.
    pub negative_balances: u64,
    /// Open dead letters.
    pub open_dead_letters: u64,
    /// When their number last rose; `None` if it has not risen in this process.
    pub letters_rose_at: Option<Instant>,
}

/// A sink, as its relay last reported it.
#[derive(Clone, Debug)]
pub struct SinkHealth {
    /// Everything up to this number is delivered; `None` until it is known.
    pub delivered: Option<u64>,
    /// Since when messages wait without a delivery; `None` while none waits.
    pub waiting_since: Option<Instant>,
    /// Messages that wait for another try, or behind a message that does.
    pub held: u64,
    /// Since when the oldest of these messages waits; `None` while none does.
    pub held_since: Option<Instant>,
    /// Whether these are so many that no new messages are read.
    pub held_full: bool,
    /// Why the sink is disabled until an operator enables it.
    pub disabled: Option<String>,
    /// Messages in the sink that this database never sent, and the remedy. Delivery is stopped until an operator
    /// decides.
    pub foreign: Option<String>,
    /// When the relay last turned.
    pub alive_at: Instant,
    /// Errors since the last success.
    pub consecutive_errors: u64,
    /// The last error, until a delivery succeeds.
    pub last_error: Option<String>,
    /// Name of its lease, if it has one.
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

/// A lease, as its manager last found it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseHealth {
    /// Whether this instance holds it.
    pub held: bool,
    /// The instance that holds it, `None` while no instance does.
    pub holder: Option<String>,
    /// Number of changes of the holder: the fencing token.
    pub epoch: u64,
}

/// The size of the outbox, as retention last measured it.
#[derive(Clone, Copy, Debug)]
pub struct OutboxHealth {
    /// Number of the newest message ever written.
    pub last: u64,
    /// Number of the oldest message kept, `last + 1` where none is.
    pub first: u64,
    /// When the oldest message kept was written.
    pub oldest_at: Option<Instant>,
}

/// The state of all chains and sinks of the process.
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
    /// Changes the state of a chain; the first change adds the chain.
    pub fn chain(&self, name: &str, change: impl FnOnce(&mut ChainHealth)) {
        let mut inner = self.lock();
        if let Some(chain) = inner.chains.get_mut(name) {
            return change(chain);
        }
        change(inner.chains.entry(name.to_owned()).or_insert_with(ChainHealth::new));
    }

    /// The present state of all chains.
    pub fn chains(&self) -> BTreeMap<String, ChainHealth> {
        self.lock().chains.clone()
    }

    /// Sets the result of the last probe of the database.
    pub fn set_database(&self, health: DatabaseHealth) {
        self.lock().database = Some(health);
    }

    /// The result of the last probe of the database; `None` before the first.
    pub fn database(&self) -> Option<DatabaseHealth> {
        self.lock().database.clone()
    }

    /// Changes the state of a sink; the first change adds the sink.
    pub fn sink(&self, name: &str, change: impl FnOnce(&mut SinkHealth)) {
        let mut inner = self.lock();
        if let Some(sink) = inner.sinks.get_mut(name) {
            return change(sink);
        }
        change(inner.sinks.entry(name.to_owned()).or_insert_with(SinkHealth::new));
    }

    /// The present state of all sinks.
    pub fn sinks(&self) -> BTreeMap<String, SinkHealth> {
        self.lock().sinks.clone()
    }

    /// Changes the state of a lease; the first change adds the lease.
    pub fn lease(&self, name: &str, change: impl FnOnce(&mut LeaseHealth)) {
        change(self.lock().leases.entry(name.to_owned()).or_default());
    }

    /// Every lease that this instance competes for. Empty for a single instance.
    pub fn leases(&self) -> BTreeMap<String, LeaseHealth> {
        self.lock().leases.clone()
    }

    /// Sets the size of the outbox.
    pub fn set_outbox(&self, health: OutboxHealth) {
        self.lock().outbox = Some(health);
    }

    /// The last measured size of the outbox; `None` before the first measurement.
    pub fn outbox(&self) -> Option<OutboxHealth> {
        self.lock().outbox
    }

    /// The map stays usable after a panic of another holder.
    fn lock(&self) -> MutexGuard<'_, BoardState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
