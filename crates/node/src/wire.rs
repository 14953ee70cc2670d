//! Parses what nodes send: JSON of the execution API. Fields that are not used are not read, so that a chain with
//! unknown transaction types or header fields breaks nothing. A field that nothing depends on may be absent, `null`
//! or odd.

mod field;
mod header_hash;

use std::fmt;
use std::marker::PhantomData;

use alloy_primitives::{Address, B64, B256, Bloom, Bytes, U256};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use chainflume_core::domain::{
    BlockId, BlockRef, Log, LogFilter, Place, Receipt, ReceiptOutcome, receipts_root,
};
pub(super) use field::Quantity;
use field::{Field, Height, Time, WireTopics};

/// A JSON-RPC answer.
#[derive(Deserialize)]
pub(super) struct RpcResponse<T> {
    /// Echo of the request's id.
    #[serde(default)]
    pub id: Value,
    /// Absent and `null` are the same here; their meaning depends on the call.
    #[serde(default = "none")]
    pub result: Option<T>,
    #[serde(default)]
    pub error: Option<ErrorObject>,
}

/// The answer to a batch: an answer to each call, or one for all of them.
pub(super) enum RpcResponses<T> {
    /// In any order.
    Many(Vec<RpcResponse<T>>),
    /// A refusal of the batch itself.
    One(RpcResponse<T>),
}

/// The first byte decides. To try one form after the other would first parse the whole text into a generic value.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for RpcResponses<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
            type Value = RpcResponses<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an answer or a list of answers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<RpcResponses<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(RpcResponses::Many)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RpcResponses<T>, A::Error> {
                RpcResponse::deserialize(MapAccessDeserializer::new(map)).map(RpcResponses::One)
            }
        }
        deserializer.deserialize_any(OneOrMany(PhantomData))
    }
}

fn none<T>() -> Option<T> {
    None
}

/// A JSON-RPC error object. Some gateways send a plain text in its place, and every field may be missing or of
/// another type.
pub(super) struct ErrorObject(Value);

impl<'de> Deserialize<'de> for ErrorObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self)
    }
}

impl ErrorObject {
    /// Code, message and data as JSON text.
    pub(super) fn parts(self) -> (Option<i64>, String, Option<String>) {
        let Value::Object(mut fields) = self.0 else { return (None, plain(&self.0), None) };
        let code = fields.remove("code");
        // Some nodes send the number as text.
        let code = code.and_then(|code| code.as_i64().or_else(|| code.as_str()?.parse().ok()));
        let data = fields.remove("data").filter(|data| !data.is_null());
        let message = match fields.remove("message") {
            Some(message) => plain(&message),
            None => Value::Object(fields).to_string(),
        };
        (code, message, data.map(|data| data.to_string()))
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The fields of a header that are used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireHeader {
    number: Height,
    hash: B256,
    parent_hash: B256,
    timestamp: Time,
    #[serde(default)]
    logs_bloom: Field<Bloom>,
    #[serde(default)]
    receipts_root: Field<B256>,
    // Only the block's hash depends on the other fields.
    #[serde(default)]
    sha3_uncles: Field<B256>,
    #[serde(default)]
    miner: Field<Address>,
    #[serde(default)]
    state_root: Field<B256>,
    #[serde(default)]
    transactions_root: Field<B256>,
    #[serde(default)]
    difficulty: Field<U256>,
    #[serde(default)]
    gas_limit: Field<U256>,
    #[serde(default)]
    gas_used: Field<U256>,
    #[serde(default)]
    extra_data: Field<Bytes>,
    #[serde(default)]
    mix_hash: Field<B256>,
    #[serde(default)]
    nonce: Field<B64>,
    #[serde(default)]
    base_fee_per_gas: Field<U256>,
    #[serde(default)]
    withdrawals_root: Field<B256>,
    #[serde(default)]
    blob_gas_used: Field<U256>,
    #[serde(default)]
    excess_blob_gas: Field<U256>,
    #[serde(default)]
    parent_beacon_block_root: Field<B256>,
    #[serde(default)]
    requests_hash: Field<B256>,
}

/// The fields of an announced header that identify its block.
#[derive(Deserialize)]
pub(super) struct WireHead {
    number: Height,
    hash: B256,
}

impl From<WireHead> for BlockId {
    fn from(head: WireHead) -> Self {
        Self { number: head.number.0, hash: head.hash }
    }
}

impl WireHeader {
    /// The parts that logs can be compared with: bloom and receipts root. A root of zeros counts as missing.
    pub(super) fn seal(&self) -> (Option<Bloom>, Option<B256>) {
        let root = self.receipts_root.readable().copied();
        (self.logs_bloom.readable().copied(), root.filter(|root| !root.is_zero()))
    }
}

impl From<WireHeader> for BlockRef {
    fn from(header: WireHeader) -> Self {
        Self {
            number: header.number.0,
            hash: header.hash,
            parent_hash: header.parent_hash,
            timestamp: header.timestamp.0,
        }
    }
}

/// A log whose fields are parsed and not checked yet.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireLog {
    #[serde(default)]
    address: Field<Address>,
    #[serde(default)]
    topics: WireTopics,
    #[serde(default)]
    data: Field<Bytes>,
    #[serde(default)]
    block_number: Field<Height>,
    #[serde(default)]
    block_hash: Field<B256>,
    #[serde(default)]
    block_timestamp: Field<Time>,
    #[serde(default)]
    transaction_hash: Field<B256>,
    #[serde(default)]
    transaction_index: Field<Quantity>,
    #[serde(default)]
    log_index: Field<Quantity>,
    #[serde(default, deserialize_with = "is_true")]
    removed: bool,
}

/// Whether a flag is set, in any form; an absent flag is not.
fn is_true<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Bool(value) => value,
        Value::String(text) => text == "true" || text == "0x1",
        Value::Number(number) => number.as_u64() == Some(1),
        _ => false,
    })
}

