use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use alloy_primitives::Address;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::super::events::Stored;
use super::super::kinds::Described;
use super::super::open::OpenChain;
use chainflume_core::domain::{
    Aggregate, Column, Event, EventId, Message, MessageState, Metadata, amount_formatted,
};
use chainflume_db::StoreError;
use chainflume_db::convert::address;
use chainflume_db::transaction::Tx;

/// Version of the message's shape.
pub(super) const VERSION: u32 = 1;

/// An event that is spoken about, with what its kind is.
#[derive(Clone, Copy)]
pub(in super::super) struct EventRef<'a> {
    pub(in super::super) kind_id: i32,
    pub(in super::super) event: &'a Event,
}

impl<'a> EventRef<'a> {
    pub(in super::super) fn of(stored: &'a Stored) -> Self {
        Self { kind_id: stored.kind_id, event: &stored.event }
    }
}

/// Which of the wallets that events are about are users.
pub(super) struct UserIds(BTreeMap<Address, Uuid>);

impl UserIds {
    pub(super) async fn of(tx: &mut Tx, refs: &[EventRef<'_>]) -> Result<Self, StoreError> {
        let wallets: BTreeSet<Address> = refs.iter().flat_map(|event_ref| parties(event_ref.event)).collect();
        if wallets.is_empty() {
            return Ok(Self(BTreeMap::new()));
        }
        let wallets: Vec<&[u8]> = wallets.iter().map(|wallet| wallet.as_slice()).collect();
        let rows: Vec<(Vec<u8>, Uuid)> =
            sqlx::query_as("select wallet, id from users where wallet = any($1)")
                .bind(wallets)
                .fetch_all(&mut **tx)
                .await?;
        rows.into_iter().map(|(wallet, id)| Ok((address(&wallet)?, id))).collect::<Result<_, _>>().map(Self)
    }

    /// The users among the parties of an event.
    fn about(&self, event: &Event) -> EventUsers {
        let mut known = parties(event).filter_map(|account| self.0.get(&account).copied());
        let first = known.next();
        EventUsers { first, second: known.find(|id| Some(*id) != first) }
    }
}

/// The users that an event is about: the account's before the counterparty's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EventUsers {
    pub(super) first: Option<Uuid>,
    /// Another one than the first.
    pub(super) second: Option<Uuid>,
}

/// Messages that these events are seen at the head, in their order. `head` is the chain's head as it was read.
pub(super) fn pending(
    chain: &OpenChain,
    refs: &[EventRef<'_>],
    users: &UserIds,
    head: u64,
) -> Result<Vec<Message>, StoreError> {
    messages(chain, refs, users, |event| (MessageState::Pending, below(head, event)))
}

/// Messages that these events are confirmed, in their order. `head` is the chain's head as it was read.
pub(super) fn confirmed(
    chain: &OpenChain,
    refs: &[EventRef<'_>],
    users: &UserIds,
    head: u64,
) -> Result<Vec<Message>, StoreError> {
    messages(chain, refs, users, |event| (MessageState::Confirmed, below(head, event)))
}

/// Messages that these events are taken back, the newest first.
pub(super) async fn retracted(
    tx: &mut Tx,
    chain: &OpenChain,
    refs: &[EventRef<'_>],
) -> Result<Vec<Message>, StoreError> {
    let users = UserIds::of(tx, refs).await?;
    let mut messages = messages(chain, refs, &users, |_| (MessageState::Retracted, 0))?;
    messages.reverse();
    Ok(messages)
}

/// Blocks above the event's: 0 at the head.
fn below(head: u64, event: &Event) -> u64 {
    head.saturating_sub(event.place.block_number)
}

fn messages(
    chain: &OpenChain,
    refs: &[EventRef<'_>],
    users: &UserIds,
    state: impl Fn(&Event) -> (MessageState, u64),
) -> Result<Vec<Message>, StoreError> {
    refs.iter()
        .map(|event_ref| {
            let (state, confirmations) = state(event_ref.event);
            let described = chain.described(event_ref.kind_id)?;
            let users = users.about(event_ref.event);
            Ok(message(chain, described, event_ref.event, MessageStage { state, confirmations, users }))
        })
        .collect()
}

/// What a message adds to its event.
struct MessageStage {
    state: MessageState,
    /// Blocks above the event.
    confirmations: u64,
    /// The users of its parties, where there are any.
    users: EventUsers,
}

fn message(chain: &OpenChain, described: &Described, event: &Event, stage: MessageStage) -> Message {
    let MessageStage { state, confirmations, users } = stage;
    let aggregate_id = match described.layout.aggregate {
        Aggregate::User => event.fact.account.unwrap_or(event.address),
        _ => event.address,
    };
    Message {
        id: event_id(chain, event),
        seq: 0,
        version: VERSION,
        message_type: described.event_type.clone(),
        state,
        timestamp: timestamp(event.block_time),
        aggregate_type: described.layout.aggregate.as_str().to_owned(),
        aggregate_id,
        account: event.fact.account,
        payload: payload(described, event),
        metadata: metadata(chain, described, event, (confirmations, users)),
        replay: false,
    }
}

/// Arguments by their ABI names, and amounts once more in whole tokens where the decimals are known.
fn payload(described: &Described, event: &Event) -> Map<String, Value> {
    let fact = &event.fact;
    let args: Map<String, Value> =
        fact.args.as_deref().and_then(|args| serde_json::from_str(args).ok()).unwrap_or_default();
    let wallet = |wallet: Option<Address>| wallet.map(|wallet| Value::from(format!("{wallet:#x}")));
    let mut payload = Map::new();
    for column in described.layout.columns_of(&args) {
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
            (&column.column, described.decimals, fact.amount)
        {
            let formatted = amount_formatted(&amount.to_string(), decimals);
            payload.insert(format!("{}Formatted", column.argument), formatted.into());
        }
        payload.insert(column.argument.clone(), value.unwrap_or(Value::Null));
    }
    payload
}

pub(super) fn metadata(
    chain: &OpenChain,
    described: &Described,
    event: &Event,
    (confirmations, users): (u64, EventUsers),
) -> Metadata {
    Metadata {
        user_id: users.first,
        counterparty_user_id: users.second,
        correlation_id: event.tx_hash,
        causation_id: None,
        source: described.source.clone(),
        chain_id: chain.number(),
        block_number: event.place.block_number,
        block_hash: event.block_hash,
        transaction_hash: event.tx_hash,
        log_index: event.place.log_index,
        confirmations,
    }
}

pub(super) fn event_id(chain: &OpenChain, event: &Event) -> Uuid {
    EventId::new(chain.number(), event.block_hash, event.place).as_uuid()
}

/// Last second RFC 3339 can write: its years have four digits.
const LAST_SECOND: u64 = 253_402_300_799;

/// RFC 3339 in UTC, whole seconds: blocks have no finer time. A block that claims to be of a later year than 9999 is
/// put at its end; the true claim stands in `events.block_time`.
pub(super) fn timestamp(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND))).to_string()
}

/// Who may be a user: the account first.
fn parties(event: &Event) -> impl Iterator<Item = Address> {
    [event.fact.account, event.fact.counterparty].into_iter().flatten()
}
