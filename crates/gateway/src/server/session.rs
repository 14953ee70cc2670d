use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::problem::HttpProblem;
use super::query::MAX_ROOMS;
use crate::feed::{Arrival, DirectSink, Feed, Gap, Outlet, Page, Reason, Start};
use chainflume_api::access::Room;
use chainflume_outbox::Position;
use tokio_util::sync::CancellationToken;

/// How often a server that is behind its client looks whether it is still.
const BEHIND: Duration = Duration::from_millis(5);

/// The rooms of one connection, whatever it speaks, and what comes out of them in order.
///
/// While the past of any room is read, no room is live: all are read, the one that is furthest behind first, and those that meet at a
/// position go on together. So after each join the messages of all rooms come in one order. Whenever the connection breaks, the last
/// position that the client got is true of all rooms.
pub(super) struct Session {
    feed: Feed,
    outlet: Outlet,
    known: Known,
    joined: BTreeSet<Room>,
    /// All rooms that are joined, or none.
    resumes: Vec<Resume>,
    ready: VecDeque<Arrival>,
}

/// What a client has of the message at the position that it resumes from. A position names a message, and a message that is in several
/// rooms of a client is several frames: a connection that broke between two of them has the client come back with the position of the
/// first, and without the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// All frames: the protocol has the position on the last of them.
    Whole,
    /// Perhaps one frame of several, one for each room.
    ByRoom,
    /// Perhaps one packet of several, one for each event. Rooms are joined one by one, so any room may have another event of it.
    ByEvent,
}

/// Rooms whose past is read up to now, before they are joined.
struct Resume {
    rooms: Vec<Room>,
    page: Page,
}

/// The answer to a join.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Joined {
    /// The newest message when the rooms were joined.
    pub position: Position,
    /// Whether everything after the client's position will come.
    pub recovered: bool,
}

impl Session {
    /// In no room. `cut` is cancelled when the client is too slow.
    pub fn new(feed: &Feed, known: Known, cut: CancellationToken) -> Self {
        let outlet = feed.outlet(cut);
        let (joined, resumes, ready) = (BTreeSet::new(), Vec::new(), VecDeque::new());
        Self { feed: feed.clone(), outlet, known, joined, resumes, ready }
    }

    /// Joins rooms that the client may join, from now on or with what it missed since a position: all or none.
    pub async fn join(&mut self, rooms: Vec<Room>, since: Option<Position>) -> Result<Joined, HttpProblem> {
        let new = rooms.iter().filter(|room| !self.joined.contains(room)).count();
        if self.joined.len() + new > MAX_ROOMS {
            return Err(HttpProblem::new(
                400,
                "too_many_rooms",
                format!("a connection is in at most {MAX_ROOMS} rooms"),
            ));
        }
        let Some(since) = since else {
            return Ok(Joined { position: self.join_now(rooms), recovered: true });
        };
        let (after, gap) =
            match self.feed.start(since).await.map_err(|error| HttpProblem::of_store(&error))? {
                Start::Ahead => {
                    return Err(HttpProblem::new(
                        400,
                        "position_ahead",
                        "the position is ahead of every message",
                    ));
                }
                Start::After(position) => self.repeated(position, &rooms).await?,
                // The number before the first that is kept may be of the epoch before.
                Start::Gap(gap) if gap.reason == Reason::Retention => {
                    (Position { seq: gap.to.seq, epoch: None }, Some(gap))
                }
                Start::Gap(gap) => (gap.to.clone(), Some(gap)),
            };
        // What is joined already would come twice, and out of order.
        self.leave(&rooms);
        self.pause();
        // After the pause: what comes after this position follows the past of all rooms.
        let joined = Joined { position: self.feed.newest(), recovered: gap.is_none() };
        self.ready.extend(gap.map(Arrival::Gap));
        self.joined.extend(rooms.iter().cloned());
        self.resumes.push(Resume { rooms, page: Page::before(&self.feed, after) });
        Ok(joined)
    }

    /// Joins rooms from the newest message on, which is returned; those that are joined go on as they are.
    fn join_now(&mut self, rooms: Vec<Room>) -> Position {
        let new: Vec<Room> = rooms.into_iter().filter(|room| !self.joined.contains(room)).collect();
        if self.resumes.is_empty() || new.is_empty() {
            self.joined.extend(new.iter().cloned());
            return self.outlet.join(&new);
        }
        self.joined.extend(new.iter().cloned());
        let page = Page::now(&self.feed);
        let position = page.next.position.clone();
        self.resumes.push(Resume { rooms: new, page });
        position
    }

    /// Has the live rooms wait until what is older was read. What was handed out to them comes first.
    fn pause(&mut self) {
        if !self.resumes.is_empty() || self.joined.is_empty() {
            return;
        }
        let page = Page::pausing(&self.outlet);
        self.take_waiting();
        self.resumes.push(Resume { rooms: self.joined.iter().cloned().collect(), page });
    }

    fn take_waiting(&mut self) {
        while let Some(arrival) = self.outlet.try_next() {
            let is_over = matches!(arrival, Arrival::TooSlow);
            self.ready.push_back(arrival);
            if is_over {
                break;
            }
        }
    }

