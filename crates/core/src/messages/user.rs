use alloy_primitives::Address;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::event::{EventUsers, MessageSubject, timestamp};
use crate::domain::{Aggregate, MESSAGE_VERSION, Message, MessageState, amount_formatted, digest_uuid};

/// A user, with the columns of the table `users`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserState {
    /// Its id.
    pub id: Uuid,
    /// Base units, decimal digits.
    pub stake_amount: String,
    /// Seconds since the Unix epoch; `None` without a stake.
    pub staked_at: Option<u64>,
    /// Its status.
    pub status: String,
}

impl UserState {
    /// Whether the user has a stake.
    pub fn is_active(&self) -> bool {
        self.staked_at.is_some()
    }
}

/// A change of a user.
#[derive(Clone, Copy, Debug)]
pub struct UserChange<'a> {
    /// Its wallet.
    pub wallet: Address,
    /// Id of the user; `None` if the wallet was no user.
    pub id: Option<Uuid>,
    /// The user after the change; `None` without a stake.
    pub user: Option<&'a UserState>,
    /// [`USER_ACTIVATED`](crate::domain::USER_ACTIVATED) or [`USER_UPDATED`](crate::domain::USER_UPDATED).
    pub message_type: &'a str,
    /// What the message reports.
    pub state: MessageState,
}

impl UserChange<'_> {
    /// The message about the change, without a number. `cause` is the event that caused it.
    pub fn message(&self, cause: &MessageSubject<'_>) -> Message {
        let causation = cause.id();
        let users = EventUsers { first: self.id, second: None };
        let mut metadata = cause.metadata(0, users);
        metadata.causation_id = Some(causation);
        Message {
            id: derived(causation, self.message_type),
            seq: 0,
            version: MESSAGE_VERSION,
            message_type: self.message_type.to_owned(),
            state: self.state,
            retracts: None,
            timestamp: timestamp(cause.event.block_time),
            aggregate_type: Aggregate::User,
            aggregate_id: self.wallet,
            account: Some(self.wallet),
            payload: self.payload(cause.kind.decimals),
            metadata,
            replay: false,
        }
    }

    fn payload(&self, decimals: Option<u8>) -> Map<String, Value> {
        let mut payload = Map::new();
        let (amount, status) =
            self.user.map_or(("0", "registered"), |user| (&*user.stake_amount, &*user.status));
        payload.insert("stakeAmount".to_owned(), amount.into());
        if let Some(decimals) = decimals {
            payload.insert("stakeAmountFormatted".to_owned(), amount_formatted(amount, decimals).into());
        }
        let staked_at = self.user.and_then(|user| user.staked_at).map(timestamp);
        payload.insert("stakedAt".to_owned(), staked_at.map_or(Value::Null, Value::from));
        payload.insert("status".to_owned(), status.into());
        payload
    }
}

/// The id of a message: a function of its type and of the event that caused it, so that a retraction has the id of the message that
/// it withdraws.
fn derived(causation: Uuid, message_type: &str) -> Uuid {
    digest_uuid(Sha256::new().chain_update(causation.as_bytes()).chain_update(message_type))
}
