use alloy_primitives::{Address, B256, U256};
use serde_json::{Map, Value};
use uuid::Uuid;

/// A movement of tokens, as a message reports it confirmed or retracted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// Number of the message.
    pub seq: u64,
    /// Its id.
    pub id: Uuid,
    /// Whether a reorg took it back.
    pub is_retracted: bool,
    /// Block time, RFC 3339.
    pub timestamp: String,
    /// EIP-155.
    pub chain_id: u64,
    /// The token.
    pub token: Address,
    /// Who had it.
    pub from: Address,
    /// Who has it.
    pub to: Address,
    /// Base units.
    pub amount: U256,
    /// Height of its block.
    pub block_number: u64,
    /// Hash of its block.
    pub block_hash: B256,
    /// Hash of its transaction.
    pub transaction: B256,
}

impl Movement {
    /// Reads a message about a token. `None` for a replay, for the retraction of an event that no balance had, and for other messages.
    /// The ABI names the arguments, so they are recognized by their form: the sender is the account of the message, the receiver
    /// the other address, the amount the other number.
    pub fn read(seq: u64, message: &str, sender: &[u8]) -> Option<Self> {
        let message: Value = serde_json::from_str(message).ok()?;
        let (payload, metadata) = (message["payload"].as_object()?, &message["metadata"]);
        let is_retracted = match message["state"].as_str()? {
            "confirmed" => false,
            "retracted" => true,
            _ => return None,
        };
        if message["replay"] == true || message["retracts"] == "pending" {
            return None;
        }
        let from = Address::try_from(sender).ok()?;
        let addresses: Vec<Address> = payload.values().filter_map(address).collect();
        let to = addresses.iter().copied().find(|other| *other != from).unwrap_or(from);
        Some(Self {
            seq,
            id: message["id"].as_str()?.parse().ok()?,
            is_retracted,
            timestamp: message["timestamp"].as_str()?.to_owned(),
            chain_id: metadata["chainId"].as_u64()?,
            token: address(&message["aggregateId"])?,
            from,
            to,
            amount: amount(payload)?,
            block_number: metadata["blockNumber"].as_u64()?,
            block_hash: metadata["blockHash"].as_str()?.parse().ok()?,
            transaction: metadata["transactionHash"].as_str()?.parse().ok()?,
        })
    }
}

fn address(value: &Value) -> Option<Address> {
    value.as_str().filter(|text| text.len() == 42).and_then(|text| text.parse().ok())
}

/// The amount, which may be there once more in whole tokens.
fn amount(payload: &Map<String, Value>) -> Option<U256> {
    let is_repeat =
        |name: &str| name.strip_suffix("Formatted").is_some_and(|name| payload.contains_key(name));
    let amounts = payload.iter().filter(|(name, value)| !is_repeat(name) && address(value).is_none());
    amounts.filter_map(|(_, value)| U256::from_str_radix(value.as_str()?, 10).ok()).next()
}
