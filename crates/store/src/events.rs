//! Rows of `events`: written (`write`), read, and moved to `orphaned_events` (`away`).

use std::collections::BTreeMap;

use sqlx::FromRow;
use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::QueryAs;

use chainflume_core::domain::{
    BlockRange, Event, Fact, KindIndex, Place, Projection, ProjectionChange, ProjectionDelta, TypePattern,
};

use super::open::OpenChain;
use chainflume_db::StoreError;
use chainflume_db::convert::{address, hash, int8, u256, unsigned};
use chainflume_db::transaction::Tx;

/// An event's columns, so that the three places that move whole rows cannot disagree.
macro_rules! columns {
    () => {
        "chain_id, block_number, tx_index, log_index, block_time, kind_id, projection, block_hash, tx_hash, \
         address, account, counterparty, amount, token_id, args"
    };
}

/// An event's columns as [`StoredEventRow`] reads them.
macro_rules! readable {
    () => {
        r"
        block_number, tx_index, log_index, extract(epoch from block_time)::bigint as seconds, kind_id,
        projection::text as projection, block_hash, tx_hash, address, account, counterparty,
        amount::text as amount, token_id::text as token_id, args::text as args
        "
    };
}

mod away;
mod write;

pub(super) use away::{
    OrphanedStakes, fold_orphaned, last_page, orphan, orphan_at, orphan_of, orphaned_page,
};
pub(super) use readable;
pub(super) use write::{Table, write_while};

/// A stored event. Its `event.fact.kind` has no meaning: a stored kind has an id, not a position.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) kind_id: i32,
    pub(super) projection: Projection,
    pub(super) event: Event,
}

/// The events in chain order. An error if two have one place, or one has an unknown kind.
pub(super) fn in_order<'a>(chain: &OpenChain, events: &'a [Event]) -> Result<Vec<&'a Event>, StoreError> {
    let mut ordered: Vec<&Event> = events.iter().collect();
    ordered.sort_by_key(|event| event.place);
    if let Some(pair) = ordered.windows(2).find(|pair| pair[0].place == pair[1].place) {
        return Err(StoreError::invalid(format!("two events are given for {}", pair[0].place)));
    }
    for event in &ordered {
        chain.kind(event.fact.kind)?;
    }
    Ok(ordered)
}

/// What these events change; they must be in chain order.
pub(super) fn fold(chain: &OpenChain, events: &[&Event]) -> Result<ProjectionDelta, StoreError> {
    let mut folded = ProjectionDelta::default();
    for event in events {
        if let Some(change) = ProjectionChange::of(chain.kind(event.fact.kind)?.projection, event) {
            folded.push(change);
        }
    }
    Ok(folded)
}

/// Events with the ids of their kinds; [`in_order`] has checked that each has one.
pub(super) fn with_kinds<'a>(
    chain: &OpenChain,
    events: &[&'a Event],
) -> impl Iterator<Item = (i32, &'a Event)> {
    events.iter().filter_map(|event| Some((chain.kind(event.fact.kind).ok()?.id, *event)))
}

/// Writes the events and counts them by kind.
pub(super) async fn insert(tx: &mut Tx, chain: &OpenChain, events: &[&Event]) -> Result<(), StoreError> {
    write(tx, chain, events).await?;
    tally(tx, chain, events).await
}

/// Writes the events, without counting them.
pub(super) async fn write(tx: &mut Tx, chain: &OpenChain, events: &[&Event]) -> Result<(), StoreError> {
    write_while(tx, chain, Table::Events, events, || ()).await
}