impl WireLog {
    /// Whether the filter wants this log. The other fields of a log of another contract are not checked.
    ///
    /// # Errors
    /// Which field that decides this cannot be read.
    fn is_for(&self, filter: &LogFilter) -> Result<bool, String> {
        let address = self.address.clone().needed("the address of a log")?;
        if filter.addresses.as_ref().is_some_and(|addresses| !addresses.contains(&address)) {
            return Ok(false);
        }
        Ok(filter.wants(&address, self.topics.0.clone()?.as_slice()))
    }
}

/// A log whose fields were checked while it was parsed.
#[derive(Deserialize)]
#[serde(try_from = "WireLog")]
pub(super) struct ReadLog(pub Log);

impl TryFrom<WireLog> for ReadLog {
    type Error = String;

    fn try_from(log: WireLog) -> Result<Self, Self::Error> {
        Log::try_from(log).map(Self)
    }
}

/// The fields of a receipt that are used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireReceipt {
    #[serde(default)]
    block_hash: Field<B256>,
    /// Some nodes send `null` for an empty list.
    #[serde(default)]
    logs: Option<Vec<WireLog>>,
    #[serde(default)]
    r#type: Field<Quantity>,
    #[serde(default)]
    status: Field<Quantity>,
    #[serde(default)]
    root: Field<B256>,
    #[serde(default)]
    cumulative_gas_used: Field<Quantity>,
    #[serde(default)]
    logs_bloom: Field<Bloom>,
    /// This and the next field: of deposits (OP Stack).
    #[serde(default)]
    deposit_nonce: Field<Quantity>,
    #[serde(default)]
    deposit_receipt_version: Field<Quantity>,
}

/// Why the encoding of a receipt that a header commits to is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UnsealedReceipt {
    /// The type is unknown here, so this will not change.
    Kind(String),
    /// A field is missing or odd.
    Field(String),
}

impl fmt::Display for UnsealedReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(why) | Self::Field(why) => f.write_str(why),
        }
    }
}

impl WireReceipt {
    /// The hash of its block, where the receipt has one.
    pub(super) fn block_hash(&self) -> Option<B256> {
        self.block_hash.readable().copied()
    }

