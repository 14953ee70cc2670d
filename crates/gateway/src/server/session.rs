use std::collections::{BTreeSet, VecDeque};

use super::problem::Problem;
use super::query::MAX_ROOMS;
use crate::feed::{Arrival, Feed, Gap, Outlet, Page, Reason, Start, write_position};
use chainflume_access::Room;
use chainflume_outbox::Position;
use tokio_util::sync::CancellationToken;

/// The rooms of one connection, whatever it speaks, and what comes out of them in order.
pub(super) struct Session {
    feed: Feed,
    outlet: Outlet,
    joined: BTreeSet<Room>,
    resumes: VecDeque<Resume>,
    ready: VecDeque<Arrival>,
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
    pub fn new(feed: &Feed, cut: CancellationToken) -> Self {
        let outlet = feed.outlet(cut);
        let (joined, resumes, ready) = (BTreeSet::new(), VecDeque::new(), VecDeque::new());
        Self { feed: feed.clone(), outlet, joined, resumes, ready }
    }

    /// Joins rooms that the client may join, from now on or with what it missed since a position: all or none.
    pub async fn join(&mut self, rooms: Vec<Room>, since: Option<Position>) -> Result<Joined, Problem> {
        let new = rooms.iter().filter(|room| !self.joined.contains(room)).count();
        if self.joined.len() + new > MAX_ROOMS {
            return Err(Problem::new(
                400,
                "too_many_rooms",
                format!("a connection is in at most {MAX_ROOMS} rooms"),
            ));
        }
        let Some(since) = since else {
            let position = self.outlet.join(&rooms);
            self.joined.extend(rooms);
            return Ok(Joined { position, recovered: true });
        };
        let (after, gap) = match self.feed.start(since).await.map_err(|error| Problem::of_store(&error))? {
            Start::Ahead => {
                return Err(Problem::new(400, "position_ahead", "the position is ahead of every message"));
            }
            Start::After(position) => (position, None),
            // The number before the first that is kept may be of the epoch before.
            Start::Gap(gap) if gap.reason == Reason::Retention => {
                (Position { seq: gap.to.seq, epoch: None }, Some(gap))
            }
            Start::Gap(gap) => (gap.to.clone(), Some(gap)),
        };
        let joined = Joined { position: self.feed.newest(), recovered: gap.is_none() };
        self.ready.extend(gap.map(Arrival::Gap));
        // What is joined already would come twice, and out of order.
        self.outlet.leave(&rooms);
        self.resumes.retain(|resume| !resume.rooms.iter().any(|room| rooms.contains(room)));
        self.joined.extend(rooms.iter().cloned());
        self.resumes.push_back(Resume { rooms, page: Page::before(&self.feed, after) });
        Ok(joined)
    }

    /// Leaves rooms; those that were not joined are no error.
    pub fn leave(&mut self, rooms: &[Room]) {
        self.outlet.leave(rooms);
        self.joined.retain(|room| !rooms.contains(room));
        self.resumes.iter_mut().for_each(|resume| resume.rooms.retain(|room| !rooms.contains(room)));
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

    /// Reads one page of what the client missed.
    pub async fn resume(&mut self) -> Result<(), Problem> {
        let Some(mut resume) = self.resumes.pop_front() else { return Ok(()) };
        if self.feed.catch_up(&self.outlet, &resume.rooms, &resume.page) {
            return Ok(());
        }
        resume.page =
            self.feed.after(&resume.page, &resume.rooms).await.map_err(|error| Problem::of_store(&error))?;
        self.ready.extend(resume.page.gap.take().map(Arrival::Gap));
        self.ready.extend(resume.page.deliveries.drain(..).map(Arrival::Message));
        self.resumes.push_front(resume);
        Ok(())
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
            None => Some(write_position(&newest)),
        }
    }
}

/// `{"gap":…}`
pub(super) fn gap_frame(gap: &Gap) -> String {
    serde_json::json!({ "gap": gap.to_json() }).to_string()
}
