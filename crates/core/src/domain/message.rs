use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::event::Aggregate;

/// What a message reports about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// Seen at the head; a reorg may still remove it.
    Pending,
    /// Deep enough to be published as confirmed.
    Confirmed,
    /// Withdrawn after a reorg.
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

/// A text that is not a state of a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a state of a message")]
pub struct UnknownMessageState(String);

impl TryFrom<String> for MessageState {
    type Error = UnknownMessageState;

    fn try_from(word: String) -> Result<Self, UnknownMessageState> {
        let all = [Self::Pending, Self::Confirmed, Self::Retracted];
        all.into_iter().find(|state| state.as_str() == word).ok_or(UnknownMessageState(word))
    }
}

/// JSON Schema (draft 2020-12) of a [`Message`]. Written by hand, not derived from the struct: the schema is the
/// promise to consumers, and tests compare published messages with it.
pub const MESSAGE_SCHEMA: &str = include_str!("../../../../schemas/message.json");

/// A published message about an event: the JSON that consumers parse, see [`MESSAGE_SCHEMA`]. Hashes and addresses are
/// `0x` and lower-case hexadecimal digits. Numbers that may exceed 2^53 are decimal strings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The event's public id; unchanged if the same block returns after a reorg.
    pub id: Uuid,
    /// Position in the outbox, gap-free and in commit order. Consumers deduplicate and resume by it.
    pub seq: u64,
    /// Version of this schema.
    pub version: u32,
    /// `stake.staked`, `erc20.mint`, `contract.<event>`, `user.activated` …
    #[serde(rename = "type")]
    pub message_type: String,
    /// What the message reports.
    pub state: MessageState,
    /// Of a retraction: `Pending` where the event was published as pending and never as confirmed, so that no balance had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retracts: Option<MessageState>,
    /// Block time, RFC 3339 in UTC.
    pub timestamp: String,
    /// The subject.
    pub aggregate_type: Aggregate,
    /// Address of the wallet or contract.
    pub aggregate_id: Address,
    /// The account of the event, for delivery only: messages with the same account are delivered in order. Not part of
    /// the JSON.
    #[serde(skip)]
    pub account: Option<Address>,
    /// Arguments by their ABI names.
    pub payload: Map<String, Value>,
    /// Origin of the event.
    pub metadata: Metadata,
    /// Whether this is a replay; a live message has no such key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replay: bool,
}

/// Origin of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The user that the message is about, if known.
    pub user_id: Option<Uuid>,
    /// The second user, if the counterparty is one; otherwise the key is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterparty_user_id: Option<Uuid>,
    /// The transaction: groups what happened together.
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
    /// Depth of the block below the head at publication; 0 for a retraction.
    pub confirmations: u64,
}

/// A message in transit: what routing needs, and the JSON that is passed on unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// As in the message.
    pub seq: u64,
    /// The epoch of the number. Epoch and number together identify a message across databases.
    pub epoch: String,
    /// As in the message; decides the stream.
    pub aggregate_type: String,
    /// As in the message.
    pub message_type: String,
    /// As in the message.
    pub state: MessageState,
    /// The user that the message is about, if known.
    pub user_id: Option<Uuid>,
    /// The second user, if there is one.
    pub counterparty_user_id: Option<Uuid>,
    /// The [`Message`].
    pub json: String,
}

/// Converts base units to a decimal number of whole tokens: 25000000 with 6 decimals is "25", 1 is "0.000001". `amount`
/// must be decimal digits; anything else is returned unchanged.
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
    use super::{MessageState, UnknownMessageState, amount_formatted};

    #[test]
    fn a_state_is_read_from_its_word_alone() {
        for state in [MessageState::Pending, MessageState::Confirmed, MessageState::Retracted] {
            assert_eq!(state.as_str().to_owned().try_into(), Ok(state));
        }
        let unknown = "Confirmed".to_owned();
        assert_eq!(MessageState::try_from(unknown.clone()), Err(UnknownMessageState(unknown)));
    }

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
