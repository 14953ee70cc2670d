//! The parts of a chain's loop.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::IndexerError;
use super::saved_limits::SavedLimits;
use super::translate::Translator;
use chainflume_core::canon::DepthPolicy;
use chainflume_node::{ChainSettings, Pool};
use chainflume_ops::health::{Board, ChainState};
use chainflume_ops::telemetry::ErrorStreak;
use chainflume_store::{ChainRecord, Store};

/// The parts of a chain's loop.
pub struct IndexerParts {
    /// Providers, limits and timeouts.
    pub settings: ChainSettings,
    /// When a block is confirmed and when it is final.
    pub policy: DepthPolicy,
    /// The chain as the store registers it. The loop fills in the genesis hash.
    pub record: ChainRecord,
    /// The chain's sources and what their events mean.
    pub translator: Translator,
    /// The database, migrated.
    pub store: Store,
    /// The health board.
    pub board: Board,
}

/// One chain's loop: the only writer of its checkpoints. It has the state that outlives a lease turn; an
/// [`IndexSession`](super::session::IndexSession) has the rest.
pub struct ChainIndexer {
    pub(super) settings: ChainSettings,
    pub(super) policy: DepthPolicy,
    pub(super) pool: Pool,
    pub(super) translator: Translator,
    pub(super) record: ChainRecord,
    pub(super) store: Store,
    pub(super) saved_limits: SavedLimits,
    pub(super) board: Board,
    /// Limits log lines about errors, those of readers in the background included.
    pub(super) error_streak: Arc<ErrorStreak>,
    /// The state that was last logged.
    pub(super) logged_state: Option<ChainState>,
    /// The differences between configuration and store that were logged.
    pub(super) logged_differences: BTreeSet<String>,
}

impl ChainIndexer {
    /// Creates the loop without a request or a write.
    ///
    /// # Errors
    /// When no HTTP client can be made of the settings.
    pub fn new(parts: IndexerParts) -> Result<Self, IndexerError> {
        let IndexerParts { settings, policy, record, translator, store, board } = parts;
        let pool = Pool::new(&settings)?;
        let host = pool.live().host().to_owned();
        board.chain(&settings.name, |chain| chain.node.provider = Some(host));
        Ok(Self {
            settings,
            policy,
            pool,
            translator,
            record,
            saved_limits: SavedLimits::new(store.clone()),
            store,
            board,
            error_streak: Arc::default(),
            logged_state: None,
            logged_differences: BTreeSet::new(),
        })
    }
}
