//! Writes rows of events: few by `INSERT`, many by `COPY`.

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;

use super::super::open::OpenChain;
use super::letter;
use chainflume_core::domain::Event;
use chainflume_db::StoreError;
use chainflume_db::convert::{int8, seconds};
use chainflume_db::copy::{Rows, copy_in_while};
use chainflume_db::transaction::Tx;

/// From this number of rows on, `COPY` writes them.
///
/// `COPY` sends its rows and then its end, five bytes, in a segment of its own. sqlx 0.9 does not set `TCP_NODELAY`, so the
/// kernel holds these bytes back until the server has acknowledged the rows, and a server that waits for the end
/// acknowledges late: 40 ms for each `COPY` over TCP (RFC 896 against RFC 1122, 4.2.3.2). An `INSERT` is sent in one
/// go and has one answer. It costs the server more for each row; the two are equal at some thousand rows.
pub(in super::super) const COPY_FROM: usize = 2_000;

/// A table with the columns of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Table {
    /// `events`.
    Events,
    /// `pending_events`.
    Pending,
}

macro_rules! copy {
    ($into:literal) => {
        concat!($into, " (", columns!(), ") from stdin (format binary)")
    };
}

macro_rules! insert {
    ($into:literal) => {
        concat!(
            $into,
            " (",
            columns!(),
            r#"
            ) select $1, block_number, tx_index, log_index, to_timestamp(block_time), kind_id, projection::"char",
            block_hash, tx_hash, address, account, counterparty, amount::numeric, token_id::numeric, args::jsonb
            from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::int[], $7::text[], $8::bytea[],
            $9::bytea[], $10::bytea[], $11::bytea[], $12::bytea[], $13::text[], $14::text[], $15::text[])
            as e (block_number, tx_index, log_index, block_time, kind_id, projection, block_hash, tx_hash, address,
            account, counterparty, amount, token_id, args)
            "#
        )
    };
}

/// Writes the events into `table`, and runs `meanwhile` while the server stores them.
pub(in super::super) async fn write_while<M>(
    tx: &mut Tx,
    chain: &OpenChain,
    table: Table,
    events: &[&Event],
    meanwhile: impl FnOnce() -> M,
) -> Result<M, StoreError> {
    if events.is_empty() {
        return Ok(meanwhile());
    }
    if events.len() >= COPY_FROM {
        let statement = match table {
            Table::Events => copy!("copy events"),
            Table::Pending => copy!("copy pending_events"),
        };
        return copy_in_while(
            &mut *tx,
            statement,
            events,
            |rows, event| encode(rows, chain, event),
            meanwhile,
        )
        .await;
    }
    let statement = match table {
        Table::Events => insert!("insert into events"),
        Table::Pending => insert!("insert into pending_events"),
    };
    let insert = Columns::of(chain, events)?.bind(sqlx::query(statement).bind(chain.id));
    // Polled in this order, so the statement is sent before the other work begins.
    let (inserted, done) = tokio::join!(biased; insert.execute(&mut **tx), async { meanwhile() });
    inserted?;
    Ok(done)
}

/// One row of [`columns`].
fn encode(rows: &mut Rows, chain: &OpenChain, event: &Event) -> Result<(), StoreError> {
    let kind = chain.kind(event.fact.kind)?;
    let fact = &event.fact;
    rows.row(15);
    rows.int8(chain.id)?;
    rows.int8(int8("block number", event.place.block_number)?)?;
    rows.int8(event.place.tx_index.into())?;
    rows.int8(event.place.log_index.into())?;
    rows.timestamptz(seconds(event.block_time)?)?;
    rows.int4(kind.id)?;
    rows.text(letter(kind.projection))?;
    rows.bytea(event.block_hash.as_slice())?;
    rows.bytea(event.tx_hash.as_slice())?;
    rows.bytea(event.address.as_slice())?;
    rows.bytea_or_null(fact.account.as_ref().map(|account| account.as_slice()))?;
    rows.bytea_or_null(fact.counterparty.as_ref().map(|account| account.as_slice()))?;
    rows.numeric_or_null(fact.amount)?;
    rows.numeric_or_null(fact.token_id)?;
    rows.jsonb_or_null(fact.args.as_deref())
}

/// The same rows as one array a column, the chain apart.
#[derive(Default)]
struct Columns<'a> {
    block_numbers: Vec<i64>,
    tx_indexes: Vec<i64>,
    log_indexes: Vec<i64>,
    block_times: Vec<i64>,
    kind_ids: Vec<i32>,
    projections: Vec<&'static str>,
    block_hashes: Vec<&'a [u8]>,
    tx_hashes: Vec<&'a [u8]>,
    addresses: Vec<&'a [u8]>,
    accounts: Vec<Option<&'a [u8]>>,
    counterparties: Vec<Option<&'a [u8]>>,
    amounts: Vec<Option<String>>,
    token_ids: Vec<Option<String>>,
    args: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(chain: &OpenChain, events: &[&'a Event]) -> Result<Self, StoreError> {
        let mut columns = Self::default();
        for event in events {
            columns.push(chain, event)?;
        }
        Ok(columns)
    }

    fn push(&mut self, chain: &OpenChain, event: &'a Event) -> Result<(), StoreError> {
        let (kind, fact) = (chain.kind(event.fact.kind)?, &event.fact);
        self.block_numbers.push(int8("block number", event.place.block_number)?);
        self.tx_indexes.push(event.place.tx_index.into());
        self.log_indexes.push(event.place.log_index.into());
        self.block_times.push(seconds(event.block_time)?);
        self.kind_ids.push(kind.id);
        self.projections.push(letter(kind.projection));
        self.block_hashes.push(event.block_hash.as_slice());
        self.tx_hashes.push(event.tx_hash.as_slice());
        self.addresses.push(event.address.as_slice());
        self.accounts.push(fact.account.as_ref().map(|account| account.as_slice()));
        self.counterparties.push(fact.counterparty.as_ref().map(|account| account.as_slice()));
        self.amounts.push(fact.amount.map(|amount| amount.to_string()));
        self.token_ids.push(fact.token_id.map(|id| id.to_string()));
        self.args.push(fact.args.as_deref());
        Ok(())
    }

    fn bind(self, query: Query<'a, Postgres, PgArguments>) -> Query<'a, Postgres, PgArguments> {
        query
            .bind(self.block_numbers)
            .bind(self.tx_indexes)
            .bind(self.log_indexes)
            .bind(self.block_times)
            .bind(self.kind_ids)
            .bind(self.projections)
            .bind(self.block_hashes)
            .bind(self.tx_hashes)
            .bind(self.addresses)
            .bind(self.accounts)
            .bind(self.counterparties)
            .bind(self.amounts)
            .bind(self.token_ids)
            .bind(self.args)
    }
}
