use std::sync::Arc;

use super::gap::{Gap, Reason};
use super::hub::{FeedPlace, Hot};
use super::line::Delivery;
use super::outlet::Outlet;
use super::{Feed, newest};
use crate::push::{Entry, keys};
use chainflume_api::access::Room;
use chainflume_db::StoreError;
use chainflume_ops::metrics;
use chainflume_outbox::{OutboxEpoch, OutboxRow, Position, RoomRead};

/// Where a client begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// After its own position.
    After(Position),
    /// After this gap.
    Gap(Gap),
    /// The position is ahead of every message: the client made it up, or another server is ahead.
    Ahead,
}

/// A page of messages after a position.
#[derive(Debug)]
pub struct Page {
    /// The messages of the rooms.
    pub deliveries: Vec<Delivery>,
    /// The messages before these that were deleted, if any.
    pub gap: Option<Gap>,
    /// Where the next page begins.
    pub next: FeedPlace,
}

impl Page {
    /// The page before the first, for a client that begins after `position`.
    pub fn before(feed: &Feed, position: Position) -> Self {
        Self::at(FeedPlace { position, ..feed.hub.now() })
    }

    /// The page before the first, for rooms that begin with the next message.
    pub fn now(feed: &Feed) -> Self {
        Self::at(feed.hub.now())
    }

    /// The page before the first, after the client of `outlet` left all its rooms. What waits there is everything before it.
    pub fn pausing(outlet: &Outlet) -> Self {
        Self::at(outlet.pause())
    }

    fn at(next: FeedPlace) -> Self {
        Self { deliveries: Vec::new(), gap: None, next }
    }

    /// Grows with the place where the next page begins. Within a history a number is one message, whatever epoch a client named with it.
    pub fn order(&self) -> (u64, u64) {
        (self.next.history, self.next.position.seq)
    }

    /// Leaves out what comes after the place where the page after `other` begins.
    pub fn end_at(&mut self, other: &Self) {
        let (own, upto) = (&self.next, &other.next);
        if own.history != upto.history || own.position.seq <= upto.position.seq {
            return;
        }
        self.deliveries.retain(|delivery| delivery.entry.seq <= upto.position.seq);
        if let Some(gap) = self.gap.as_mut().filter(|gap| gap.to.seq > upto.position.seq) {
            gap.to = upto.position.clone();
        }
        self.next = upto.clone();
    }
}

/// What the database has after a position.
struct Cold {
    rows: Vec<OutboxRow>,
    gap: Option<Gap>,
    next: Position,
}

impl Feed {
    /// Where a client begins that had everything up to `since`.
    ///
    /// # Errors
    /// The error of the database.
    pub async fn start(&self, since: Position) -> Result<Start, StoreError> {
        if self.hub.knows(&since) {
            return Ok(Start::After(since));
        }
        let now = self.hub.newest();
        let _reader = self.readers.acquire().await;
        let Some(rows) = self.outbox.read_after(since.clone(), 1).await? else {
            let is_ahead = since.seq > now.seq && since.epoch == now.epoch;
            return Ok(if is_ahead {
                Start::Ahead
            } else {
                Start::Gap(Gap { from: since, to: now, reason: Reason::Epoch })
            });
        };
        let first = rows.first().map(|first| (first.seq, &first.epoch));
        Ok(match self.missing(&since, first) {
            Some(gap) => Start::Gap(gap),
            None => Start::After(since),
        })
    }

    /// The message at a position; `None` where there is none any more, or the position is of another history.
    ///
    /// # Errors
    /// The error of the database.
    pub async fn message_at(&self, position: &Position) -> Result<Option<Arc<Entry>>, StoreError> {
        if let Some(entry) = self.hub.message_at(position) {
            return Ok(Some(entry));
        }
        let Some(before) = position.seq.checked_sub(1) else { return Ok(None) };
        let _reader = self.readers.acquire().await;
        let rows =
            self.outbox.read_after(Position { seq: before, epoch: None }, 1).await?.unwrap_or_default();
        let is_it = |row: &OutboxRow| {
            row.seq == position.seq && position.epoch.as_ref().is_none_or(|epoch| *epoch == row.epoch.epoch)
        };
        Ok(self.entries(rows.into_iter().filter(is_it).collect(), None).await?.pop())
    }

