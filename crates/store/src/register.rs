//! Registers what is configured: a chain, its sources and the kinds of its events.

use chainflume_core::domain::{EventKind, StartBlock, compare};

use super::kinds::{self, Kinds};
use super::open::{OpenChain, StoredKind};
use super::{ChainRecord, ChainStore, PublishFrom, SourceRecord, Store, followed};
use chainflume_db::StoreError;
use chainflume_db::convert::{hash, int8};
use chainflume_db::transaction::{self, Tx};

impl Store {
    /// Registers a chain, its sources and the kinds of its events. [`chainflume_core::domain::KindIndex`] in events given to the result indexes
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

        let mut tx = transaction::begin(&self.pool).await?;
        transaction::lock(&mut tx, transaction::REGISTRATION).await?;
        register_chain(&mut tx, id, chain).await?;
        let configured = chain.configured();
        let comparison = compare(chain.chain_id, &configured, &followed::filled_sources(&mut tx).await?);
        // While an operator decision is open, only the old registration shows what the source has read.
        let free =
            chain.sources.iter().zip(&comparison.sources).filter(|(_, compared)| !compared.is_blocked());
        let (sources, compared): (Vec<_>, Vec<_>) = free.unzip();
        register_sources(&mut tx, id, &sources).await?;
        // For a source of an older program: before its kinds are registered, because they show which events are new.
        followed::adopt(&mut tx, &compared).await?;
        let blocked = comparison.blocked();
        let is_blocked = |kind: &EventKind| blocked.contains(kind.source.as_str());
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
            configured,
            comparison,
        };
        Ok(ChainStore::beside(self, chain))
    }
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
/// shows how far down the stored events go. The block that was decided for `latest` stays.
///
/// One statement for all of them: the lock of the registration keeps every other instance, command and audit from opening a chain, and
/// thousands of round trips would take longer than they wait for it.
async fn register_sources(tx: &mut Tx, chain_id: i64, sources: &[&SourceRecord]) -> Result<(), StoreError> {
    let start_block = |source: &&SourceRecord| match source.start_block {
        StartBlock::Number(number) => Ok(Some(int8("start block", number)?)),
        StartBlock::Latest => Ok(None),
    };
    let publish_from = |source: &&SourceRecord| match source.publish_from {
        PublishFrom::Head => Ok(None),
        PublishFrom::Start => Ok(Some(0)),
        PublishFrom::Block(number) => Ok(Some(int8("block number", number)?)),
    };
    let end_block = |source: &&SourceRecord| source.end_block.map(|end| int8("end block", end)).transpose();
    let each = sources.iter();
    sqlx::query(
        r"
        insert into sources as s (name, chain_id, family, start_block, starts_at_latest, decimals, publish_from, end_block)
        select g.name, $1, g.family, g.start_block, g.start_block is null, g.decimals, g.publish_from, g.end_block
        from unnest($2::text[], $3::text[], $4::bigint[], $5::smallint[], $6::bigint[], $7::bigint[]) with ordinality
            as g (name, family, start_block, decimals, publish_from, end_block, position)
        order by g.position
        on conflict on constraint sources_name_key do update set
            family = excluded.family, decimals = excluded.decimals, starts_at_latest = excluded.starts_at_latest,
            end_block = excluded.end_block, start_block = case
                when s.group_id is not null or (s.starts_at_latest and excluded.starts_at_latest) then s.start_block
                else excluded.start_block
            end
        ",
    )
    .bind(chain_id)
    .bind(each.clone().map(|source| source.name.as_str()).collect::<Vec<_>>())
    .bind(each.clone().map(|source| source.family.as_str()).collect::<Vec<_>>())
    .bind(each.clone().map(start_block).collect::<Result<Vec<Option<i64>>, StoreError>>()?)
    .bind(each.clone().map(|source| source.decimals.map(i16::from)).collect::<Vec<_>>())
    .bind(each.clone().map(publish_from).collect::<Result<Vec<Option<i64>>, StoreError>>()?)
    .bind(each.map(end_block).collect::<Result<Vec<Option<i64>>, StoreError>>()?)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
