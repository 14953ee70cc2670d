//! Reads hints from the body of a delivery. Providers use different shapes and share only a few names, so the whole body is searched: an
//! object that names a transaction is a hint. Fields that it lacks are taken from the enclosing objects.

use std::collections::HashSet;

use alloy_primitives::{Address, B256, U256, b256, hex};
use serde_json::{Map, Value};

/// Maximum number of hints of one delivery. Alchemy sends the transactions of a block in one; the chain's loop finds the rest itself.
pub const MAX_HINTS: usize = 1_000;

/// `Transfer(address,address,uint256)` of ERC-20 and ERC-721.
const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// The kind of a hint, which follows from its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HintKind {
    /// `Transfer` with two indexed arguments.
    Erc20Transfer,
    /// `Transfer` with three indexed arguments.
    Erc721Transfer,
    /// `Transfer` with three indexed arguments from the zero address.
    Erc721Mint,
    /// Any other log, and a transaction without one.
    ContractCall,
}

impl HintKind {
    /// The word in the table and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Erc20Transfer => "erc20_transfer",
            Self::Erc721Transfer => "erc721_transfer",
            Self::Erc721Mint => "erc721_mint",
            Self::ContractCall => "contract_call",
        }
    }

    fn of(log: Option<&HintLog>) -> Self {
        match log.map(|log| log.topics.as_slice()) {
            Some([TRANSFER, _, _]) => Self::Erc20Transfer,
            Some([TRANSFER, from, _, _]) if from.is_zero() => Self::Erc721Mint,
            Some([TRANSFER, _, _, _]) => Self::Erc721Transfer,
            _ => Self::ContractCall,
        }
    }
}

/// A log as a delivery shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HintLog {
    /// The contract.
    pub address: Address,
    /// One to four.
    pub topics: Vec<B256>,
    /// Its place in the block, where it is given.
    pub index: Option<u64>,
}

/// A transaction, or one log of it, that a provider reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryHint {
    /// What happened.
    pub kind: HintKind,
    /// The transaction.
    pub transaction: B256,
    /// Height of its block, where it is given.
    pub block: Option<u64>,
    /// Hash of its block, where it is given.
    pub block_hash: Option<B256>,
    /// The log; `None` for a transaction of which no log is shown.
    pub log: Option<HintLog>,
}

/// What an object inherits from the objects around it.
#[derive(Clone, Copy, Default)]
struct Surroundings {
    transaction: Option<B256>,
    block: Option<u64>,
    block_hash: Option<B256>,
}

/// Every transaction and log that the body names, each once and at most [`MAX_HINTS`]; none for a body that is no
/// JSON. A transaction whose logs are in the body is no hint of its own.
pub fn hints(body: &[u8]) -> Vec<DeliveryHint> {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let mut found = Vec::new();
    search(&body, Surroundings::default(), "", &mut found);
    let with_logs: HashSet<B256> =
        found.iter().filter(|hint| hint.log.is_some()).map(|hint| hint.transaction).collect();
    let mut seen = HashSet::new();
    found.retain(|hint| {
        let is_shown = hint.log.is_none() && with_logs.contains(&hint.transaction);
        !is_shown && seen.insert((hint.transaction, hint.log.clone()))
    });
    found
}

/// `serde_json` reads no more than 128 levels, which bounds how deep this goes.
fn search(value: &Value, around: Surroundings, name: &str, found: &mut Vec<DeliveryHint>) {
    if found.len() >= MAX_HINTS {
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| search(item, around, name, found)),
        Value::Object(fields) => {
            let here = surroundings(fields, around, name);
            let log = log(fields);
            let names_itself = own_transaction(fields, name).is_some();
            if let Some(transaction) = here.transaction.filter(|_| log.is_some() || names_itself) {
                let Surroundings { block, block_hash, .. } = here;
                found.push(DeliveryHint {
                    kind: HintKind::of(log.as_ref()),
                    transaction,
                    block,
                    block_hash,
                    log,
                });
            }
            fields.iter().for_each(|(name, value)| search(value, here, name, found));
        }
        _ => {}
    }
}