pub(super) async fn tally(tx: &mut Tx, chain: &OpenChain, events: &[&Event]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let mut counts: BTreeMap<i32, i64> = BTreeMap::new();
    for event in events {
        *counts.entry(chain.kind(event.fact.kind)?.id).or_default() += 1;
    }
    sqlx::query(
        r"
        update event_kinds k set events = k.events + d.events
        from unnest($1::int[], $2::bigint[]) as d (id, events) where k.id = d.id
        ",
    )
    .bind(counts.keys().copied().collect::<Vec<_>>())
    .bind(counts.values().copied().collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The place and the source of the first of `events` that is stored already.
pub(super) async fn holder(
    pool: &sqlx::PgPool,
    chain: &OpenChain,
    events: &[&Event],
) -> Result<Option<(Place, String)>, StoreError> {
    let (numbers, txs, logs) = places(events)?;
    let row: Option<(i64, i64, i64, String)> = sqlx::query_as(
        r"
        select e.block_number, e.tx_index, e.log_index, k.source
        from unnest($2::bigint[], $3::bigint[], $4::bigint[]) as g (block_number, tx_index, log_index)
        join events e on e.chain_id = $1 and e.block_number = g.block_number
            and e.tx_index = g.tx_index and e.log_index = g.log_index
        join event_kinds k on k.id = e.kind_id
        order by 1, 2, 3 limit 1
        ",
    )
    .bind(chain.id)
    .bind(numbers)
    .bind(txs)
    .bind(logs)
    .fetch_optional(pool)
    .await?;
    row.map(|(number, tx, log, source)| Ok((place(number, tx, log)?, source))).transpose()
}

/// The stored events at the places of `events`, by place.
pub(super) async fn at_places(
    tx: &mut Tx,
    chain: &OpenChain,
    events: &[&Event],
) -> Result<BTreeMap<Place, Stored>, StoreError> {
    let (numbers, txs, logs) = places(events)?;
    let sql = concat!(
        "select ",
        readable!(),
        " from events where chain_id = $1 and (block_number, tx_index, log_index) in ",
        "(select * from unnest($2::bigint[], $3::bigint[], $4::bigint[]))"
    );
    let rows: Vec<StoredEventRow> =
        sqlx::query_as(sql).bind(chain.id).bind(numbers).bind(txs).bind(logs).fetch_all(&mut **tx).await?;
    rows.into_iter().map(|row| row.read().map(|stored| (stored.event.place, stored))).collect()
}

/// The stored events of a source in a range, by place.
pub(super) async fn of_source(
    tx: &mut Tx,
    chain: &OpenChain,
    source: &str,
    range: BlockRange,
) -> Result<BTreeMap<Place, Stored>, StoreError> {
    let sql = concat!(
        "select ",
        readable!(),
        r"
        from events where chain_id = $1 and block_number between $2 and $3
        and kind_id in (select id from event_kinds where chain_id = $1 and source = $4)
        "
    );
    let rows: Vec<StoredEventRow> = sqlx::query_as(sql)
        .bind(chain.id)
        .bind(int8("block number", range.from())?)
        .bind(int8("block number", range.to())?)
        .bind(source)
        .fetch_all(&mut **tx)
        .await?;
    rows.into_iter().map(|row| row.read().map(|stored| (stored.event.place, stored))).collect()
}

/// The block of the first stored event of a source in a range that is beyond a page of `limit` events and [`PAGE_BYTES`].
pub(super) async fn beyond_page(
    tx: &mut Tx,
    chain: &OpenChain,
    source: &str,
    range: BlockRange,
    limit: u32,
) -> Result<Option<u64>, StoreError> {
    let sql = r"
        select min(block_number) from (
            select block_number, row_number() over chain as place, sum(size) over chain - size as before
            from (select block_number, tx_index, log_index, coalesce(octet_length(args::text), 0) as size
                from events where chain_id = $1 and block_number between $2 and $3
                and kind_id in (select id from event_kinds where chain_id = $1 and source = $4)
                order by block_number, tx_index, log_index limit $5 + 1) as next
            window chain as (order by block_number, tx_index, log_index)) as sized
        where place > $5 or before >= $6
    ";
    let beyond: Option<i64> = sqlx::query_scalar(sql)
        .bind(chain.id)
        .bind(int8("block number", range.from())?)
        .bind(int8("block number", range.to())?)
        .bind(source)
        .bind(i64::from(limit))
        .bind(PAGE_BYTES)
        .fetch_one(&mut **tx)
        .await?;
    beyond.map(|block| unsigned("block number", block)).transpose()
}

/// The stored events to publish again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayQuery {
    /// The blocks, all of them final: a replayed message is never retracted.
    pub range: BlockRange,
    /// Types of events; empty for all.
    pub types: Vec<TypePattern>,
    /// Where an earlier part ended: nothing up to this place is published again.
    pub after: Option<Place>,
}

/// The condition for the events of a replay, with parameters `$1` to `$7`: see [`replayed`].
macro_rules! replayed {
    () => {
        "chain_id = $1 and block_number between $2 and $3 \
             and (block_number, tx_index, log_index) > ($4, $5, $6) and kind_id = any($7)"
    };
}

/// Bytes of arguments read at once, so that a few enormous ones cannot fill the memory.
const PAGE_BYTES: i64 = 8 << 20;

/// The next events of a replay, of these kinds, in chain order: `limit` at most, and [`PAGE_BYTES`] of arguments unless one
/// event alone has more.
pub(super) async fn page(
    tx: &mut Tx,
    chain: &OpenChain,
    (query, kinds): (&ReplayQuery, &[i32]),
    limit: u32,
) -> Result<Vec<Stored>, StoreError> {
    let sql = concat!(
        "select ",
        readable!(),
        r"
        from (select *, sum(size) over (order by block_number, tx_index, log_index) - size as before
        from (select *, coalesce(octet_length(args::text), 0) as size from events where
        ",
        replayed!(),
        r"
        order by block_number, tx_index, log_index limit $8) as next) as sized
        where before < $9 order by block_number, tx_index, log_index
        "
    );
    let rows: Vec<StoredEventRow> = replayed(sql, chain, (query, kinds))?
        .bind(i64::from(limit))
        .bind(PAGE_BYTES)
        .fetch_all(&mut **tx)
        .await?;
    rows.into_iter().map(StoredEventRow::read).collect()
}

/// Number of events of each kind that all pages of [`page`] have together.
pub(super) async fn count_by_kind(
    pool: &sqlx::PgPool,
    chain: &OpenChain,
    (query, kinds): (&ReplayQuery, &[i32]),
) -> Result<Vec<(i32, i64)>, StoreError> {
    let sql = concat!("select kind_id, count(*) from events where ", replayed!(), " group by kind_id");
    Ok(replayed(sql, chain, (query, kinds))?.fetch_all(pool).await?)
}

/// A statement with [`replayed!`] in it, whose parameters are bound.
fn replayed<'q, O>(
    sql: &'static str,
    chain: &OpenChain,
    (query, kinds): (&ReplayQuery, &'q [i32]),
) -> Result<QueryAs<'q, Postgres, O, PgArguments>, StoreError>
where
    O: for<'r> FromRow<'r, PgRow>,
{
    let (number, tx_index, log_index) = begin_after(query)?;
    Ok(sqlx::query_as(sql)
        .bind(chain.id)
        .bind(int8("block number", query.range.from())?)
        .bind(int8("block number", query.range.to())?)
        .bind(number)
        .bind(tx_index)
        .bind(log_index)
        .bind(kinds))
}

/// The place before the first event to read: no event has a negative index.
fn begin_after(query: &ReplayQuery) -> Result<(i64, i64, i64), StoreError> {
    Ok(match query.after {
        Some(place) => {
            (int8("block number", place.block_number)?, place.tx_index.into(), place.log_index.into())
        }
        None => (int8("block number", query.range.from())?, -1, -1),
    })
}

/// The letter in `events.projection`.
fn letter(projection: Projection) -> &'static str {
    match projection {
        Projection::None => "n",
        Projection::Stake => "s",
        Projection::Balance => "b",
        Projection::Allowance => "a",
        Projection::Owner => "o",
        Projection::OwnerRange => "r",
    }
}