    /// Leaves out what waits in these rooms.
    fn withhold(&mut self, rooms: &[Room]) {
        self.take_waiting();
        self.ready.retain_mut(|arrival| {
            let Arrival::Message(delivery) = arrival else { return true };
            let there = delivery.entry.rooms_where(|room| rooms.contains(room));
            delivery.rooms.retain(|index| !there.contains(index));
            !delivery.rooms.is_empty()
        });
    }

    /// Where to begin for a client that comes back with this position to join these rooms: before the message itself where it may have
    /// a part of it only. The client drops what it had, by position, room and event. Where the message is deleted, the part is a gap.
    async fn repeated(
        &self,
        since: Position,
        rooms: &[Room],
    ) -> Result<(Position, Option<Gap>), HttpProblem> {
        let is_single = self.known == Known::ByRoom && self.joined.is_empty() && rooms.len() == 1;
        if self.known == Known::Whole || is_single || since.seq == 0 {
            return Ok((since, None));
        }
        let entry = self.feed.message_at(&since).await.map_err(|error| HttpProblem::of_store(&error))?;
        let Some(entry) = entry else {
            let from = Position { seq: since.seq - 1, epoch: since.epoch.clone() };
            let gap = Gap { from, to: since.clone(), reason: Reason::Retention };
            return Ok((since, Some(gap)));
        };
        let is_split = match self.known {
            Known::Whole => false,
            Known::ByRoom => {
                let is_wanted = |room: &Room| rooms.contains(room) || self.joined.contains(room);
                entry.rooms_where(is_wanted).len() > 1
            }
            Known::ByEvent => entry.has_several_events(),
        };
        // The position before it may be of the epoch before, so it names none.
        let before = Position { seq: since.seq - 1, epoch: None };
        Ok((if is_split { before } else { since }, None))
    }

    /// Leaves rooms; those that were not joined are no error. Nothing of them comes after this, also of a page that was read.
    pub fn leave(&mut self, rooms: &[Room]) {
        self.outlet.leave(rooms);
        self.withhold(rooms);
        self.joined.retain(|room| !rooms.contains(room));
        self.resumes.retain_mut(|resume| {
            resume.rooms.retain(|room| !rooms.contains(room));
            !resume.rooms.is_empty()
        });
    }

    /// Has live messages written by `sink` while [`Self::live`] waits.
    pub fn write_by(&self, sink: Box<dyn DirectSink>) {
        self.outlet.write_by(sink);
    }

    /// The rooms that are joined.
    pub fn rooms(&self) -> impl Iterator<Item = &Room> {
        self.joined.iter()
    }

    /// What can be handed out without waiting.
    pub fn ready(&mut self) -> Option<Arrival> {
        self.ready.pop_front().or_else(|| self.outlet.try_next())
    }

    /// Whether the past of a room is still to be read: [`Self::resume`] is to be called then.
    pub fn is_resuming(&self) -> bool {
        !self.resumes.is_empty()
    }

    /// Reads one page of what the client missed: of the rooms that are furthest behind, up to where the next of the others go on.
    pub async fn resume(&mut self) -> Result<(), HttpProblem> {
        let is_behind = |resume: &Resume| self.feed.is_behind(&resume.page);
        if self.resumes.iter().any(is_behind) {
            // Another server of the database was ahead of this one: what the client has would come again, out of order.
            tokio::time::sleep(BEHIND).await;
            return Ok(());
        }
        self.merge();
        let Some(Resume { rooms, page }) = self.resumes.first() else { return Ok(()) };
        if self.resumes.len() == 1 && self.feed.catch_up(&self.outlet, rooms, page) {
            self.resumes.clear();
            return Ok(());
        }
        let mut read = self.feed.after(page, rooms).await.map_err(|error| HttpProblem::of_store(&error))?;
        self.resumes.iter().skip(1).for_each(|other| read.end_at(&other.page));
        self.ready.extend(read.gap.take().map(Arrival::Gap));
        self.ready.extend(read.deliveries.drain(..).map(Arrival::Message));
        if let Some(hindmost) = self.resumes.first_mut() {
            hindmost.page = read;
        }
        Ok(())
    }

    /// Puts the rooms that are furthest behind first. Those at the same position are read together from there on, in one order.
    fn merge(&mut self) {
        self.resumes.sort_by_key(|resume| resume.page.order());
        self.resumes.dedup_by(|next, before| {
            let is_same = next.page.order() == before.page.order();
            if is_same {
                before.rooms.append(&mut next.rooms);
            }
            is_same
        });
    }

    /// The next message that is committed from now on. A call that is dropped takes nothing.
    pub async fn live(&self) -> Arrival {
        self.outlet.next().await
    }

    /// A position up to which the client surely has everything, while nothing is ready and nothing resumed.
    pub fn settled(&mut self) -> Option<String> {
        // Messages are in the line before they are the newest, so the order of these two matters.
        let newest = self.feed.newest();
        if self.is_resuming() || !self.ready.is_empty() {
            return None;
        }
        match self.outlet.try_next() {
            Some(arrival) => {
                self.ready.push_back(arrival);
                None
            }
            None => Some(newest.to_string()),
        }
    }
}

/// `{"gap":…}`
pub(super) fn gap_frame(gap: &Gap) -> String {
    serde_json::json!({ "gap": gap.to_json() }).to_string()
}

#[cfg(test)]
mod tests;
