use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use sqlx::postgres::PgPool;
use tokio::sync::Semaphore;

use chainflume_core::domain::{
    AddressSet, B256, ChainComparison, ConfiguredSource, EventKind, FollowedEvent, KindIndex, Projection,
    compare,
};

use super::kinds::{self, Described, Kinds};
use super::{Store, followed};
use chainflume_db::Epoch;
use chainflume_db::StoreError;
use chainflume_db::convert::{hash, int8};
use chainflume_db::transaction::{self, Tx};

/// A chain as configured.
#[derive(Clone, Debug)]
pub struct ChainRecord {
    /// EIP-155.
    pub chain_id: u64,
    /// For people.
    pub name: String,
    /// As the node says, where it was asked.
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
    pub start_block: u64,
    /// Of the token, where the family has one.
    pub decimals: Option<u8>,
    /// From where on its events are announced. Decided once, when the source is new.
    pub publish_from: PublishFrom,
    /// What it listens for.
    pub follows: Vec<FollowedEvent>,
}

/// From where on a source's events are announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishFrom {
    /// What comes after the head that is seen first: no consumer wants a notification about last year.
    Head,
    /// Everything.
    Start,
    /// This block and what comes after.
    Block(u64),
}

/// One chain of the store, opened for writing. Cheap to clone.
#[derive(Clone)]
pub struct ChainStore {
    pub(super) pool: PgPool,
    pub(super) spare: Arc<Semaphore>,
    pub(super) chain: Arc<OpenChain>,
    /// Of the leader of the chain; fences it off once another instance leads.
    pub(super) epoch: Option<Epoch>,
    /// The contracts of each source; every one where nothing is said.
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
    /// `None` of a source that is not followed: nothing of it is registered, since that would make it look as if it were.
    kinds: Vec<Option<StoredKind>>,
    /// As they were given, with the keys under which their arguments are kept.
    event_kinds: Vec<EventKind>,
    /// Those of sources that have left the configuration included.
    described: Kinds,
    /// As configured.
    pub(super) asked: Vec<ConfiguredSource>,
    /// Sources that are announced from the head: what is added to them is announced from the head then, and its past is not.
    pub(super) from_head: BTreeSet<String>,
    /// How the configuration compared with what was stored when the chain was opened.
    comparison: ChainComparison,
}

/// A kind that has its id.
#[derive(Clone, Debug)]
pub(super) struct StoredKind {
    pub(super) id: i32,
    pub(super) source: String,
    pub(super) projection: Projection,
}

impl StoredKind {
    fn of(id: i32, kind: &EventKind) -> Self {
        Self { id, source: kind.source.clone(), projection: kind.projection }
    }
}

impl OpenChain {
    /// A chain as it is stored, for commands about sources that are perhaps configured no more.
    pub(super) async fn unconfigured(tx: &mut Tx, id: i64) -> Result<Self, StoreError> {
        Ok(Self {
            id,
            create_missing_users: false,
            sources: Vec::new(),
            kinds: Vec::new(),
            event_kinds: Vec::new(),
            described: Kinds::read(tx, id).await?,
            asked: Vec::new(),
            from_head: BTreeSet::new(),
            comparison: ChainComparison::default(),
        })
    }

    /// The kind an event names.
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
    pub(super) fn described(&self, id: i32) -> Result<&Described, StoreError> {
        self.described.get(id).ok_or_else(|| StoreError::invalid(format!("there is no kind of id {id}")))
    }

    /// Every kind there was when the chain was opened, by id.
    pub(super) fn all_described(&self) -> impl Iterator<Item = (i32, &Described)> {
        self.described.iter()
    }

    /// With the kinds there are now: a command with a newer configuration may have stored events of kinds that were
    /// unknown when this chain was opened.
    pub(super) async fn refreshed(&self, tx: &mut Tx) -> Result<Self, StoreError> {
        Ok(Self { described: Kinds::read(tx, self.id).await?, ..self.clone() })
    }

    /// The names of the sources of which something is followed.
    pub(super) fn followed(&self) -> Vec<&str> {
        let names = self.sources.iter().map(String::as_str);
        names.filter(|name| !self.comparison.is_blocked(name)).collect()
    }

    /// The chain id as the domain has it.
    pub(super) fn number(&self) -> u64 {
        self.id.unsigned_abs()
    }
}

