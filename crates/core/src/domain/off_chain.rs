use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::message::MessageState;

/// A published message about a fact that is not on a chain: an event of the application, a change of an activity. The
/// JSON has the keys of a [`super::Message`]; those of the chain are null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OffChainMessage {
    /// Its public id.
    pub id: Uuid,
    /// Position in the outbox; 0 until the outbox numbers the message.
    pub seq: u64,
    /// Version of this schema.
    pub version: u32,
    /// `user.registered`, `activity.created` …
    #[serde(rename = "type")]
    pub message_type: String,
    /// `confirmed`, or `retracted` where the daemon found the fact on a chain and a reorg took it away.
    pub state: MessageState,
    /// When it happened, RFC 3339 in UTC.
    pub timestamp: String,
    /// Kind of its subject; decides the stream in Redis and the room.
    pub aggregate_type: String,
    /// Id of its subject.
    pub aggregate_id: String,
    /// The fact.
    pub payload: Map<String, Value>,
    /// Its origin.
    pub metadata: OffChainMetadata,
    /// Whether this is a replay; a live message has no such key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replay: bool,
}

/// Origin of an [`OffChainMessage`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OffChainMetadata {
    /// The user it is about, by the application's own id.
    pub user_id: Option<String>,
    /// Groups what happened together.
    pub correlation_id: Option<String>,
    /// Id of the message that caused this one.
    pub causation_id: Option<String>,
    /// Who published it.
    pub source: String,
    /// Null, as are the other fields of the chain.
    pub chain_id: (),
    /// Null.
    pub block_number: (),
    /// Null.
    pub block_hash: (),
    /// Null.
    pub transaction_hash: (),
    /// Null.
    pub log_index: (),
    /// Null.
    pub confirmations: (),
}

/// Version of the schema of messages.
pub const MESSAGE_VERSION: u32 = 1;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AggregateRef<'a> {
    /// The kind of thing: `user`, `activity`, or what the application names. It chooses the stream.
    pub aggregate_type: &'a str,
    /// Its id among the things of its kind.
    pub id: &'a str,
}

impl OffChainMessage {
    /// A message with a time of [`rfc3339_millis`], without payload, user and source.
    pub fn new(id: Uuid, message_type: &str, about: AggregateRef<'_>, timestamp: String) -> Self {
        Self {
            id,
            seq: 0,
            version: MESSAGE_VERSION,
            message_type: message_type.to_owned(),
            state: MessageState::Confirmed,
            timestamp,
            aggregate_type: about.aggregate_type.to_owned(),
            aggregate_id: about.id.to_owned(),
            payload: Map::new(),
            metadata: OffChainMetadata::default(),
            replay: false,
        }
    }
}

/// RFC 3339 in UTC with milliseconds, as messages about facts that are not on a chain have it.
pub fn rfc3339_millis(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_off_chain_message_has_every_key_and_null_for_the_chain() {
        let message = OffChainMessage {
            id: Uuid::nil(),
            seq: 7,
            version: MESSAGE_VERSION,
            message_type: "user.registered".to_owned(),
            state: MessageState::Confirmed,
            timestamp: "2026-01-01T00:00:00.000Z".to_owned(),
            aggregate_type: "account".to_owned(),
            aggregate_id: "7".to_owned(),
            payload: Map::new(),
            metadata: OffChainMetadata { source: "backend".to_owned(), ..OffChainMetadata::default() },
            replay: false,
        };
        let json = serde_json::to_value(&message).expect("JSON");
        let null =
            ["chainId", "blockNumber", "blockHash", "transactionHash", "logIndex", "confirmations", "userId"];
        assert!(
            null.iter().all(|key| json["metadata"].as_object().is_some_and(|m| m[*key].is_null())),
            "{json}"
        );
        assert_eq!(serde_json::from_value::<OffChainMessage>(json).expect("reads back"), message);
    }
}
