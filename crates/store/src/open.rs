use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use sqlx::postgres::PgPool;
use tokio::sync::Semaphore;

use chainflume_core::domain::{
    AddressSet, B256, BlockRef, ChainComparison, ConfiguredSource, EventKind, FollowedEvent, KindIndex,
    Projection, StartBlock,
};

use super::Store;
use super::kinds::Kinds;
use chainflume_core::messages::DescribedKind;
use chainflume_core::settings::number_or_word;
use chainflume_db::Epoch;
use chainflume_db::StoreError;
use chainflume_db::convert::{hash, int8};
use chainflume_db::transaction::Tx;

/// A chain as configured.
#[derive(Clone, Debug)]
pub struct ChainRecord {
    /// EIP-155.
    pub chain_id: u64,
    /// For people.
    pub name: String,
    /// Hash of block 0 as the node returned it; `None` if no node was asked.
    pub genesis_hash: Option<B256>,
    /// Whether a wallet that stakes and is unknown gets a row in `users`.
    pub create_missing_users: bool,
    /// Its sources.
    pub sources: Vec<SourceRecord>,
}

/// A source as configured.
#[derive(Clone, Debug)]
pub struct SourceRecord {
    /// Unique over all chains.
    pub name: String,
    /// `stake`, `erc20`, `erc721` or `generic`.
    pub family: String,
    /// First block.
    pub start_block: StartBlock,
    /// Last block; `None` without one.
    pub end_block: Option<u64>,
    /// Of the token, where the family has one.
    pub decimals: Option<u8>,
    /// From which block on its events are published. Decided once, when the source is new.
    pub publish_from: PublishFrom,
    /// The events and contracts that it follows.
    pub follows: Vec<FollowedEvent>,
}

/// From which block on a source publishes its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PublishFrom {
    /// From the block after the first head: no consumer wants a notification about last year.
    #[default]
    Head,
    /// From its first block.
    Start,
    /// From this block.
    Block(u64),
}

impl<'de> Deserialize<'de> for PublishFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = [("head", Self::Head), ("start", Self::Start)];
        let remedy = "write \"head\", \"start\" or a block number";
        number_or_word::<0, { BlockRef::HIGHEST }, _, _>(deserializer, Self::Block, &words, remedy)
    }
}

/// One chain of the store, opened for writing. Cheap to clone.
#[derive(Clone)]
pub struct ChainStore {
    pub(super) pool: PgPool,
    pub(super) spare: Arc<Semaphore>,
    pub(super) chain: Arc<OpenChain>,
    /// The epoch of the lease, for the leader of the chain: its writes are refused once another instance leads.
    pub(super) epoch: Option<Epoch>,
    /// The contracts of each source; every contract if there is no entry.
    pub(super) contracts: Arc<BTreeMap<String, AddressSet>>,
}

impl fmt::Debug for ChainStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainStore").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// What every statement about a chain needs.
#[derive(Clone, Debug)]
pub(super) struct OpenChain {
    pub(super) id: i64,
    pub(super) create_missing_users: bool,
    /// Names, in the order of the configuration.
    pub(super) sources: Vec<String>,
    /// Indexed by [`KindIndex`]. `None` for a kind of a source that is not followed: it is not registered, because a registered
    /// kind counts as followed.
    pub(super) kinds: Vec<Option<StoredKind>>,
    /// The configured kinds, with the keys under which their arguments are stored.
    pub(super) event_kinds: Vec<EventKind>,
    /// All stored kinds, those of sources that are no longer configured included.
    pub(super) described: Kinds,
    /// The configured sources.
    pub(super) configured: Vec<ConfiguredSource>,
    /// Sources that publish from the head. The past of an addition to them is not published.
    pub(super) from_head: BTreeSet<String>,
    /// The comparison of the configuration with the store at the time when the chain was opened.
    pub(super) comparison: ChainComparison,
}

/// A kind with its id.
#[derive(Clone, Debug)]
pub(super) struct StoredKind {
    pub(super) id: i32,
    pub(super) source: String,
    pub(super) projection: Projection,
}

