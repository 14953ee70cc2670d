use std::sync::Arc;
use std::time::Instant;

use super::ahead::Ahead;
use super::followed::Following;
use super::gaps::Filling;
use super::history::Reading;
use super::pending::Telling;
use super::spine::ChainIndexer;
use super::view::View;
use chainflume_core::canon::Heads;
use chainflume_core::domain::BlockRef;
use chainflume_node::{Node, Switched, Wake};
use chainflume_store::{ChainStore, Epoch};

/// What one lease turn knows of its chain. It is built when the turn begins and dropped when it ends, because another
/// instance may have written in between.
pub(super) struct Session<'a> {
    /// The wiring, which outlives the turn.
    pub(super) chain: &'a mut ChainIndexer,
    /// Epoch of the lease; `None` without leases.
    pub(super) epoch: Option<Epoch>,
    /// The chain in the store. `None` until it is registered, and again when an operator may have changed its sources.
    pub(super) opened: Option<ChainStore>,
    pub(super) wake: Wake,
    /// When the loop last looked at the head.
    pub(super) woken_at: Instant,
    pub(super) switched: Switched,
    /// The provider of new blocks. A step keeps it to its end.
    pub(super) node: Arc<Node>,
    /// The provider of old blocks.
    pub(super) past: Arc<Node>,
    pub(super) observed: Observed,
    pub(super) telling: Telling,
    /// How the configuration compares with what is stored.
    pub(super) following: Following,
    /// Since when a node that lags contradicts a final block.
    pub(super) doubted_since: Option<Instant>,
    /// Whether every index of the store exists, as far as this turn knows.
    pub(super) indexed: bool,
    pub(super) attempt: Attempt,
}

/// What the node last returned about the head of the chain.
#[derive(Default)]
pub(super) struct Observed {
    pub(super) heads: Option<Heads>,
    /// When the tags were last fetched.
    pub(super) tags_at: Option<Instant>,
    /// The newest block that the node returned.
    pub(super) newest: Option<BlockRef>,
}

/// What was read since the last error. Any error drops all of it: a commit whose reply was lost may have happened.
#[derive(Default)]
pub(super) struct Attempt {
    /// `None` until it is read from the store.
    pub(super) view: Option<View>,
    /// Whether the chain was compared with the view. Nothing is stored before.
    pub(super) looked: bool,
    /// The history that is being read.
    pub(super) reading: Option<Reading>,
    /// The gap of a source that is being read.
    pub(super) filling: Option<Filling>,
    /// The block that came with the head.
    pub(super) ahead: Option<Ahead>,
}

impl<'a> Session<'a> {
    /// A turn that has fetched and stored nothing yet.
    pub(super) fn new(chain: &'a mut ChainIndexer, epoch: Option<Epoch>) -> Self {
        // Subscribed before the providers are read, so that no switch is missed.
        let switched = chain.pool.switched();
        let (node, past) = (chain.pool.live(), chain.pool.history());
        let wake = Wake::new(&chain.settings, chain.pool.live_settings());
        let host = node.host().to_owned();
        chain.board.chain(&chain.settings.name, |health| health.provider = Some(host));
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
            telling: Telling::default(),
            following: Following::default(),
            doubted_since: None,
            indexed: false,
            attempt: Attempt::default(),
        }
    }

    /// Drops what was read, with the reads that still run: the next step reads the store and looks at the chain again.
    pub(super) fn forget(&mut self) {
        self.attempt = Attempt::default();
        self.wake.again();
    }

    pub(super) fn store(&self) -> &ChainStore {
        self.opened.as_ref().expect("a step opens the chain before anything else")
    }

    pub(super) fn view(&self) -> &View {
        self.attempt.view.as_ref().expect("a step reads the view before anything else")
    }

    pub(super) fn view_mut(&mut self) -> &mut View {
        self.attempt.view.as_mut().expect("a step reads the view before anything else")
    }

    /// The newest block that the node is known to have.
    pub(super) fn head(&self) -> u64 {
        self.observed.heads.map_or(0, |heads| heads.latest)
    }

    /// The newest final block. It never goes back.
    pub(super) fn final_number(&self) -> u64 {
        let now = self.observed.heads.map_or(0, |heads| self.chain.policy.final_number(&heads));
        now.max(self.attempt.view.as_ref().map_or(0, View::final_number))
    }
}