    /// What follows `page` in these rooms. Where the outbox finds their messages by what they name, all others are left out; else the
    /// next messages are looked through, of which few may be theirs.
    ///
    /// # Errors
    /// The error of the database.
    pub async fn after(&self, page: &Page, wanted: &[Room]) -> Result<Page, StoreError> {
        let (from, history) = (&page.next.position, page.next.history);
        let rooms = |entry: &Entry| entry.rooms_where(|room| wanted.contains(room));
        match self.hub.after(&page.next, rooms) {
            Hot::Page(deliveries, position) => {
                metrics::push_resumed("memory", deliveries.len());
                return Ok(Page { deliveries, gap: None, next: FeedPlace { position, history } });
            }
            Hot::Elsewhere(reason) => return Ok(self.elsewhere(from, reason)),
            Hot::Cold => {}
        }
        let Some(Cold { rows, gap, next }) = self.cold(from, wanted).await? else {
            return Ok(self.elsewhere(from, Reason::Epoch));
        };
        let entries = self.entries(rows, Some(wanted)).await?;
        let mut deliveries: Vec<Delivery> = entries
            .into_iter()
            .map(|entry| Delivery { rooms: rooms(&entry), entry, is_live: false, share: None })
            .filter(|delivery| !delivery.rooms.is_empty())
            .collect();
        let share = self.resuming.share(deliveries.iter().map(Delivery::bytes).sum());
        deliveries.iter_mut().for_each(|delivery| delivery.share = Some(share.clone()));
        metrics::push_resumed("store", deliveries.len());
        Ok(Page { deliveries, gap, next: FeedPlace { position: next, history } })
    }

    /// The next messages from the database, among them all of the rooms; `None` where `from` is of another history.
    async fn cold(&self, from: &Position, wanted: &[Room]) -> Result<Option<Cold>, StoreError> {
        let _reader = self.readers.acquire().await;
        let size = self.resuming.next_page();
        if let Some(mut keys) = keys(wanted, &self.settings.rules) {
            keys.extend(self.person_keys(wanted).await?);
            match self.outbox.read_rooms_after(from, &keys, size).await? {
                RoomRead::Elsewhere => return Ok(None),
                RoomRead::Page(page) => {
                    let first = page.first.as_ref().map(|(seq, epoch)| (*seq, epoch));
                    let gap = self.missing(from, first);
                    return Ok(Some(Cold { rows: page.rows, gap, next: page.next }));
                }
                RoomRead::Unindexed => {}
            }
        }
        let Some(rows) = self.outbox.read_after(from.clone(), size).await? else { return Ok(None) };
        let gap = self.missing(from, rows.first().map(|first| (first.seq, &first.epoch)));
        let next = match (rows.last(), &gap) {
            (Some(last), _) => Position { seq: last.seq, epoch: Some(last.epoch.epoch.clone()) },
            (None, Some(gap)) => gap.to.clone(),
            (None, None) => from.clone(),
        };
        Ok(Some(Cold { rows, gap, next }))
    }

    /// Whether the messages sent by this process are older than `page`.
    pub fn is_behind(&self, page: &Page) -> bool {
        let (now, next) = (self.hub.now(), &page.next);
        now.history == next.history && now.position.seq < next.position.seq
    }

    /// Puts the client of `outlet` into the rooms, if it has everything up to the newest message with `page`.
    pub fn catch_up(&self, outlet: &Outlet, rooms: &[Room], page: &Page) -> bool {
        outlet.join_at(rooms, &page.next)
    }

    fn elsewhere(&self, from: &Position, reason: Reason) -> Page {
        let now = self.hub.now();
        let gap = Gap { from: from.clone(), to: now.position.clone(), reason };
        Page { gap: Some(gap), ..Page::at(now) }
    }

    /// What is trimmed between `from` and the first message that is kept after it.
    fn missing(&self, from: &Position, first: Option<(u64, &OutboxEpoch)>) -> Option<Gap> {
        let to = match first {
            Some((seq, epoch)) if epoch.missed(seq, from.seq) == 0 => return None,
            // The number before it belongs to the same epoch, or to one before that ended there.
            Some((seq, epoch)) => Position { seq: seq - 1, epoch: Some(epoch.epoch.clone()) },
            None => Some(self.hub.newest()).filter(|newest| newest.seq > from.seq)?,
        };
        Some(Gap { from: from.clone(), to, reason: Reason::Retention })
    }
}

impl Feed {
    /// The newest message of the database, after its history changed.
    pub(super) async fn begin_again(&self, reason: Reason) -> Result<(), StoreError> {
        self.hub.reset(newest(&self.outbox).await?, reason);
        Ok(())
    }
}
