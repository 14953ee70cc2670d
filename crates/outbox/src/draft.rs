use serde::Serialize;
use uuid::Uuid;

use crate::keys::{addresses, room_key};
use chainflume_core::domain::{Envelope, Message, MessageState, OffChainMessage};
use chainflume_db::StoreError;

/// A message that is composed except for its number. The number is known only at the end of the transaction, when every other writer
/// waits for it.
pub struct Draft {
    pub(crate) aggregate_type: String,
    pub(crate) message_type: String,
    pub(crate) state: MessageState,
    pub(crate) user_id: Option<Uuid>,
    /// Its room keys ([`crate::room_key`]), each once.
    pub(crate) keys: Vec<i64>,
    pub(crate) counterparty_user_id: Option<Uuid>,
    /// The wallet it is about besides its aggregate, 20 bytes.
    pub(crate) account: Option<Vec<u8>>,
    /// Its JSON up to the number.
    before: String,
    /// Its JSON after the number.
    after: String,
}

/// The key of the number. Only the id comes before it in a message.
const SEQ: &str = "\"seq\":";

impl Draft {
    fn of(message: Message) -> Result<Self, StoreError> {
        let (before, after) = parts(&message, message.seq)?;
        Ok(Self {
            keys: keys(&message),
            aggregate_type: message.aggregate_type.as_str().to_owned(),
            message_type: message.message_type,
            state: message.state,
            user_id: message.metadata.user_id,
            counterparty_user_id: message.metadata.counterparty_user_id,
            account: message.account.map(|account| account.to_vec()),
            before,
            after,
        })
    }

    fn off_chain(message: OffChainMessage) -> Result<Self, StoreError> {
        let (before, after) = parts(&message, message.seq)?;
        let user_id = message.metadata.user_id.as_deref();
        let mut keys: Vec<i64> =
            user_id.into_iter().chain([message.aggregate_id.as_str()]).map(room_key).collect();
        keys.sort_unstable();
        keys.dedup();
        Ok(Self {
            keys,
            // The column names rows of `users`; the application's own ids are in the message alone.
            user_id: user_id.and_then(|id| Uuid::try_parse(id).ok()),
            aggregate_type: message.aggregate_type,
            message_type: message.message_type,
            state: message.state,
            counterparty_user_id: None,
            account: None,
            before,
            after,
        })
    }

    /// The message with a number of an epoch, for a sink.
    pub fn envelope(&self, seq: u64, epoch: &str) -> Envelope {
        Envelope {
            seq,
            epoch: epoch.to_owned(),
            aggregate_type: self.aggregate_type.clone(),
            message_type: self.message_type.clone(),
            state: self.state,
            user_id: self.user_id,
            counterparty_user_id: self.counterparty_user_id,
            json: format!("{}{seq}{}", self.before, self.after),
        }
    }

    /// Bytes it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.before.len() + self.after.len() + size_of_val(self.keys.as_slice())
    }

    /// Its JSON before and after the number.
    pub(crate) fn around_the_number(&self) -> (&str, &str) {
        (&self.before, &self.after)
    }

    /// The message with its number.
    pub(crate) fn text(&self, seq: i64) -> String {
        format!("{}{seq}{}", self.before, self.after)
    }
}

/// The JSON of a message before and after its number.
fn parts(message: &impl Serialize, seq: u64) -> Result<(String, String), StoreError> {
    let json = serde_json::to_string(message)
        .map_err(|error| StoreError::invalid(format!("a message is no JSON: {error}")))?;
    let number = format!("{SEQ}{seq}");
    let (id, after) = json.split_once(&number).expect("every message has its number, after its id");
    Ok((format!("{id}{SEQ}"), after.to_owned()))
}

fn keys(message: &Message) -> Vec<i64> {
    let aggregate = format!("{:#x}", message.aggregate_id);
    let named = addresses(Some(&aggregate), Some(&message.payload));
    let mut keys: Vec<i64> = named.into_iter().map(room_key).collect();
    let users = [message.metadata.user_id, message.metadata.counterparty_user_id];
    keys.extend(users.into_iter().flatten().map(|id| room_key(&id.to_string())));
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The drafts of these messages, in their order.
///
/// # Errors
/// [`StoreError::Invalid`] for a message that cannot be written as JSON.
pub fn drafts(messages: Vec<Message>) -> Result<Vec<Draft>, StoreError> {
    messages.into_iter().map(Draft::of).collect()
}

/// As [`drafts`], for messages about facts that are not on a chain.
///
/// # Errors
/// As [`drafts`].
pub fn off_chain_drafts(messages: Vec<OffChainMessage>) -> Result<Vec<Draft>, StoreError> {
    messages.into_iter().map(Draft::off_chain).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn with_its_number_a_draft_is_the_message_with_that_number() {
        let message = |seq: u64| -> Message {
            let zero = "0x0000000000000000000000000000000000000000000000000000000000000000";
            serde_json::from_value(json!({
                "id": "5d0b9c4e-0000-8000-8000-000000000000", "seq": seq, "version": 1, "type": "erc20.transfer",
                "state": "confirmed", "timestamp": "2026-01-01T00:00:00Z", "aggregateType": "token",
                "aggregateId": "0x00000000000000000000000000000000000000aa", "payload": { "\"seq\":0": "\"seq\":0" },
                "metadata": {
                    "userId": null, "correlationId": zero, "causationId": null, "source": "\"seq\":0", "chainId": 1,
                    "blockNumber": 7, "blockHash": zero, "transactionHash": zero, "logIndex": 0, "confirmations": 2
                }
            }))
            .expect("a message")
        };
        for seq in [1, 10, u64::try_from(i64::MAX).expect("positive")] {
            let draft = Draft::of(message(0)).expect("it is JSON");
            let text = draft.text(i64::try_from(seq).expect("it fits"));
            assert_eq!(text, serde_json::to_string(&message(seq)).expect("it is JSON"));
        }
    }
}