impl Store {
    /// Hash of block 0 of a chain, as it was registered; `None` where it was not, or no node could return it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn genesis(&self, chain_id: u64) -> Result<Option<B256>, StoreError> {
        genesis(&self.pool, int8("chain id", chain_id)?).await
    }

    /// Registers a chain, its sources and the kinds of its events. [`KindIndex`] in events given to the result indexes
    /// `kinds`; the keys of their arguments are those of [`ChainStore::kinds`]. Safe for two instances at once. Views are made
    /// apart, by [`Store::make_views`].
    ///
    /// # Errors
    /// [`StoreError::OtherChain`].
    pub async fn open_chain(
        &self,
        chain: &ChainRecord,
        kinds: &[EventKind],
    ) -> Result<ChainStore, StoreError> {
        let id = int8("chain id", chain.chain_id)?;

        let mut tx = transaction::begin(&self.pool, true).await?;
        transaction::lock(&mut tx, transaction::REGISTRATION).await?;
        register_chain(&mut tx, id, chain).await?;
        let asked = chain.asked();
        let comparison = compare(chain.chain_id, &asked, &followed::kept(&mut tx).await?);
        for (source, course) in chain.sources.iter().zip(&comparison.courses) {
            // As long as an operator has to decide, the old registration is all that shows what the store was filled by.
            if !course.is_blocked() {
                register_source(&mut tx, id, source).await?;
                // Of what an older program filled: before the kinds are registered, which tell which events are new.
                followed::adopt(&mut tx, &source.name, course).await?;
            }
        }
        let is_blocked = |kind: &EventKind| comparison.is_blocked(&kind.source);
        let free: Vec<EventKind> = kinds.iter().filter(|kind| !is_blocked(kind)).cloned().collect();
        let mut registered = kinds::register(&mut tx, id, &free).await?.into_iter();
        let registered: Vec<Option<(i32, EventKind)>> =
            kinds.iter().map(|kind| if is_blocked(kind) { None } else { registered.next() }).collect();
        let described = Kinds::read(&mut tx, id).await?;
        tx.commit().await?;

        let from_head = chain.sources.iter().filter(|source| source.publish_from == PublishFrom::Head);
        let chain = OpenChain {
            id,
            create_missing_users: chain.create_missing_users,
            sources: chain.sources.iter().map(|source| source.name.clone()).collect(),
            kinds: registered
                .iter()
                .map(|kept| kept.as_ref().map(|(id, kind)| StoredKind::of(*id, kind)))
                .collect(),
            event_kinds: kinds
                .iter()
                .zip(registered)
                .map(|(given, kept)| kept.map_or_else(|| given.clone(), |(_, kind)| kind))
                .collect(),
            described,
            from_head: from_head.map(|source| source.name.clone()).collect(),
            asked,
            comparison,
        };
        Ok(ChainStore::beside(self, chain))
    }
}

impl ChainStore {
    /// For a command beside the daemon, of a chain as it is stored.
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

    /// How the configuration compared with what was stored when the chain was opened.
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

async fn register_chain(tx: &mut Tx, id: i64, chain: &ChainRecord) -> Result<(), StoreError> {
    let genesis = chain.genesis_hash.as_ref().map(|hash| hash.as_slice());
    let stored: Option<Vec<u8>> = sqlx::query_scalar(
        r"
        insert into chains as c (chain_id, name, genesis_hash) values ($1, $2, $3)
        on conflict on constraint chains_pkey do update set
            name = excluded.name, genesis_hash = coalesce(c.genesis_hash, excluded.genesis_hash)
        returning genesis_hash
        ",
    )
    .bind(id)
    .bind(&chain.name)
    .bind(genesis)
    .fetch_one(&mut **tx)
    .await?;
    match (stored.as_deref().map(hash).transpose()?, chain.genesis_hash) {
        (Some(stored), Some(given)) if stored != given => Err(StoreError::OtherChain {
            chain_id: chain.chain_id,
            stored: stored.to_string(),
            given: given.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Start block and family follow the configuration until something is stored; from then on, the start block
/// says how far down the stored events go.
async fn register_source(tx: &mut Tx, chain_id: i64, source: &SourceRecord) -> Result<(), StoreError> {
    let start_block = int8("start block", source.start_block)?;
    let publish_from = match source.publish_from {
        PublishFrom::Head => None,
        PublishFrom::Start => Some(0),
        PublishFrom::Block(number) => Some(int8("block number", number)?),
    };
    let begun: Option<i64> = sqlx::query_scalar(
        "select s.start_block from sources s join checkpoints c on c.source = s.name where s.name = $1",
    )
    .bind(&source.name)
    .fetch_optional(&mut **tx)
    .await?;
    sqlx::query(
        r"
        insert into sources (name, chain_id, family, start_block, decimals, publish_from)
        values ($1, $2, $3, $4, $5, $6) on conflict on constraint sources_name_key do update set
            family = excluded.family, start_block = excluded.start_block, decimals = excluded.decimals
        ",
    )
    .bind(&source.name)
    .bind(chain_id)
    .bind(&source.family)
    .bind(begun.unwrap_or(start_block))
    .bind(source.decimals.map(i16::from))
    .bind(publish_from)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