impl StoredKind {
    pub(super) fn of(id: i32, kind: &EventKind) -> Self {
        Self { id, source: kind.source.clone(), projection: kind.projection }
    }
}

impl OpenChain {
    /// A stored chain without its configuration, for commands about sources that may not be configured any more.
    pub(super) async fn unconfigured(tx: &mut Tx, id: i64) -> Result<Self, StoreError> {
        Ok(Self {
            id,
            create_missing_users: false,
            sources: Vec::new(),
            kinds: Vec::new(),
            event_kinds: Vec::new(),
            described: Kinds::read(tx, id).await?,
            configured: Vec::new(),
            from_head: BTreeSet::new(),
            comparison: ChainComparison::default(),
        })
    }

    /// The kind at this index.
    pub(super) fn kind(&self, index: KindIndex) -> Result<&StoredKind, StoreError> {
        match self.kinds.get(index.0) {
            Some(Some(kind)) => Ok(kind),
            Some(None) => {
                Err(StoreError::invalid(format!("kind {} is of a source that is not followed", index.0)))
            }
            None => Err(StoreError::invalid(format!("there is no kind {}", index.0))),
        }
    }

    /// Whether a kind of this id is configured.
    pub(super) fn has_kind(&self, id: i32) -> bool {
        self.kinds.iter().flatten().any(|kind| kind.id == id)
    }

    /// A kind by its id.
    pub(super) fn described(&self, id: i32) -> Result<&DescribedKind, StoreError> {
        self.described.get(id).ok_or_else(|| StoreError::invalid(format!("there is no kind of id {id}")))
    }

    /// Every kind that was stored when the chain was opened, by id.
    pub(super) fn all_described(&self) -> impl Iterator<Item = (i32, &DescribedKind)> {
        self.described.iter()
    }

    /// The same chain with the present kinds: a command with a newer configuration may have stored events of kinds that were
    /// unknown when this chain was opened.
    pub(super) async fn refreshed(&self, tx: &mut Tx) -> Result<Self, StoreError> {
        Ok(Self { described: Kinds::read(tx, self.id).await?, ..self.clone() })
    }

    /// Names of the sources that are followed, in the order of the configuration.
    pub(super) fn followed(&self) -> Vec<&str> {
        let (names, blocked) = (self.sources.iter().map(String::as_str), self.comparison.blocked());
        names.filter(|name| !blocked.contains(name)).collect()
    }

    /// The chain id as the domain has it.
    pub(super) fn number(&self) -> u64 {
        self.id.unsigned_abs()
    }
}

impl Store {
    /// The registered hash of a chain's block 0; `None` if the chain is not registered, or no node could return the block.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn genesis(&self, chain_id: u64) -> Result<Option<B256>, StoreError> {
        genesis(&self.pool, int8("chain id", chain_id)?).await
    }
}

impl ChainStore {
    /// A stored chain, for a command beside the daemon.
    pub(super) fn beside(store: &Store, chain: OpenChain) -> Self {
        let (pool, spare) = (store.pool.clone(), store.spare.clone());
        Self { pool, spare, chain: Arc::new(chain), epoch: None, contracts: Arc::default() }
    }

    /// As [`Store::genesis`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn genesis(&self) -> Result<Option<B256>, StoreError> {
        genesis(&self.pool, self.chain.id).await
    }

    /// The kinds in the order they were given, with the keys under which their arguments are kept: an argument that was
    /// given another name keeps the key it was first stored under.
    pub fn kinds(&self) -> &[EventKind] {
        &self.chain.event_kinds
    }

    /// The comparison of the configuration with the store at the time when the chain was opened.
    pub fn comparison(&self) -> &ChainComparison {
        &self.chain.comparison
    }
}

async fn genesis(pool: &PgPool, chain_id: i64) -> Result<Option<B256>, StoreError> {
    let stored: Option<Option<Vec<u8>>> =
        sqlx::query_scalar("select genesis_hash from chains where chain_id = $1")
            .bind(chain_id)
            .fetch_optional(pool)
            .await?;
    stored.flatten().as_deref().map(hash).transpose()
}