fn projection(code: &str) -> Result<Projection, StoreError> {
    Ok(match code {
        "n" => Projection::None,
        "s" => Projection::Stake,
        "b" => Projection::Balance,
        "a" => Projection::Allowance,
        "o" => Projection::Owner,
        "r" => Projection::OwnerRange,
        other => {
            return Err(StoreError::Corrupt { table: "events", what: format!("projection `{other}`") });
        }
    })
}

type EventPlaces = (Vec<i64>, Vec<i64>, Vec<i64>);

fn places(events: &[&Event]) -> Result<EventPlaces, StoreError> {
    columns_of(events.iter().map(|event| &event.place))
}

fn columns_of<'a>(places: impl Iterator<Item = &'a Place> + Clone) -> Result<EventPlaces, StoreError> {
    let numbers =
        places.clone().map(|place| int8("block number", place.block_number)).collect::<Result<_, _>>()?;
    let txs = places.clone().map(|place| place.tx_index.into()).collect();
    let logs = places.map(|place| place.log_index.into()).collect();
    Ok((numbers, txs, logs))
}

pub(super) fn place(number: i64, tx: i64, log: i64) -> Result<Place, StoreError> {
    let index = |what: &'static str, value: i64| {
        u32::try_from(value).map_err(|_| StoreError::OutOfRange { what, value: value.to_string() })
    };
    Ok(Place {
        block_number: unsigned("block number", number)?,
        tx_index: index("transaction index", tx)?,
        log_index: index("log index", log)?,
    })
}

/// A row of [`readable`].
#[derive(sqlx::FromRow)]
pub(super) struct StoredEventRow {
    block_number: i64,
    tx_index: i64,
    log_index: i64,
    seconds: i64,
    kind_id: i32,
    projection: String,
    block_hash: Vec<u8>,
    tx_hash: Vec<u8>,
    address: Vec<u8>,
    account: Option<Vec<u8>>,
    counterparty: Option<Vec<u8>>,
    amount: Option<String>,
    token_id: Option<String>,
    args: Option<String>,
}

impl StoredEventRow {
    pub(super) fn read(self) -> Result<Stored, StoreError> {
        let fact = Fact {
            kind: KindIndex(usize::MAX),
            account: self.account.as_deref().map(address).transpose()?,
            counterparty: self.counterparty.as_deref().map(address).transpose()?,
            amount: self.amount.as_deref().map(u256).transpose()?,
            token_id: self.token_id.as_deref().map(u256).transpose()?,
            args: self.args,
        };
        let event = Event {
            place: place(self.block_number, self.tx_index, self.log_index)?,
            block_hash: hash(&self.block_hash)?,
            block_time: unsigned("block time", self.seconds)?,
            tx_hash: hash(&self.tx_hash)?,
            address: address(&self.address)?,
            fact,
        };
        Ok(Stored { kind_id: self.kind_id, projection: projection(&self.projection)?, event })
    }
}
