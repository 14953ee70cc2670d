//! Undoes events that were moved to `orphaned_events`: reverses what they changed, and retracts what was published of them. Both work
//! in pages, so a page bounds the memory, not the number of events. All of it is in the one transaction of the caller.
//!
//! The order of the steps follows their needs. Projections come first, users after all stakes. Messages come last: all of them are
//! written without their numbers, and then the head of the outbox is locked until the commit. From then on every other writer with
//! messages waits.

use chainflume_core::domain::Place;

use super::events::{self, OrphanedStakes, Stored};
use super::messages::{self, EventRef, PublishedEvents, RemovedUsers, StakedWallet, TakenBack};
use super::open::OpenChain;
use super::projections;
use chainflume_db::StoreError;
use chainflume_db::transaction::Tx;
use chainflume_outbox::Unnumbered;

/// Events whose changes are undone at once. They are streamed, so the memory is that of their keys: some 10 MB at most. A wallet that
/// several pages change is written as often, so a common reorg is one page. Small in tests, so that every test has several pages.
const FOLDED: u32 = if cfg!(test) { 3 } else { 32_000 };

/// Events that are retracted at once. They are in memory with their messages: some megabytes. Small in tests too.
const RETRACTED: u32 = if cfg!(test) { 3 } else { 4_000 };

/// Messages that stay in memory: a common reorg is not written to a temporary table first, which doubles what its messages cost. Small in
/// tests, so that messages of several pages are written there.
const MESSAGES_BYTES: usize = if cfg!(test) { 4_000 } else { 16 << 20 };

/// Wallets of one page.
const WALLETS: usize = if cfg!(test) { 2 } else { 1_000 };

/// The undo of the events of one record of `reorgs`.
pub(super) struct Undo<'a> {
    chain: &'a OpenChain,
    record: i64,
    published: PublishedEvents,
    /// For each wallet whose stakes are taken back, in the order of [`Wallets`]: whether it was an active user before.
    active: Vec<bool>,
    /// Wallets that are no users any more.
    removed: RemovedUsers,
}

impl<'a> Undo<'a> {
    /// Undoes what the events of a record changed. [`Self::retract`] publishes it later.
    ///
    /// First reads which events were published: a rewind changes what decides this.
    pub(super) async fn begin(tx: &mut Tx, chain: &'a OpenChain, record: i64) -> Result<Self, StoreError> {
        let published = PublishedEvents::of(tx, chain).await?;
        let mut undo =
            Self { chain, record, published, active: Vec::new(), removed: RemovedUsers::default() };
        let (mut stakes, mut after) = (false, None);
        loop {
            let (folded, last) = events::fold_orphaned(tx, record, after, FOLDED).await?;
            projections::undo(tx, chain, &folded).await?;
            stakes |= !folded.stakes.is_empty();
            if last.is_none() {
                break;
            }
            after = last;
        }
        if stakes {
            undo.users(tx).await?;
        }
        Ok(undo)
    }

    /// Records which users are active, on which their messages depend, and then rolls the users up again.
    async fn users(&mut self, tx: &mut Tx) -> Result<(), StoreError> {
        let mut wallets = Wallets::open(tx, self.record).await?;
        while let Some(page) = wallets.next(tx, (self.chain, &self.published)).await? {
            self.active.extend(messages::are_active(tx, &page).await?);
            let addresses: Vec<&[u8]> = page.iter().map(|staked| staked.wallet.as_slice()).collect();
            self.removed.extend(projections::undo_users(tx, &addresses).await?);
        }
        wallets.stakes.close(tx).await
    }

    /// Publishes the retractions of the events and of `gone`, which were pending and are in chain order: all of them the newest
    /// first, then the changes of users. Must come last in the transaction.
    pub(super) async fn retract(self, tx: &mut Tx, gone: &[Stored]) -> Result<(), StoreError> {
        let mut messages = Unnumbered::new(self.chain.id, MESSAGES_BYTES);
        let (mut gone, mut below) = (gone, None);
        loop {
            let (page, last) = match self.published.lowest() {
                Some(lowest) => events::orphaned_page(tx, (self.record, lowest), below, RETRACTED).await?,
                None => (Vec::new(), None),
            };
            let mut taken_back: Vec<EventRef<'_>> =
                newest(&mut gone, last).iter().map(EventRef::pending).collect();
            for stored in &page {
                if self.published.has(self.chain, stored)? {
                    taken_back.push(EventRef::of(stored));
                }
            }
            taken_back.sort_by_key(|event_ref| event_ref.event.place);
            let retractions = messages::retractions(tx, self.chain, &taken_back, &self.removed).await?;
            messages.push(tx, retractions).await?;
            if last.is_none() {
                break;
            }
            below = last;
        }
        if !self.active.is_empty() {
            self.publish_users(tx, &mut messages).await?;
        }
        messages.append(tx).await
    }

    /// Adds the messages about changed users.
    async fn publish_users(self, tx: &mut Tx, messages: &mut Unnumbered) -> Result<(), StoreError> {
        let mut wallets = Wallets::open(tx, self.record).await?;
        let mut active = self.active.into_iter();
        while let Some(page) = wallets.next(tx, (self.chain, &self.published)).await? {
            let page: Vec<TakenBack> = page
                .into_iter()
                .zip(&mut active)
                .map(|(staked, active)| TakenBack { staked, active })
                .collect();
            let taken_back = messages::taken_back(tx, self.chain, &page, &self.removed).await?;
            messages.push(tx, taken_back).await?;
        }
        wallets.stakes.close(tx).await
    }
}

/// Splits the events after `last` off `gone`, which is in chain order; all of them without `last`.
fn newest<'a>(gone: &mut &'a [Stored], last: Option<Place>) -> &'a [Stored] {
    let kept = last.map_or(0, |last| gone.partition_point(|stored| stored.event.place < last));
    let (others, newest) = gone.split_at(kept);
    *gone = others;
    newest
}

/// The wallets of a record's stakes, in pages and always in the same order.
struct Wallets {
    stakes: OrphanedStakes,
    /// The last wallet that was read: more of its stakes may follow.
    last: Option<StakedWallet>,
    ended: bool,
}

impl Wallets {
    async fn open(tx: &mut Tx, record: i64) -> Result<Self, StoreError> {
        Ok(Self { stakes: OrphanedStakes::open(tx, record).await?, last: None, ended: false })
    }

    /// The next page, `None` at the end.
    async fn next(
        &mut self,
        tx: &mut Tx,
        (chain, published): (&OpenChain, &PublishedEvents),
    ) -> Result<Option<Vec<StakedWallet>>, StoreError> {
        let mut page = Vec::new();
        while !self.ended && page.len() < WALLETS {
            let rows = self.stakes.next(tx).await?;
            self.ended = rows.is_empty();
            for stored in rows {
                let Some(wallet) = stored.event.fact.account else { continue };
                if self.last.as_ref().is_none_or(|last| last.wallet != wallet) {
                    page.extend(self.last.replace(StakedWallet::new(wallet, &stored)));
                }
                let is_published = published.has(chain, &stored)?;
                if let Some(last) = self.last.as_mut().filter(|_| is_published) {
                    last.published(stored);
                }
            }
        }
        if self.ended {
            page.extend(self.last.take());
        }
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}
