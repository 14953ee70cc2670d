use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// What is said about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// Seen at the head; it may still go.
    Pending,
    /// Deep enough.
    Confirmed,
    /// A reorg took it back.
    Retracted,
}

impl MessageState {
    /// The word in messages, tables and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Retracted => "retracted",
        }
    }
}

/// JSON Schema (draft 2020-12) of a [`Message`]. Written by hand and not derived from the struct: it is the promise,
/// and the tests hold what is sent against it.
pub const MESSAGE_SCHEMA: &str = include_str!("../../../../schemas/message.json");

/// What leaves the house about an event: JSON that consumers code against, see [`MESSAGE_SCHEMA`]. Hashes and
/// addresses are `0x` and lower-case hexadecimal digits, numbers that may exceed 2^53 are decimal strings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The event's public id; the same again if the same block comes back after a reorg.
    pub id: Uuid,
    /// Position in the outbox, gap-free and in commit order: what consumers deduplicate and resume by.
    pub seq: u64,
    /// Of this shape.
    pub version: u32,
    /// `stake.staked`, `erc20.mint`, `contract.<event>`, `user.activated` …
    #[serde(rename = "type")]
    pub message_type: String,
    /// What is said.
    pub state: MessageState,
    /// Block time, RFC 3339 in UTC.
    pub timestamp: String,
    /// `user`, `token`, `nft` or `contract`.
    pub aggregate_type: String,
    /// Address of the wallet or contract.
    pub aggregate_id: Address,
    /// The account of its event, which no reader of the JSON needs: messages that share it are delivered in their order.
    #[serde(skip)]
    pub account: Option<Address>,
    /// Arguments by their ABI names.
    pub payload: Map<String, Value>,
    /// Where it comes from.
    pub metadata: Metadata,
    /// Whether this is a replay; the key is there only where it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replay: bool,
}

/// Where a message comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The user it is about, where a user is known.
    pub user_id: Option<Uuid>,
    /// The other user it is about, where the counterparty is a second one; the key is there only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterparty_user_id: Option<Uuid>,
    /// The transaction: what happened together.
    pub correlation_id: B256,
    /// The message that caused this one, for messages about users.
    pub causation_id: Option<Uuid>,
    /// Name of the source.
    pub source: String,
    /// EIP-155.
    pub chain_id: u64,
    /// Height of the block.
    pub block_number: u64,
    /// Hash of the block.
    pub block_hash: B256,
    /// Hash of the transaction.
    pub transaction_hash: B256,
    /// Index of the log.
    pub log_index: u32,
    /// How deep the block was below the head when this was said; 0 for what is retracted.
    pub confirmations: u64,
}

/// A message on its way: what carrying it takes, and the JSON that is passed on as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// As in the message.
    pub seq: u64,
    /// The epoch of the number: the two together name one message of all databases.
    pub epoch: String,
    /// As in the message: names the stream.
    pub aggregate_type: String,
    /// As in the message.
    pub message_type: String,
    /// As in the message.
    pub state: String,
    /// The user it is about, where one is known.
    pub user_id: Option<Uuid>,
    /// The other user it is about, where there is one.
    pub counterparty_user_id: Option<Uuid>,
    /// The [`Message`].
    pub json: String,
}

/// Base units as a decimal number of whole tokens: 25000000 with 6 decimals is "25", 1 is "0.000001".
/// `amount` is decimal digits; anything else is given back as it is.
pub fn amount_formatted(amount: &str, decimals: u8) -> String {
    if amount.is_empty() || !amount.bytes().all(|byte| byte.is_ascii_digit()) {
        return amount.to_owned();
    }
    let decimals = usize::from(decimals);
    let digits = format!("{amount:0>width$}", width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::amount_formatted;

    #[test]
    fn amounts_are_exact_in_whole_tokens() {
        let formatted = |amount, decimals| amount_formatted(amount, decimals);
        assert_eq!(formatted("25000000", 6), "25");
        assert_eq!(formatted("1", 6), "0.000001");
        assert_eq!(formatted("0", 6), "0");
        assert_eq!(formatted("1234500", 4), "123.45");
        assert_eq!(formatted("7", 0), "7");
    }
}
