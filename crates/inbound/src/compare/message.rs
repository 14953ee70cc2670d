use std::time::SystemTime;

use alloy_primitives::{Address, B256};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::ComparedChain;
use chainflume_core::domain::{AggregateRef, OffChainMessage, OffChainMetadata, digest_uuid, rfc3339_millis};
use chainflume_db::StoreError;
use chainflume_db::convert::{address, hash, unsigned};
use chainflume_db::transaction::Tx;
use chainflume_outbox::{append_off_chain, off_chain_drafts};

/// A hint that ended without an event.
pub(super) struct ExpiredHint {
    pub id: u64,
    pub endpoint: String,
    pub delivery: String,
    pub kind: String,
    pub transaction: B256,
    pub block: Option<u64>,
    pub block_hash: Option<B256>,
    pub address: Option<Address>,
    pub log_index: Option<u64>,
    /// Whether a source reads its contract, so that its event would be stored.
    pub is_covered: bool,
}

impl ExpiredHint {
    pub fn read(row: &PgRow) -> Result<Self, StoreError> {
        let number = |name| row.try_get::<Option<i64>, _>(name);
        let bytes = |name| row.try_get::<Option<Vec<u8>>, _>(name);
        let positive = |value: Option<i64>| value.map(|value| unsigned("number", value)).transpose();
        Ok(Self {
            id: unsigned("hint", row.try_get("id")?)?,
            endpoint: row.try_get("endpoint")?,
            delivery: row.try_get("delivery_id")?,
            kind: row.try_get("kind")?,
            transaction: hash(&row.try_get::<Vec<u8>, _>("tx_hash")?)?,
            block: positive(number("block_number")?)?,
            block_hash: bytes("block_hash")?.map(|bytes| hash(&bytes)).transpose()?,
            address: bytes("address")?.map(|bytes| address(&bytes)).transpose()?,
            log_index: positive(number("log_index")?)?,
            is_covered: is_covered(row.try_get("state")?)?,
        })
    }
}

/// Whether a source reads the contract of a hint that ended with this state.
fn is_covered(state: &str) -> Result<bool, StoreError> {
    match state {
        "unconfirmed" => Ok(true),
        "uncovered" => Ok(false),
        other => {
            let what = format!("`{other}` is no end of a hint without an event");
            Err(StoreError::Corrupt { table: "inbound_hints", what })
        }
    }
}

/// The type of the message.
const TYPE: &str = "inbound.unconfirmed";

/// Writes a message about each hint, and numbers it. Must come last in the transaction.
pub(super) async fn append(
    tx: &mut Tx,
    chain: &ComparedChain,
    hints: &[&ExpiredHint],
) -> Result<(), StoreError> {
    let now = rfc3339_millis(SystemTime::now());
    let messages = hints.iter().map(|hint| message(chain, hint, &now)).collect();
    append_off_chain(tx, off_chain_drafts(messages)?).await?;
    Ok(())
}

fn message(chain: &ComparedChain, hint: &ExpiredHint, now: &str) -> OffChainMessage {
    let ExpiredHint { kind, block, block_hash, address, log_index, .. } = hint;
    let mut payload = Map::new();
    let mut put = |name: &str, value: Value| payload.insert(name.to_owned(), value);
    put("endpoint", json!(hint.endpoint));
    put("deliveryId", json!(hint.delivery));
    put("kind", json!(kind));
    put("chainId", json!(chain.chain_id));
    put("transactionHash", json!(hint.transaction));
    put("blockNumber", json!(block));
    put("blockHash", json!(block_hash));
    put("address", json!(address.map(|address| format!("{address:#x}"))));
    put("logIndex", json!(log_index));
    let metadata = OffChainMetadata {
        correlation_id: Some(hint.transaction.to_string()),
        source: hint.endpoint.clone(),
        ..OffChainMetadata::default()
    };
    let id = id(hint.id, hint.transaction);
    let about = AggregateRef { aggregate_type: "inbound", id: &hint.endpoint };
    OffChainMessage { payload, metadata, ..OffChainMessage::new(id, TYPE, about, now.to_owned()) }
}

/// The id of the message about a hint: a function of its row and its transaction.
fn id(hint: u64, transaction: B256) -> Uuid {
    let hash = Sha256::new().chain_update(TYPE).chain_update(hint.to_be_bytes()).chain_update(transaction);
    digest_uuid(hash)
}