    /// Those of its logs that the filter wants.
    ///
    /// # Errors
    /// Which field of a wanted log cannot be read. Fields of other logs are not checked.
    pub(super) fn logs_for(self, filter: &LogFilter) -> Result<Vec<ReadLog>, String> {
        let mut ours = Vec::new();
        for log in self.logs.into_iter().flatten() {
            if log.is_for(filter)? {
                ours.push(ReadLog::try_from(log)?);
            }
        }
        Ok(ours)
    }

    /// Whether it has no type.
    pub(super) fn lacks_type(&self) -> bool {
        matches!(self.r#type, Field::Missing)
    }

    /// The receipt as a header commits to it.
    ///
    /// # Errors
    /// Which part cannot be encoded.
    pub(super) fn consensus(&self) -> Result<Receipt, UnsealedReceipt> {
        let kind = match &self.r#type {
            Field::Is(kind) => kind.0,
            Field::Missing => 0,
            Field::Odd(why) => return Err(UnsealedReceipt::Field(format!("the type of a receipt: {why}"))),
        };
        let kind = u8::try_from(kind).ok().filter(|kind| Receipt::is_known(*kind)).ok_or_else(|| {
            let reason = format!("a receipt is of type {kind:#x}, and how that is encoded is not known here");
            UnsealedReceipt::Kind(reason)
        })?;
        self.encoded_as(kind).map_err(UnsealedReceipt::Field)
    }

    fn encoded_as(&self, kind: u8) -> Result<Receipt, String> {
        let deposit = self.deposit_nonce.readable().zip(self.deposit_receipt_version.readable());
        let outcome = match (&self.status, &self.root) {
            (Field::Is(status), _) => ReceiptOutcome::Succeeded(status.0 == 1),
            (_, Field::Is(root)) => ReceiptOutcome::State(*root),
            _ => return Err("a receipt has neither status nor root".to_owned()),
        };
        let log = |log: &WireLog| {
            let address = log.address.clone().needed("the address of a log")?;
            Ok((address, log.topics.0.clone()?, log.data.clone().needed("the data of a log")?))
        };
        Ok(Receipt {
            kind,
            outcome,
            cumulative_gas: self.cumulative_gas_used.clone().needed("the gas of a receipt")?.0,
            bloom: self.logs_bloom.clone().needed("the bloom of a receipt")?,
            logs: self.logs.iter().flatten().map(log).collect::<Result<_, String>>()?,
            deposit: deposit
                .map(|(nonce, version)| (nonce.0, version.0))
                .filter(|_| kind == Receipt::DEPOSIT),
        })
    }
}

/// A block's transactions by hash.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireTransactions {
    pub hash: B256,
    pub transactions: Vec<B256>,
    #[serde(default)]
    receipts_root: Field<B256>,
}

impl WireTransactions {
    /// Whether the block may have no receipts. A root of zeros counts as missing.
    pub(super) fn may_be_empty(&self) -> bool {
        let root = self.receipts_root.readable().filter(|root| !root.is_zero());
        self.transactions.is_empty() && root.is_none_or(|root| *root == receipts_root(&[]))
    }
}

impl TryFrom<WireLog> for Log {
    type Error = String;

    fn try_from(log: WireLog) -> Result<Self, Self::Error> {
        if log.removed {
            return Err("a log is marked as removed".to_owned());
        }
        let index = |quantity: Field<Quantity>, what: &str| {
            let value = quantity.needed(what)?.0;
            u32::try_from(value).map_err(|_| format!("{what} is {value}, above 2^32"))
        };
        let place = Place {
            block_number: log.block_number.needed("the block number of a log")?.0,
            tx_index: index(log.transaction_index, "the transaction index of a log")?,
            log_index: index(log.log_index, "the index of a log")?,
        };
        Ok(Self {
            place,
            block_hash: log.block_hash.needed("the block hash of a log")?,
            tx_hash: log.transaction_hash.needed("the transaction hash of a log")?,
            // The header has the time as well, so an unreadable one counts as missing.
            block_timestamp: log.block_timestamp.readable().map(|time| time.0),
            address: log.address.needed("the address of a log")?,
            topics: log.topics.0?,
            data: log.data.needed("the data of a log")?,
        })
    }
}

#[cfg(test)]
mod tests;
