//! The record of what each source has read: which events of which contracts, in which blocks. It is compared with the configuration
//! and updated from it.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgConnection;

use chainflume_core::domain::{
    Address, AddressSet, BlockRange, ChainComparison, ConfiguredSource, Event, EventKey, FilledSource,
    FollowedEvent, FollowedRange, SourceComparison, compare, normal,
};

use super::open::{ChainRecord, OpenChain};
use super::{ChainStore, Store, checkpoint};
use chainflume_core::messages::DescribedKind;
use chainflume_db::StoreError;
use chainflume_db::convert::{address, count, hash, int8, unsigned};
use chainflume_db::transaction::{self, Tx};

impl Store {
    /// The record of every source of every chain, by name.
    ///
    /// # Errors
    /// A database error; also if the tables are missing: check [`Store::schema`] before.
    pub async fn filled_sources(&self) -> Result<Vec<FilledSource>, StoreError> {
        filled_sources(&mut *transaction::begin_look(&self.pool).await?).await
    }
}

impl ChainRecord {
    /// The sources as they are configured, for the comparison with the record.
    pub fn configured(&self) -> Vec<ConfiguredSource> {
        let configured = |source: &super::SourceRecord| ConfiguredSource {
            name: source.name.clone(),
            family: source.family.clone(),
            start_block: source.start_block,
            end_block: source.end_block,
            events: source.follows.clone(),
        };
        self.sources.iter().map(configured).collect()
    }
}

impl ChainStore {
    /// Compares the configuration of this chain with what is stored now. Writes nothing.
    ///
    /// # Errors
    /// A database error.
    pub async fn compared(&self) -> Result<ChainComparison, StoreError> {
        let mut tx = transaction::begin_look(&self.pool).await?;
        Ok(compare(self.chain.number(), &self.chain.configured, &filled_sources(&mut tx).await?))
    }

    /// Records that from the checkpoints on, exactly what is configured is followed. Only for the leader of the chain: a command
    /// does not advance the checkpoints, so its configuration does not decide what is read there.
    ///
    /// # Errors
    /// [`StoreError::Fenced`]; a database error.
    pub async fn follow(&self) -> Result<ChainComparison, StoreError> {
        let chain = &*self.chain;
        let mut tx = transaction::begin(&self.pool).await?;
        checkpoint::lock_chain(&mut tx, self).await?;
        let kept = filled_sources(&mut tx).await?;
        let comparison = compare(chain.number(), &chain.configured, &kept);
        let kept: BTreeMap<&str, &FilledSource> =
            kept.iter().map(|kept| (kept.name.as_str(), kept)).collect();
        for (configured, compared) in chain.configured.iter().zip(&comparison.sources) {
            let Some(start) = compared.start.filter(|_| !compared.is_blocked()) else { continue };
            write(&mut tx, (compared, start), kept.get(configured.name.as_str()).copied()).await?;
        }
        record_digests(&mut tx, chain).await?;
        tx.commit().await?;
        Ok(comparison)
    }
}

