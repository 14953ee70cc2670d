use uuid::Uuid;

use super::super::StoreError;
use crate::domain::{Message, MessageState};

/// A message written down but for its number: that is known only at the end of the transaction, and then everybody waits.
pub(in super::super) struct Draft {
    pub(super) aggregate_type: String,
    pub(super) message_type: String,
    pub(super) state: MessageState,
    pub(super) user_id: Option<Uuid>,
    /// Its JSON up to the number.
    before: String,
    /// And after it.
    after: String,
}

/// Where the number stands. Nothing but an id comes before it.
const SEQ: &str = "\"seq\":";

impl Draft {
    fn of(message: &Message) -> Result<Self, StoreError> {
        let json = serde_json::to_string(message)
            .map_err(|error| StoreError::invalid(format!("a message is no JSON: {error}")))?;
        let number = format!("{SEQ}{}", message.seq);
        let (id, after) = json.split_once(&number).expect("every message has its number, after its id");
        Ok(Self {
            aggregate_type: message.aggregate_type.clone(),
            message_type: message.message_type.clone(),
            state: message.state,
            user_id: message.metadata.user_id,
            before: format!("{id}{SEQ}"),
            after: after.to_owned(),
        })
    }

    /// The message with its number.
    pub(super) fn text(&self, seq: i64) -> String {
        format!("{}{seq}{}", self.before, self.after)
    }
}

/// The messages in their order.
pub(in super::super) fn drafts(messages: &[Message]) -> Result<Vec<Draft>, StoreError> {
    messages.iter().map(Draft::of).collect()
}
