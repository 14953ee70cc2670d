use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use uuid::Uuid;

use super::super::events::Stored;
use super::super::open::OpenChain;
use super::event::{EventRef, RemovedUsers};
use chainflume_core::domain::{Message, MessageState, Projection, USER_ACTIVATED, USER_UPDATED};
use chainflume_core::messages::{UserChange, UserState};
use chainflume_db::StoreError;
use chainflume_db::convert::{address, count};
use chainflume_db::transaction::Tx;
use chainflume_outbox::{Draft, drafts};

/// Wallets whose stake this step changes and publishes, and which of them were active before.
pub(super) struct Stakers {
    /// Wallet → positions of its first and its last event in the step.
    causes: BTreeMap<Address, (usize, usize)>,
    active: BTreeSet<Address>,
}

#[derive(sqlx::FromRow)]
struct UserRow {
    id: Uuid,
    wallet: Vec<u8>,
    stake_amount: String,
    staked_at: Option<i64>,
    status: String,
}

/// Reads the users before they change. The cause of a message is the last event about the wallet; the cause of an activation is
/// the first. A retraction of all its events ([`taken_back`]) finds the same cause and so the same id.
pub(super) async fn before(
    tx: &mut Tx,
    chain: &OpenChain,
    refs: &[EventRef<'_>],
) -> Result<Stakers, StoreError> {
    let mut causes = BTreeMap::new();
    for (index, event_ref) in refs.iter().enumerate() {
        let staker = event_ref.event.fact.account;
        if let (Projection::Stake, Some(staker)) = (chain.described(event_ref.kind_id)?.projection, staker) {
            causes.entry(staker).or_insert((index, index)).1 = index;
        }
    }
    let active = match causes.is_empty() {
        true => BTreeSet::new(),
        false => users(tx, causes.keys())
            .await?
            .into_iter()
            .filter_map(|(wallet, user)| user.is_active().then_some(wallet))
            .collect(),
    };
    Ok(Stakers { causes, active })
}

impl Stakers {
    /// One message for each changed user: `user.activated` at the first stake, `user.updated` later. Wallets without a user are left
    /// out.
    pub(super) async fn messages(
        &self,
        tx: &mut Tx,
        chain: &OpenChain,
        refs: &[EventRef<'_>],
    ) -> Result<Vec<Message>, StoreError> {
        if self.causes.is_empty() {
            return Ok(Vec::new());
        }
        let users = users(tx, self.causes.keys()).await?;
        let mut messages = Vec::new();
        for (wallet, (first, last)) in &self.causes {
            let Some(user) = users.get(wallet).filter(|user| user.is_active()) else { continue };
            let (message_type, cause) = match self.active.contains(wallet) {
                false => (USER_ACTIVATED, first),
                true => (USER_UPDATED, last),
            };
            let state = MessageState::Confirmed;
            let change =
                UserChange { wallet: *wallet, id: Some(user.id), user: Some(user), message_type, state };
            messages.push(change.message(&refs[*cause].subject(chain)?));
        }
        Ok(messages)
    }
}

/// A wallet whose stakes are taken back.
pub(in super::super) struct StakedWallet {
    pub(in super::super) wallet: Address,
    /// Block of the earliest of them.
    began: u64,
    /// The first and the last of its stakes that were published, if any was.
    causes: Option<(Stored, Stored)>,
}

impl StakedWallet {
    /// Begins with the earliest stake of the wallet.
    pub(in super::super) fn new(wallet: Address, earliest: &Stored) -> Self {
        Self { wallet, began: earliest.event.place.block_number, causes: None }
    }

    /// Adds the next stake of the wallet that was published.
    pub(in super::super) fn published(&mut self, stored: Stored) {
        match &mut self.causes {
            Some((_, last)) => *last = stored,
            None => self.causes = Some((stored.clone(), stored)),
        }
    }
}

/// A wallet after its stakes were taken back.
pub(in super::super) struct TakenBack {
    pub(in super::super) staked: StakedWallet,
    /// Whether it was an active user before.
    pub(in super::super) active: bool,
}

/// Which of these wallets are active users, in their order.
pub(in super::super) async fn are_active(
    tx: &mut Tx,
    wallets: &[StakedWallet],
) -> Result<Vec<bool>, StoreError> {
    let users = users(tx, wallets.iter().map(|staked| &staked.wallet)).await?;
    Ok(wallets.iter().map(|staked| users.get(&staked.wallet).is_some_and(UserState::is_active)).collect())
}

/// One message for each changed user. When the last stake of an active user is taken back, its activation is retracted; but if the
/// activation was not published, the message is an update. Wallets without a user are left out.
pub(in super::super) async fn taken_back(
    tx: &mut Tx,
    chain: &OpenChain,
    wallets: &[TakenBack],
    removed: &RemovedUsers,
) -> Result<Vec<Draft>, StoreError> {
    let users = users(tx, wallets.iter().map(|taken_back| &taken_back.staked.wallet)).await?;
    let removed = removed.ids(tx, wallets.iter().map(|taken_back| taken_back.staked.wallet)).await?;
    let mut messages = Vec::new();
    for TakenBack { staked, active } in wallets {
        let Some((first, last)) = &staked.causes else { continue };
        let wallet = staked.wallet;
        let known = users.get(&wallet);
        let id = known.map(|user| user.id).or_else(|| removed.get(&wallet).copied());
        let user = known.filter(|user| user.is_active());
        let (message_type, state, cause) = match (user, active) {
            (None, false) => continue,
            (None, true) if first.event.place.block_number <= staked.began => {
                (USER_ACTIVATED, MessageState::Retracted, first)
            }
            _ => (USER_UPDATED, MessageState::Confirmed, last),
        };
        let change = UserChange { wallet, id, user, message_type, state };
        messages.push(change.message(&EventRef::of(cause).subject(chain)?));
    }
    drafts(messages)
}

async fn users(
    tx: &mut Tx,
    wallets: impl Iterator<Item = &Address>,
) -> Result<BTreeMap<Address, UserState>, StoreError> {
    let wallets: Vec<&[u8]> = wallets.map(|wallet| wallet.as_slice()).collect();
    let rows: Vec<UserRow> = sqlx::query_as(
        r"
        select id, wallet, stake_amount::text, extract(epoch from staked_at)::bigint as staked_at, status
        from users where wallet = any($1)
        ",
    )
    .bind(wallets)
    .fetch_all(&mut **tx)
    .await?;
    let user = |row: UserRow| {
        let UserRow { id, wallet, stake_amount, staked_at, status } = row;
        let staked_at = staked_at.map(count);
        Ok((address(&wallet)?, UserState { id, stake_amount, staked_at, status }))
    };
    rows.into_iter().map(user).collect()
}
