//! Reads whole tables into memory, to compare them with a chain in tests and in the demo. Not for large tables.

use alloy_primitives::{Address, B256};

use super::Store;
use chainflume_core::domain::Place;
use chainflume_db::StoreError;
use chainflume_db::convert::{count, int8, unsigned};

/// An event as stored. Numbers are decimal strings, as exact as in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place.
    pub place: Place,
    /// Hash of its block.
    pub block_hash: B256,
    /// Seconds since the Unix epoch.
    pub block_time: u64,
    /// Hash of its transaction.
    pub tx_hash: B256,
    /// The contract.
    pub address: Address,
    /// `erc20.mint` for instance.
    pub event_type: String,
    /// See [`chainflume_core::domain::Projection`].
    pub account: Option<Address>,
    /// See [`chainflume_core::domain::Projection`].
    pub counterparty: Option<Address>,
    /// Base units.
    pub amount: Option<String>,
    /// ERC-721 token id.
    pub token_id: Option<String>,
}

/// A row of a projection: its addresses, and its values as text.
pub type ProjectionRow = (Vec<Address>, Vec<String>);

#[derive(sqlx::FromRow)]
struct EventRow {
    block_number: i64,
    tx_index: i64,
    log_index: i64,
    block_hash: Vec<u8>,
    block_time: i64,
    tx_hash: Vec<u8>,
    address: Vec<u8>,
    event_type: String,
    account: Option<Vec<u8>>,
    counterparty: Option<Vec<u8>>,
    amount: Option<String>,
    token_id: Option<String>,
}

impl Store {
    /// Every event of a chain, in chain order.
    ///
    /// # Errors
    /// A database error.
    pub async fn all_events(&self, chain_id: u64) -> Result<Vec<StoredEvent>, StoreError> {
        let rows: Vec<EventRow> = sqlx::query_as(
            r"
            select e.block_number, e.tx_index, e.log_index, e.block_hash,
                extract(epoch from e.block_time)::bigint as block_time, e.tx_hash, e.address,
                k.type as event_type, e.account, e.counterparty, e.amount::text, e.token_id::text
            from events e join event_kinds k on k.id = e.kind_id
            where e.chain_id = $1 order by e.block_number, e.tx_index, e.log_index
            ",
        )
        .bind(int8("chain id", chain_id)?)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(EventRow::read).collect()
    }

    /// `stakes`: contract and account; amount, number of events, time of the last in seconds.
    ///
    /// # Errors
    /// A database error.
    pub async fn all_stakes(&self, chain_id: u64) -> Result<Vec<ProjectionRow>, StoreError> {
        self.projection(
            r"
            select array[contract, account], array[amount::text, events::text, extract(epoch from last_at)::bigint::text]
            from stakes where chain_id = $1 order by 1
            ",
            chain_id,
        )
        .await
    }

    /// `token_balances`: token and account; balance.
    ///
    /// # Errors
    /// A database error.
    pub async fn all_balances(&self, chain_id: u64) -> Result<Vec<ProjectionRow>, StoreError> {
        self.projection(
            "select array[token, account], array[balance::text] from token_balances where chain_id = $1 order by 1",
            chain_id,
        )
        .await
    }

    /// `token_allowances`: token, owner and spender; amount.
    ///
    /// # Errors
    /// A database error.
    pub async fn all_allowances(&self, chain_id: u64) -> Result<Vec<ProjectionRow>, StoreError> {
        self.projection(
            "select array[token, owner, spender], array[amount::text] from token_allowances where chain_id = $1 order by 1",
            chain_id,
        )
        .await
    }

    /// `nft_owners`: contract and owner; token id.
    ///
    /// # Errors
    /// A database error.
    pub async fn all_nft_owners(&self, chain_id: u64) -> Result<Vec<ProjectionRow>, StoreError> {
        self.projection(
            "select array[contract, owner], array[token_id::text] from nft_owners where chain_id = $1 order by token_id",
            chain_id,
        )
        .await
    }

    /// `users` with a stake: wallet; stake amount, time of the last stake in seconds, status.
    ///
    /// # Errors
    /// A database error.
    pub async fn all_stakers(&self) -> Result<Vec<ProjectionRow>, StoreError> {
        let rows: Vec<(Vec<Vec<u8>>, Vec<String>)> = sqlx::query_as(
            r"
            select array[wallet], array[stake_amount::text, extract(epoch from staked_at)::bigint::text, status]
            from users where staked_at is not null order by 1
            ",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(read).collect()
    }

    async fn projection(&self, query: &'static str, chain_id: u64) -> Result<Vec<ProjectionRow>, StoreError> {
        let rows: Vec<(Vec<Vec<u8>>, Vec<String>)> =
            sqlx::query_as(query).bind(int8("chain id", chain_id)?).fetch_all(&self.pool).await?;
        rows.into_iter().map(read).collect()
    }
}

fn read((addresses, values): (Vec<Vec<u8>>, Vec<String>)) -> Result<ProjectionRow, StoreError> {
    Ok((addresses.iter().map(|bytes| address(bytes)).collect::<Result<_, _>>()?, values))
}

impl EventRow {
    fn read(self) -> Result<StoredEvent, StoreError> {
        let index = |what, value: i64| {
            u32::try_from(value).map_err(|_| StoreError::OutOfRange { what, value: value.to_string() })
        };
        Ok(StoredEvent {
            place: Place {
                block_number: unsigned("block number", self.block_number)?,
                tx_index: index("transaction index", self.tx_index)?,
                log_index: index("log index", self.log_index)?,
            },
            block_hash: word(&self.block_hash)?,
            block_time: count(self.block_time),
            tx_hash: word(&self.tx_hash)?,
            address: address(&self.address)?,
            event_type: self.event_type,
            account: self.account.as_deref().map(address).transpose()?,
            counterparty: self.counterparty.as_deref().map(address).transpose()?,
            amount: self.amount,
            token_id: self.token_id,
        })
    }
}

fn address(bytes: &[u8]) -> Result<Address, StoreError> {
    Address::try_from(bytes)
        .map_err(|_| StoreError::OutOfRange { what: "address of bytes", value: bytes.len().to_string() })
}

fn word(bytes: &[u8]) -> Result<B256, StoreError> {
    B256::try_from(bytes)
        .map_err(|_| StoreError::OutOfRange { what: "hash of bytes", value: bytes.len().to_string() })
}