fn surroundings(fields: &Map<String, Value>, around: Surroundings, name: &str) -> Surroundings {
    let is_block = matches!(name, "block" | "blocks");
    // Block and transaction may be objects beside the fields of the log.
    let beside = |object: &str, field: &str| fields.get(object).and_then(|object| object.get(field));
    let block = any(fields, &["blockNumber", "block_number", "blockNum"])
        .or_else(|| beside("block", "number"))
        .or_else(|| is_block.then(|| fields.get("number")).flatten());
    let block_hash = any(fields, &["blockHash", "block_hash"])
        .or_else(|| beside("block", "hash"))
        .or_else(|| is_block.then(|| fields.get("hash")).flatten());
    let transaction = own_transaction(fields, name).or_else(|| beside("transaction", "hash").and_then(word));
    Surroundings {
        transaction: transaction.or(around.transaction),
        block: block.and_then(number).or(around.block),
        block_hash: block_hash.and_then(word).or(around.block_hash),
    }
}

/// The transaction that an object names. `hash` means a transaction, except in a block.
fn own_transaction(fields: &Map<String, Value>, name: &str) -> Option<B256> {
    let named = any(fields, &["transactionHash", "transaction_hash", "txHash", "tx_hash"]);
    let is_block = matches!(name, "block" | "blocks" | "header") || fields.contains_key("parentHash");
    named.or_else(|| fields.get("hash").filter(|_| !is_block)).and_then(word)
}

/// The log that an object is: `topics` as a list, or `topic0` to `topic3` as Moralis writes them.
fn log(fields: &Map<String, Value>) -> Option<HintLog> {
    let topics: Vec<B256> = match fields.get("topics") {
        Some(Value::Array(topics)) => topics.iter().map(word).collect::<Option<_>>()?,
        _ => ["topic0", "topic1", "topic2", "topic3"]
            .iter()
            .map_while(|name| fields.get(*name).and_then(word))
            .collect(),
    };
    let account = fields.get("account").and_then(|account| account.get("address"));
    let address = any(fields, &["address", "contractAddress", "contract_address"]).or(account)?;
    let address: Address = address.as_str()?.parse().ok()?;
    let index = any(fields, &["logIndex", "log_index", "index"]).and_then(number);
    (1..=4).contains(&topics.len()).then_some(HintLog { address, topics, index })
}

fn any<'a>(fields: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| fields.get(*name)).filter(|value| !value.is_null())
}

/// 32 bytes.
fn word(value: &Value) -> Option<B256> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    let bytes = (digits.len() == 64).then(|| hex::decode(digits).ok()).flatten()?;
    Some(B256::from_slice(&bytes))
}

