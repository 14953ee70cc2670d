use std::time::{Duration, UNIX_EPOCH};

use alloy_primitives::Address;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::DescribedKind;
use crate::domain::{
    Aggregate, Column, Event, EventId, MESSAGE_VERSION, Message, MessageState, Metadata, amount_formatted,
};

/// Last second RFC 3339 can write: its years have four digits.
const LAST_SECOND: u64 = 253_402_300_799;

/// The event that a message is about.
#[derive(Clone, Copy, Debug)]
pub struct MessageSubject<'a> {
    /// EIP-155.
    pub chain_id: u64,
    /// Its kind.
    pub kind: &'a DescribedKind,
    /// The event.
    pub event: &'a Event,
}

/// The users among the parties of an event: the account's before the counterparty's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventUsers {
    /// The user that the message is about.
    pub first: Option<Uuid>,
    /// Another user than the first.
    pub second: Option<Uuid>,
}

/// What a message adds to its event.
#[derive(Clone, Copy, Debug)]
pub struct MessageStage {
    /// What the message reports.
    pub state: MessageState,
    /// Blocks above the event's; 0 at the head.
    pub confirmations: u64,
    /// The users among its parties.
    pub users: EventUsers,
}

impl EventUsers {
    /// The users among the parties of an event, by their wallets.
    pub fn of(event: &Event, user: impl Fn(&Address) -> Option<Uuid>) -> Self {
        let mut known = parties(event).filter_map(|account| user(&account));
        let first = known.next();
        Self { first, second: known.find(|id| Some(*id) != first) }
    }
}

impl MessageSubject<'_> {
    /// The public id of the event.
    pub fn id(&self) -> Uuid {
        EventId::new(self.chain_id, self.event.block_hash, self.event.place).as_uuid()
    }

    /// The message about the event, without a number.
    pub fn message(&self, stage: MessageStage) -> Message {
        let Self { kind, event, .. } = *self;
        let aggregate_id = match kind.layout.aggregate {
            Aggregate::User => event.fact.account.unwrap_or(event.address),
            Aggregate::Token | Aggregate::Nft | Aggregate::Contract => event.address,
        };
        Message {
            id: self.id(),
            seq: 0,
            version: MESSAGE_VERSION,
            message_type: kind.event_type.clone(),
            state: stage.state,
            retracts: None,
            timestamp: timestamp(event.block_time),
            aggregate_type: kind.layout.aggregate,
            aggregate_id,
            account: event.fact.account,
            payload: self.payload(),
            metadata: self.metadata(stage.confirmations, stage.users),
            replay: false,
        }
    }

    pub(super) fn metadata(&self, confirmations: u64, users: EventUsers) -> Metadata {
        let event = self.event;
        Metadata {
            user_id: users.first,
            counterparty_user_id: users.second,
            correlation_id: event.tx_hash,
            causation_id: None,
            source: self.kind.source.clone(),
            chain_id: self.chain_id,
            block_number: event.place.block_number,
            block_hash: event.block_hash,
            transaction_hash: event.tx_hash,
            log_index: event.place.log_index,
            confirmations,
        }
    }

    /// Arguments by their ABI names, and amounts once more in whole tokens where the decimals are known.
    fn payload(&self) -> Map<String, Value> {
        let Self { kind, event, .. } = *self;
        let fact = &event.fact;
        let args: Map<String, Value> =
            fact.args.as_deref().and_then(|args| serde_json::from_str(args).ok()).unwrap_or_default();
        let wallet = |wallet: Option<Address>| wallet.map(|wallet| Value::from(format!("{wallet:#x}")));
        let mut payload = Map::new();
        for column in kind.layout.columns_of(&args) {
            let value = match &column.column {
                Column::Account => wallet(fact.account),
                Column::Counterparty => wallet(fact.counterparty),
                Column::Amount => fact.amount.map(|amount| amount.to_string().into()),
                Column::TokenId => fact.token_id.map(|token| token.to_string().into()),
                Column::Arg { key, members, .. } => args.get(key).cloned().map(|value| match members {
                    Some(members) if members.is_renamed() => members.named(value),
                    _ => value,
                }),
            };
            if let (Column::Amount, Some(decimals), Some(amount)) =
                (&column.column, kind.decimals, fact.amount)
            {
                let formatted = amount_formatted(&amount.to_string(), decimals);
                payload.insert(format!("{}Formatted", column.argument), formatted.into());
            }
            payload.insert(column.argument.clone(), value.unwrap_or(Value::Null));
        }
        payload
    }
}

/// The accounts of an event that may be users: the account first.
pub fn parties(event: &Event) -> impl Iterator<Item = Address> {
    [event.fact.account, event.fact.counterparty].into_iter().flatten()
}

/// RFC 3339 in UTC, whole seconds: blocks have no finer time. The time of a block that claims a year after 9999 is cut to
/// the end of that year; `events.block_time` has the claim.
pub(super) fn timestamp(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND))).to_string()
}
