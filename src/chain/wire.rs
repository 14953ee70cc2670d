//! What nodes write: JSON of the execution API, read into hash-level types. Fields we do not use are not
//! read, so that a chain with unknown transaction types or header fields breaks nothing.

use std::fmt;
use std::marker::PhantomData;

use alloy_primitives::{Address, B256, Bloom, Bytes};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use crate::domain::{BlockId, BlockRef, Log, Outcome, Place, Receipt, Topics};

/// A JSON-RPC answer.
#[derive(Deserialize)]
pub(super) struct Answer<T> {
    /// Echo of the request's id.
    #[serde(default)]
    pub id: Value,
    /// Absent and `null` are the same here; what they mean depends on the question.
    #[serde(default = "none")]
    pub result: Option<T>,
    #[serde(default)]
    pub error: Option<ErrorObject>,
}

/// What a batch gets back: an answer to each call, or one to all of them.
pub(super) enum Answers<T> {
    /// In any order.
    Many(Vec<Answer<T>>),
    /// A refusal of the batch itself.
    One(Answer<T>),
}

/// By its first byte. Tried as one and then as the other, the whole of it would first be read into something that is neither.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Answers<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Answers<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an answer or a list of answers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Answers<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Answers::Many)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Answers<T>, A::Error> {
                Answer::deserialize(MapAccessDeserializer::new(map)).map(Answers::One)
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

fn none<T>() -> Option<T> {
    None
}

/// A JSON-RPC error object; some gateways write a plain text in its place, and every field may be missing or of
/// another type.
pub(super) struct ErrorObject(Value);

impl<'de> Deserialize<'de> for ErrorObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self)
    }
}

impl ErrorObject {
    /// Code, message and data as JSON text.
    pub(super) fn told(self) -> (Option<i64>, String, Option<String>) {
        let Value::Object(mut fields) = self.0 else { return (None, plain(&self.0), None) };
        let code = fields.remove("code");
        // Some write the number as text.
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

/// A `QUANTITY` of the execution API: `0x` and hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quantity(pub u64);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.strip_prefix("0x")
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("`{text}` is not a quantity")))
    }
}

/// A header, as far as we believe it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireHeader {
    number: Quantity,
    hash: B256,
    parent_hash: B256,
    timestamp: Quantity,
    #[serde(default, deserialize_with = "if_readable")]
    logs_bloom: Option<Bloom>,
    #[serde(default, deserialize_with = "if_readable")]
    receipts_root: Option<B256>,
}

/// What an announced header is asked for by.
#[derive(Deserialize)]
pub(super) struct WireHead {
    number: Quantity,
    hash: B256,
}

impl From<WireHead> for BlockId {
    fn from(head: WireHead) -> Self {
        Self { number: head.number.0, hash: head.hash }
    }
}

/// What some chains leave out, or fill with something else.
fn if_readable<'de, D: Deserializer<'de>, T: std::str::FromStr>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_str().and_then(|text| text.parse().ok()))
}

impl WireHeader {
    /// What can be held against its logs: bloom and receipts root. A root of zeros is none.
    pub(super) fn seal(&self) -> (Option<Bloom>, Option<B256>) {
        (self.logs_bloom, self.receipts_root.filter(|root| !root.is_zero()))
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

/// A log; the fields a pending log lacks are optional here and refused below.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLog {
    address: Address,
    #[serde(deserialize_with = "topics")]
    topics: Topics,
    data: Bytes,
    block_number: Option<Quantity>,
    block_hash: Option<B256>,
    #[serde(default)]
    block_timestamp: Option<Quantity>,
    transaction_hash: Option<B256>,
    transaction_index: Option<Quantity>,
    log_index: Option<Quantity>,
    #[serde(default)]
    removed: bool,
}

/// Read in place: a list of its own for each log would be an allocation for each log.
fn topics<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Topics, D::Error> {
    struct Seq;
    impl<'de> Visitor<'de> for Seq {
        type Value = Topics;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("up to four topics")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Topics, A::Error> {
            let (mut words, mut len) = ([B256::ZERO; 4], 0);
            while let Some(word) = seq.next_element()? {
                *words.get_mut(len).ok_or_else(|| de::Error::custom("a log has more than four topics"))? =
                    word;
                len += 1;
            }
            Topics::new(&words[..len]).ok_or_else(|| de::Error::invalid_length(len, &self))
        }
    }
    deserializer.deserialize_seq(Seq)
}

/// A log that was checked for shape while it was read.
#[derive(Deserialize)]
#[serde(try_from = "WireLog")]
pub(super) struct ReadLog(pub Log);

impl TryFrom<WireLog> for ReadLog {
    type Error = &'static str;

