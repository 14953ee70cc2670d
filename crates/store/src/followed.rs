//! The record of what each source has read: which events of which contracts, in which blocks. It is compared with the configuration
//! and updated from it.

mod table;

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgConnection;

use chainflume_core::domain::{
    Address, BlockRange, ChainComparison, ConfiguredSource, Event, FilledSource, FollowedEvent,
    FollowedRange, SourceComparison, compare, normal,
};

use self::table::{ChangedParts, rows, write};
use super::open::{ChainRecord, OpenChain};
use super::{ChainStore, Store, checkpoint};
use chainflume_core::messages::DescribedKind;
use chainflume_db::StoreError;
use chainflume_db::convert::{address, count, int8, unsigned};
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
        let mut changed = ChangedParts::new();
        for (configured, compared) in chain.configured.iter().zip(&comparison.sources) {
            let Some(start) = compared.start.filter(|_| !compared.is_blocked()) else { continue };
            let kept = kept.get(configured.name.as_str()).copied();
            let parts = parts_from(compared, start, kept.and_then(|kept| kept.tip));
            // With thousands of sources nearly all are as they were: none of these is written again.
            if kept.map_or(&[][..], |kept| &kept.parts) != parts {
                changed.insert(&compared.source, parts);
            }
        }
        write(&mut tx, &changed).await?;
        lower_verified(&mut tx, &comparison.sources).await?;
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

/// What a source with this checkpoint has read, and that it follows its configuration behind the checkpoint, from `start` at the
/// earliest.
fn parts_from(compared: &SourceComparison, start: u64, tip: Option<u64>) -> Vec<FollowedRange> {
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
    normal(&past.chain(open).collect::<Vec<_>>())
}

/// Lowers the verified block of each source below its first gap.
async fn lower_verified(tx: &mut Tx, compared: &[SourceComparison]) -> Result<(), StoreError> {
    let (mut sources, mut from) = (Vec::new(), Vec::new());
    for compared in compared {
        let gap = compared.gaps.first().filter(|_| compared.start.is_some() && !compared.is_blocked());
        if let Some(gap) = gap {
            sources.push(compared.source.as_str());
            from.push(int8("block number", gap.range.from())?);
        }
    }
    if sources.is_empty() {
        return Ok(());
    }
    sqlx::query(
        r"
        update sources s set verified_to = nullif(gap.from_block - 1, -1)
        from unnest($1::text[], $2::bigint[]) as gap (source, from_block)
        where s.name = gap.source and s.verified_to >= gap.from_block
        ",
    )
    .bind(sources)
    .bind(from)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Records what each source has read, by assumption, if there is no record.
pub(super) async fn adopt(tx: &mut Tx, compared: &[&SourceComparison]) -> Result<(), StoreError> {
    let known: Vec<String> =
        sqlx::query_scalar("select distinct source from followed").fetch_all(&mut **tx).await?;
    let known: BTreeSet<String> = known.into_iter().collect();
    let without =
        compared.iter().filter(|compared| !compared.parts.is_empty() && !known.contains(&compared.source));
    write(tx, &without.map(|compared| (compared.source.as_str(), normal(&compared.parts))).collect()).await
}

/// Records that blocks of a source were read for items that were missing there. With `quiet`, the events there have no messages.
pub(super) async fn extend(
    tx: &mut Tx,
    source: &str,
    items: &[FollowedEvent],
    range: BlockRange,
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
    write(tx, &ChangedParts::from([(source, normal(&parts))])).await
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