/// Records the digest of the configuration by which the leader follows each source, blocked or not. By this a command with another
/// configuration detects that the daemon would undo its work.
async fn record_digests(tx: &mut Tx, chain: &OpenChain) -> Result<(), StoreError> {
    let (names, digests): (Vec<&str>, Vec<String>) =
        chain.configured.iter().map(|configured| (configured.name.as_str(), configured.digest())).unzip();
    sqlx::query(
        r"
        update sources s set followed_as = d.digest
        from (select k.name, g.digest from sources k
            left join unnest($2::text[], $3::text[]) as g (name, digest) on g.name = k.name
            where k.chain_id = $1) d
        where s.name = d.name and s.followed_as is distinct from d.digest
        ",
    )
    .bind(chain.id)
    .bind(names)
    .bind(digests)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Records what a source has read, and that it follows its configuration from the checkpoint on. Lowers the verified block below the
/// first gap.
async fn write(
    tx: &mut Tx,
    (compared, start): (&SourceComparison, u64),
    kept: Option<&FilledSource>,
) -> Result<(), StoreError> {
    let tip = kept.and_then(|kept| kept.tip);
    let past = compared.parts.iter().filter_map(|part| {
        let to = part.to.or(tip).filter(|to| part.from <= *to)?;
        Some(FollowedRange { to: Some(to), ..part.clone() })
    });
    let next = tip.map_or(0, |tip| tip.saturating_add(1)).max(start);
    let open = compared.listens.iter().map(|(event, addresses)| FollowedRange {
        event: event.clone(),
        addresses: addresses.clone(),
        from: next,
        to: None,
        quiet: false,
    });
    // Joins a part that ends at the checkpoint with the part that begins behind it.
    let parts = normal(&past.chain(open).collect::<Vec<_>>());
    // With thousands of sources nearly all are as they were: none of these is asked for again.
    let stored = kept.map_or(&[][..], |kept| &kept.parts);
    if stored != parts {
        write_parts(tx, &compared.source, &parts).await?;
    }
    if let Some(gap) = compared.gaps.first() {
        sqlx::query(
            "update sources set verified_to = nullif($2 - 1, -1) where name = $1 and verified_to >= $2",
        )
        .bind(&compared.source)
        .bind(int8("block number", gap.range.from())?)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Records what each source has read, by assumption, if there is no record.
pub(super) async fn adopt(tx: &mut Tx, compared: &[&SourceComparison]) -> Result<(), StoreError> {
    let known: Vec<String> =
        sqlx::query_scalar("select distinct source from followed").fetch_all(&mut **tx).await?;
    let known: BTreeSet<String> = known.into_iter().collect();
    let without =
        compared.iter().filter(|compared| !compared.parts.is_empty() && !known.contains(&compared.source));
    for compared in without {
        replace(tx, &compared.source, &normal(&compared.parts)).await?;
    }
    Ok(())
}

/// Replaces the record of a source.
pub(super) async fn replace(tx: &mut Tx, source: &str, parts: &[FollowedRange]) -> Result<(), StoreError> {
    let stored = rows(tx, Some(source)).await?.remove(source).unwrap_or_default();
    if stored == parts {
        return Ok(());
    }
    write_parts(tx, source, parts).await
}

async fn write_parts(tx: &mut Tx, source: &str, parts: &[FollowedRange]) -> Result<(), StoreError> {
    sqlx::query("delete from followed where source = $1").bind(source).execute(&mut **tx).await?;
    for part in parts {
        insert(tx, source, part).await?;
    }
    Ok(())
}

async fn insert(tx: &mut Tx, source: &str, part: &FollowedRange) -> Result<(), StoreError> {
    sqlx::query(
        r"
        insert into followed (source, signature, declaration, topic0, topics, addresses, from_block, to_block, quiet, filter)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ",
    )
    .bind(source)
    .bind(&part.event.signature)
    .bind(&part.event.declaration)
    .bind(part.event.topic0.as_ref().map(|topic| topic.as_slice()))
    .bind(i16::from(part.event.topics))
    .bind(addresses(&part.addresses))
    .bind(int8("block number", part.from)?)
    .bind(part.to.map(|to| int8("block number", to)).transpose()?)
    .bind(part.quiet)
    .bind(part.event.filter.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Records that blocks of a source were read for items that were missing there.
pub(super) async fn extend(
    tx: &mut Tx,
    source: &str,
    (items, range): (&[FollowedEvent], BlockRange),
    quiet: bool,
) -> Result<(), StoreError> {
    let mut parts = rows(tx, Some(source)).await?.remove(source).unwrap_or_default();
    parts.extend(items.iter().map(|(event, addresses)| FollowedRange {
        event: event.clone(),
        addresses: addresses.clone(),
        from: range.from(),
        to: Some(range.to()),
        quiet,
    }));
    replace(tx, source, &normal(&parts)).await
}

/// Records that nothing above a block is read any more: followed items are read again from there.
pub(super) async fn rewind(tx: &mut Tx, chain: &OpenChain, to: u64) -> Result<(), StoreError> {
    let to = int8("block number", to)?;
    for sql in [
        r"
        delete from followed f using sources s where s.name = f.source and s.chain_id = $1
        and f.from_block > $2 and f.to_block is not null
        ",
        r"
        update followed f set to_block = $2 from sources s where s.name = f.source and s.chain_id = $1
        and f.to_block > $2
        ",
        r"
        update followed f set from_block = greatest(s.start_block, $2 + 1) from sources s
        where s.name = f.source and s.chain_id = $1 and f.to_block is null and f.from_block > greatest(s.start_block, $2 + 1)
        ",
    ] {
        sqlx::query(sql).bind(chain.id).bind(to).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Decides which events were stored without messages. Has the whole record of each source with such blocks.
pub(super) struct Quiet(BTreeMap<String, Vec<FollowedRange>>);

impl Quiet {
    pub(super) async fn of(tx: &mut Tx, chain: &OpenChain) -> Result<Self, StoreError> {
        let mut parts = rows(tx, None).await?;
        parts.retain(|source, _| chain.all_described().any(|(_, kind)| kind.source == *source));
        parts.retain(|_, parts| parts.iter().any(|part| part.quiet));
        Ok(Self(parts))
    }

    pub(super) fn has(&self, kind: &DescribedKind, event: &Event) -> bool {
        let number = event.place.block_number;
        let has_read = |part: &&FollowedRange| {
            part.event.signature == kind.signature
                && part.addresses.contains(&event.address)
                && (part.from..=part.to.unwrap_or(u64::MAX)).contains(&number)
        };
        let (quiet, loud): (Vec<_>, Vec<_>) =
            self.0.get(&kind.source).into_iter().flatten().filter(has_read).partition(|part| part.quiet);
        // If a filter was widened, the same blocks were read with the narrower one before, and its events were published.
        let admitted = |part: &&FollowedRange| {
            let filter = &part.event.filter;
            let topics = || kind.topics(event, &part.event);
            filter.is_open() || topics().is_none_or(|topics| filter.admits(&topics))
        };
        !quiet.is_empty() && !loud.iter().any(admitted)
    }
}

/// The record of every source, by name.
pub(super) async fn filled_sources(connection: &mut PgConnection) -> Result<Vec<FilledSource>, StoreError> {
    type SourceRow = (String, i64, String, Option<i64>, Option<i64>, i64, bool);
    let sources: Vec<SourceRow> = sqlx::query_as(
        r"
        select s.name, s.chain_id, s.family, s.start_block, coalesce(r.old_tip_number, p.block_number),
            (select coalesce(sum(k.events), 0)::bigint from event_kinds k where k.source = s.name),
            s.emptying is not null
        from sources s left join checkpoints p on p.source = s.name
            left join reorgs r on r.id = s.emptying order by s.name
        ",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut parts = rows(connection, None).await?;
    let mut kept = Vec::with_capacity(sources.len());
    for (name, chain_id, family, start_block, tip, events, emptying) in sources {
        let parts = parts.remove(&name).unwrap_or_default();
        let unknown = parts.is_empty() && tip.is_some();
        let seen = if unknown { seen(connection, &name).await? } else { BTreeMap::new() };
        kept.push(FilledSource {
            name,
            chain_id: unsigned("chain id", chain_id)?,
            family,
            start_block: start_block.map(|start| unsigned("start block", start)).transpose()?,
            tip: tip.map(|tip| unsigned("block number", tip)).transpose()?,
            events: count(events),
            parts,
            emptying,
            seen,
        });
    }
    Ok(kept)
}

/// Events of each kind that are read to learn the contracts of a source: enough to recognize it, few enough for one read.
const LOOK: i64 = 1_000;

/// What an older program, which kept no record, has stored of a source: signatures, each with some of its contracts.
async fn seen(
    connection: &mut PgConnection,
    source: &str,
) -> Result<BTreeMap<String, BTreeSet<Address>>, StoreError> {
    let rows: Vec<(String, Option<Vec<u8>>)> = sqlx::query_as(
        r"
        select distinct k.signature, e.address from event_kinds k left join lateral
            (select address from events where kind_id = k.id order by block_number limit $2) e on true
        where k.source = $1
        ",
    )
    .bind(source)
    .bind(LOOK)
    .fetch_all(connection)
    .await?;
    let mut seen = BTreeMap::<String, BTreeSet<Address>>::new();
    for (signature, contract) in rows {
        seen.entry(signature).or_default().extend(contract.as_deref().map(address).transpose()?);
    }
    Ok(seen)
}

#[derive(sqlx::FromRow)]
struct FollowedRow {
    source: String,
    signature: String,
    declaration: String,
    topic0: Option<Vec<u8>>,
    topics: i16,
    addresses: Option<Vec<Vec<u8>>>,
    from_block: i64,
    to_block: Option<i64>,
    quiet: bool,
    filter: String,
}

/// The rows of `followed` by source, in order; of one source or of all.
async fn rows(
    connection: &mut PgConnection,
    source: Option<&str>,
) -> Result<BTreeMap<String, Vec<FollowedRange>>, StoreError> {
    let rows: Vec<FollowedRow> = sqlx::query_as(
        r"
        select source, signature, declaration, topic0, topics, addresses, from_block, to_block, quiet, filter
        from followed where $1::text is null or source = $1
        ",
    )
    .bind(source)
    .fetch_all(connection)
    .await?;
    let mut parts = BTreeMap::<String, Vec<FollowedRange>>::new();
    for row in rows {
        parts.entry(row.source.clone()).or_default().push(row.read()?);
    }
    parts.values_mut().for_each(|parts| parts.sort());
    Ok(parts)
}

impl FollowedRow {
    fn read(self) -> Result<FollowedRange, StoreError> {
        let addresses = match self.addresses {
            None => AddressSet::Any,
            Some(set) => AddressSet::Only(set.iter().map(|bytes| address(bytes)).collect::<Result<_, _>>()?),
        };
        let topics = u8::try_from(self.topics).map_err(|_| StoreError::OutOfRange {
            what: "number of topics",
            value: self.topics.to_string(),
        })?;
        Ok(FollowedRange {
            event: EventKey {
                topic0: self.topic0.as_deref().map(hash).transpose()?,
                topics,
                signature: self.signature,
                declaration: self.declaration,
                filter: self
                    .filter
                    .parse()
                    .map_err(|what| StoreError::Corrupt { table: "followed", what })?,
            },
            addresses,
            from: unsigned("block number", self.from_block)?,
            to: self.to_block.map(|to| unsigned("block number", to)).transpose()?,
            quiet: self.quiet,
        })
    }
}

fn addresses(set: &AddressSet) -> Option<Vec<&[u8]>> {
    match set {
        AddressSet::Any => None,
        AddressSet::Only(set) => Some(set.iter().map(|address| address.as_slice()).collect()),
    }
}
