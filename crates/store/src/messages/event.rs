//! Looks up what the messages about events contain.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use uuid::Uuid;

use super::super::events::Stored;
use super::super::open::OpenChain;
use chainflume_core::domain::{Event, Message, MessageState};
use chainflume_core::messages::{EventUsers, MessageStage, MessageSubject, parties};
use chainflume_db::StoreError;
use chainflume_db::convert::address;
use chainflume_db::transaction::Tx;

/// An event that a message is about, with the id of its kind.
#[derive(Clone, Copy)]
pub(in super::super) struct EventRef<'a> {
    pub(in super::super) kind_id: i32,
    pub(in super::super) event: &'a Event,
    /// Whether it was published as pending and never confirmed.
    pub(in super::super) is_pending: bool,
}

impl<'a> EventRef<'a> {
    pub(in super::super) fn of(stored: &'a Stored) -> Self {
        Self { kind_id: stored.kind_id, event: &stored.event, is_pending: false }
    }

    pub(in super::super) fn pending(stored: &'a Stored) -> Self {
        Self { is_pending: true, ..Self::of(stored) }
    }

    pub(super) fn subject(&self, chain: &'a OpenChain) -> Result<MessageSubject<'a>, StoreError> {
        let kind = chain.described(self.kind_id)?;
        Ok(MessageSubject { chain_id: chain.number(), kind, event: self.event })
    }
}

/// Wallets whose rows in `users` this transaction deletes. What it retracts was published with their ids.
#[derive(Default)]
pub(in super::super) struct RemovedUsers(BTreeSet<Address>);

impl RemovedUsers {
    pub(in super::super) fn extend(&mut self, wallets: Vec<Address>) {
        self.0.extend(wallets);
    }

    /// The ids that those of these wallets had.
    pub(super) async fn ids(
        &self,
        tx: &mut Tx,
        wallets: impl Iterator<Item = Address>,
    ) -> Result<BTreeMap<Address, Uuid>, StoreError> {
        let removed: BTreeSet<Address> = wallets.filter(|wallet| self.0.contains(wallet)).collect();
        if removed.is_empty() {
            return Ok(BTreeMap::new());
        }
        let rows: Vec<(Vec<u8>, Uuid)> = sqlx::query_as(
            r"
            select r.wallet, coalesce(kept.id, user_id(r.wallet)) from unnest($1::bytea[]) as r (wallet)
            left join user_ids kept on kept.wallet = r.wallet
            ",
        )
        .bind(removed.iter().map(|wallet| wallet.as_slice()).collect::<Vec<_>>())
        .fetch_all(&mut **tx)
        .await?;
        rows.into_iter().map(|(wallet, id)| Ok((address(&wallet)?, id))).collect()
    }
}

/// The users among the wallets that events are about.
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

    fn among(&self, event: &Event) -> EventUsers {
        EventUsers::of(event, |wallet| self.0.get(wallet).copied())
    }
}

/// Messages that these events are pending, in the order of the events. `head` is the height of the chain's head.
pub(super) fn pending(
    chain: &OpenChain,
    refs: &[EventRef<'_>],
    users: &UserIds,
    head: u64,
) -> Result<Vec<Message>, StoreError> {
    messages(chain, refs, users, |event| (MessageState::Pending, below(head, event)))
}

/// Messages that these events are confirmed, in the order of the events. `head` is the height of the chain's head.
pub(super) fn confirmed(
    chain: &OpenChain,
    refs: &[EventRef<'_>],
    users: &UserIds,
    head: u64,
) -> Result<Vec<Message>, StoreError> {
    messages(chain, refs, users, |event| (MessageState::Confirmed, below(head, event)))
}

/// Messages that retract these events, the newest first.
pub(super) async fn retracted(
    tx: &mut Tx,
    chain: &OpenChain,
    refs: &[EventRef<'_>],
    removed: &RemovedUsers,
) -> Result<Vec<Message>, StoreError> {
    let mut users = UserIds::of(tx, refs).await?;
    users.0.extend(removed.ids(tx, refs.iter().flat_map(|event_ref| parties(event_ref.event))).await?);
    let mut messages = messages(chain, refs, &users, |_| (MessageState::Retracted, 0))?;
    for (message, event_ref) in messages.iter_mut().zip(refs) {
        message.retracts = event_ref.is_pending.then_some(MessageState::Pending);
    }
    messages.reverse();
    Ok(messages)
}

/// Number of blocks above the block of the event: 0 at the head.
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
            let users = users.among(event_ref.event);
            Ok(event_ref.subject(chain)?.message(MessageStage { state, confirmations, users }))
        })
        .collect()
}