/// A number, a string of digits, or `0x` and hexadecimal digits; `None` for a number that the database cannot store.
fn number(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) => U256::from_str_radix(digits, 16).ok().and_then(|number| number.try_into().ok()),
            None => text.parse().ok(),
        },
        _ => None,
    };
    number.filter(|number| i64::try_from(*number).is_ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TX: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const BLOCK: &str = "0xbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const TOKEN: &str = "0x00000000000000000000000000000000000000cc";

    fn topic(byte: u8) -> String {
        B256::repeat_byte(byte).to_string()
    }

    fn read(body: &Value) -> Vec<DeliveryHint> {
        hints(body.to_string().as_bytes())
    }

    /// As every provider is to be read.
    fn transfer(index: Option<u64>, block_hash: Option<B256>) -> DeliveryHint {
        let topics = vec![TRANSFER, B256::repeat_byte(1), B256::repeat_byte(2)];
        let log = HintLog { address: TOKEN.parse().expect("an address"), topics, index };
        DeliveryHint {
            kind: HintKind::Erc20Transfer,
            transaction: B256::repeat_byte(0xaa),
            block: Some(16),
            block_hash,
            log: Some(log),
        }
    }

    #[test]
    fn each_provider_reports_the_same_in_its_own_shape() {
        let topics = json!([TRANSFER, topic(1), topic(2)]);
        let alchemy = json!({ "webhookId": "wh_1", "id": "whevt_1", "type": "ADDRESS_ACTIVITY", "event": {
            "network": "ETH_MAINNET", "activity": [{ "fromAddress": TOKEN, "blockNum": "0x10", "hash": TX, "category": "token",
                "log": { "address": TOKEN, "topics": topics, "data": "0x01", "blockNumber": "0x10", "transactionHash": TX,
                    "blockHash": BLOCK, "logIndex": "0x3", "removed": false } }] } });
        let custom = json!({ "event": { "data": { "block": { "hash": BLOCK, "number": 16, "logs": [
            { "data": "0x01", "topics": topics, "index": 3, "account": { "address": TOKEN },
                "transaction": { "hash": TX, "nonce": 1, "index": 0 } }] } } } });
        let moralis = json!({ "confirmed": false, "chainId": "0x1", "block": { "number": "16", "hash": BLOCK, "timestamp": "1" },
            "logs": [{ "logIndex": "3", "transactionHash": TX, "address": TOKEN, "data": "0x01", "topic0": TRANSFER,
                "topic1": topic(1), "topic2": topic(2), "topic3": null }], "txs": [{ "hash": TX, "gas": "1" }], "retries": 0 });
        let quicknode = json!({ "data": [[{ "address": TOKEN, "blockHash": BLOCK, "blockNumber": "0x10", "logIndex": "0x3",
            "topics": topics, "transactionHash": TX, "transactionIndex": "0x0" }]], "metadata": { "network": "x" } });
        assert_eq!(read(&alchemy), [transfer(Some(3), Some(B256::repeat_byte(0xbb)))]);
        assert_eq!(read(&custom), [transfer(Some(3), Some(B256::repeat_byte(0xbb)))]);
        assert_eq!(read(&quicknode), [transfer(Some(3), Some(B256::repeat_byte(0xbb)))]);
        // The block of Moralis is beside the logs, not around them.
        assert_eq!(read(&moralis), [transfer(Some(3), Some(B256::repeat_byte(0xbb)))]);
        let coinbase = json!({ "id": "evt", "eventType": "onchain.activity.detected", "data": { "network": "base-mainnet",
            "transaction_hash": TX, "block_number": 16, "contract_address": TOKEN } });
        let call = DeliveryHint { kind: HintKind::ContractCall, log: None, ..transfer(None, None) };
        assert_eq!(read(&coinbase), [call]);
    }

    #[test]
    fn the_kind_follows_from_the_log() {
        let kind = |topics: Value| {
            let body = json!({ "transactionHash": TX, "address": TOKEN, "topics": topics });
            read(&body).first().map(|hint| hint.kind.as_str())
        };
        assert_eq!(kind(json!([TRANSFER, topic(1), topic(2)])), Some("erc20_transfer"));
        assert_eq!(kind(json!([TRANSFER, topic(1), topic(2), topic(9)])), Some("erc721_transfer"));
        assert_eq!(kind(json!([TRANSFER, topic(0), topic(2), topic(9)])), Some("erc721_mint"));
        assert_eq!(kind(json!([topic(7)])), Some("contract_call"));
        assert_eq!(kind(json!([TRANSFER])), Some("contract_call"));
    }

    #[test]
    fn what_names_no_transaction_is_no_hint() {
        for body in [
            json!(null),
            json!({ "hash": "0x12" }),
            json!({ "block": { "number": 1, "hash": BLOCK } }),
            json!({ "hash": BLOCK, "parentHash": BLOCK }),
            json!({ "transactionHash": 7 }),
            json!([[[]]]),
        ] {
            assert!(read(&body).is_empty(), "{body}");
        }
        assert!(hints(b"no json").is_empty());
        assert!(hints("[".repeat(100_000).as_bytes()).is_empty(), "deep JSON is not followed");
    }

    #[test]
    fn hints_are_bounded_and_each_is_there_once() {
        let many: Vec<Value> =
            (0..5_000u64).map(|n| json!({ "hash": B256::from(U256::from(n)), "blockNum": n })).collect();
        assert_eq!(read(&json!(many)).len(), MAX_HINTS);
        assert_eq!(read(&json!([{ "hash": TX }, { "hash": TX }])).len(), 1);
        let huge = json!({ "hash": TX, "blockNum": "0xffffffffffffffffffffffff" });
        assert_eq!(read(&huge)[0].block, None);
    }
}