    fn try_from(log: WireLog) -> Result<Self, Self::Error> {
        Log::try_from(log).map(Self)
    }
}

/// A receipt, as far as its logs go.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireReceipt {
    pub block_hash: B256,
    pub logs: Vec<ReadLog>,
    #[serde(default)]
    r#type: Option<Quantity>,
    #[serde(default)]
    status: Option<Quantity>,
    #[serde(default)]
    root: Option<B256>,
    #[serde(default)]
    cumulative_gas_used: Option<Quantity>,
    #[serde(default, deserialize_with = "if_readable")]
    logs_bloom: Option<Bloom>,
    /// Of deposits, here and below (OP Stack).
    #[serde(default)]
    deposit_nonce: Option<Quantity>,
    #[serde(default)]
    deposit_receipt_version: Option<Quantity>,
}

impl WireReceipt {
    /// What a header commits to.
    ///
    /// # Errors
    /// What of it we cannot encode, for a person.
    pub(super) fn consensus(&self) -> Result<Receipt, String> {
        let kind = self.r#type.map_or(0, |kind| kind.0);
        let kind = u8::try_from(kind).ok().filter(|kind| Receipt::is_known(*kind)).ok_or_else(|| {
            format!("a receipt is of type {kind:#x}, and how that is encoded is not known here")
        })?;
        let deposit = self.deposit_nonce.zip(self.deposit_receipt_version);
        let outcome = match (self.status, self.root) {
            (Some(status), _) => Outcome::Succeeded(status.0 == 1),
            (None, Some(root)) => Outcome::State(root),
            (None, None) => return Err("a receipt says not how it ended".to_owned()),
        };
        Ok(Receipt {
            kind,
            outcome,
            cumulative_gas: self.cumulative_gas_used.ok_or("a receipt has no gas")?.0,
            bloom: self.logs_bloom.ok_or("a receipt has no bloom")?,
            logs: self.logs.iter().map(|log| (log.0.address, log.0.topics, log.0.data.clone())).collect(),
            deposit: deposit
                .map(|(nonce, version)| (nonce.0, version.0))
                .filter(|_| kind == Receipt::DEPOSIT),
        })
    }
}

/// A block's transactions by hash.
#[derive(Deserialize)]
pub(super) struct WireTransactions {
    pub hash: B256,
    pub transactions: Vec<B256>,
}

impl TryFrom<WireLog> for Log {
    type Error = &'static str;

    fn try_from(log: WireLog) -> Result<Self, Self::Error> {
        if log.removed {
            return Err("a log is marked as removed");
        }
        let index = |quantity: Option<Quantity>| {
            let value = quantity.ok_or("a log is not in a block yet")?.0;
            // The column is a signed 32-bit number.
            i32::try_from(value).map(i32::cast_unsigned).map_err(|_| "an index of a log is above 2^31")
        };
        let place = Place {
            block_number: log.block_number.ok_or("a log is not in a block yet")?.0,
            tx_index: index(log.transaction_index)?,
            log_index: index(log.log_index)?,
        };
        Ok(Self {
            place,
            block_hash: log.block_hash.ok_or("a log has no block hash")?,
            tx_hash: log.transaction_hash.ok_or("a log has no transaction hash")?,
            block_timestamp: log.block_timestamp.map(|t| t.0),
            address: log.address,
            topics: log.topics,
            data: log.data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_hexadecimal_strings() {
        let read = |text: &str| serde_json::from_str::<Quantity>(text).map(|q| q.0).ok();
        assert_eq!(read("\"0x10\""), Some(16));
        assert_eq!(read("\"0x\""), None);
        assert_eq!(read("\"16\""), None);
        assert_eq!(read("\"0x1ffffffffffffffff\""), None);
        assert_eq!(read("16"), None);
    }

    #[test]
    fn a_pending_or_removed_log_is_refused() {
        let log = |extra: &str| {
            let zero = B256::ZERO;
            let text = format!(
                r#"{{"address":"{}","topics":[],"data":"0x","blockHash":"{zero}","transactionHash":"{zero}",
                "transactionIndex":"0x0","logIndex":"0x0",{extra}}}"#,
                Address::ZERO
            );
            Log::try_from(serde_json::from_str::<WireLog>(&text).expect("json"))
        };
        assert!(log(r#""blockNumber":"0x1""#).is_ok());
        assert_eq!(log(r#""blockNumber":null"#), Err("a log is not in a block yet"));
        assert_eq!(log(r#""blockNumber":"0x1","removed":true"#), Err("a log is marked as removed"));
    }
}
