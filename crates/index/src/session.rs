mod followed_sources;
mod gap_read;
mod history_read;
mod pending_progress;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::snapshot::ChainSnapshot;
use super::wiring::ChainIndexer;
use chainflume_core::canon::{Heads, TagHistory};
use chainflume_core::domain::BlockRef;
use chainflume_db::Epoch;
use chainflume_node::{BlockTag, HeadNotifier, HeaderWithLogs, Node, SwitchListener};
use chainflume_ops::supervise::Beside;
use chainflume_store::{AwaitedHead, ChainStore};
pub(super) use followed_sources::{FollowedSources, RETRY_SOURCE_AFTER};
pub(super) use gap_read::{GapMode, GapRead};
pub(super) use history_read::{BatchWriter, HistoryRead, PreparedBatch};
pub(super) use pending_progress::PendingProgress;

/// A step returns at least this often, so that a loop that waits is not taken for one that hangs.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(5);

/// The state of one lease turn. It is built when the turn begins and dropped when it ends, because another instance
/// may write between two turns.
pub(super) struct IndexSession<'a> {
    /// The wiring, which outlives the turn.
    pub(super) chain: &'a mut ChainIndexer,
    /// Epoch of the lease; `None` without leases.
    pub(super) epoch: Option<Epoch>,
    /// The chain in the store. `None` until it is registered, and again when an operator may have changed its sources.
    pub(super) opened: Option<ChainStore>,
    pub(super) wake: HeadNotifier,
    /// When the loop last read the head.
    pub(super) woken_at: Instant,
    pub(super) switched: SwitchListener,
    /// The provider of new blocks. A step keeps it to its end.
    pub(super) node: Arc<Node>,
    /// The provider of old blocks.
    pub(super) past: Arc<Node>,
    pub(super) observed: Observed,
    pub(super) pending: PendingProgress,
    /// How the configuration compares with what is stored.
    pub(super) followed_sources: FollowedSources,
    /// What the first head decides, until it is decided.
    pub(super) first_head: FirstHeadDecision,
    /// Why the chain stopped, and when it is tried again.
    pub(super) stopped: Option<StoppedChain>,
    /// When a node that lags first contradicted a final block.
    pub(super) differs_since: Option<Instant>,
    /// Whether every index of the store exists, as far as this turn knows.
    pub(super) indexed: bool,
    pub(super) attempt: Attempt,
    /// The creation of the typed views, while it runs.
    pub(super) views: Option<Beside>,
}

/// What the node last returned about the head of the chain.
#[derive(Default)]
pub(super) struct Observed {
    pub(super) heads: Option<Heads>,
    /// When the tags were last fetched.
    pub(super) tags_at: Option<Instant>,
    /// The newest block that the node returned.
    pub(super) newest: Option<BlockRef>,
    /// The state of the `safe` tag.
    pub(super) safe: TagHistory,
    /// The state of the `finalized` tag.
    pub(super) finalized: TagHistory,
}

impl Observed {
    /// The state of a tag.
    pub(super) fn tag(&mut self, tag: BlockTag) -> &mut TagHistory {
        if tag == BlockTag::Safe { &mut self.safe } else { &mut self.finalized }
    }
}

/// State since the last error. Any error drops all of it, because a commit whose reply was lost may have happened.
#[derive(Default)]
pub(super) struct Attempt {
    /// `None` until it is read from the store.
    pub(super) snapshot: Option<ChainSnapshot>,
    /// Whether the node was compared with the snapshot. Until then nothing is stored.
    pub(super) compared: bool,
    /// The history that is being read.
    pub(super) history_read: Option<HistoryRead>,
    /// The gap of a source that is being read.
    pub(super) gap_read: Option<GapRead>,
    /// The block that came with the head.
    pub(super) prefetched: Option<Prefetched>,
}

/// A block that came with the head, with its logs for these sources.
pub(super) struct Prefetched {
    pub(super) sources: Vec<usize>,
    pub(super) near: HeaderWithLogs,
}

/// The state of the decision by the first head.
#[derive(Default)]
pub(super) struct FirstHeadDecision {
    /// What still waits for the decision.
    pub(super) awaited: AwaitedHead,
    /// The last head that was too old for the decision.
    pub(super) before: Option<u64>,
    /// Whether it was logged that the decision waits.
    pub(super) is_logged: bool,
}

impl FirstHeadDecision {
    /// Sets what waits for the first head, after the chain was registered.
    pub(super) fn begin(&mut self, awaited: AwaitedHead) {
        self.awaited = awaited;
    }
}

/// Why a chain stopped.
pub(super) struct StoppedChain {
    pub(super) why: String,
    /// Pause until the next check.
    pub(super) pause: Duration,
}

impl<'a> IndexSession<'a> {
    /// The state at the beginning of a turn.
    pub(super) fn new(chain: &'a mut ChainIndexer, epoch: Option<Epoch>) -> Self {
        // Subscribed before the providers are read, so that no switch is missed.
        let switched = chain.pool.switched();
        let (node, past) = (chain.pool.live(), chain.pool.history());
        let wake = HeadNotifier::new(&chain.settings, chain.pool.live_settings());
        let host = node.host().to_owned();
        chain.board.chain(&chain.settings.name, |health| health.node.provider = Some(host));
        Self {
            chain,
            epoch,
            opened: None,
            wake,
            woken_at: Instant::now(),
            switched,
            node,
            past,
            observed: Observed::default(),
            pending: PendingProgress::default(),
            followed_sources: FollowedSources::default(),
            first_head: FirstHeadDecision::default(),
            stopped: None,
            differs_since: None,
            indexed: false,
            attempt: Attempt::default(),
            views: None,
        }
    }

    /// Drops what was read, and cancels reads: the next step reads the store and compares it with the node again.
    pub(super) fn forget(&mut self) {
        self.attempt = Attempt::default();
        self.wake.poll_now();
    }

    pub(super) fn store(&self) -> &ChainStore {
        self.opened.as_ref().expect("a step opens the chain before anything else")
    }

    pub(super) fn snapshot(&self) -> &ChainSnapshot {
        self.attempt.snapshot.as_ref().expect("a step reads the snapshot before anything else")
    }

    pub(super) fn snapshot_mut(&mut self) -> &mut ChainSnapshot {
        self.attempt.snapshot.as_mut().expect("a step reads the snapshot before anything else")
    }

    /// The newest block that the node is known to have.
    pub(super) fn head(&self) -> u64 {
        self.observed.heads.map_or(0, |heads| heads.latest)
    }

    /// The newest final block. It never decreases.
    pub(super) fn final_number(&self) -> u64 {
        let now = self.observed.heads.map_or(0, |heads| self.chain.policy.final_number(&heads));
        now.max(self.attempt.snapshot.as_ref().map_or(0, ChainSnapshot::final_number))
    }
}
