use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::gap::{Gap, Reason};
use super::line::{Delivery, Line};
use crate::push::Entry;
use chainflume_api::access::Room;
use chainflume_ops::metrics;
use chainflume_outbox::Position;

/// A place between two messages of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedPlace {
    /// The position of the message before it.
    pub position: Position,
    /// Number of changes of the history before this place. A place from before a change is void after it.
    pub(super) history: u64,
}

/// The clients of each room, and the newest messages. One lock guards joining and publishing, so a client that joins at a position gets
/// every message after it.
pub(super) struct Hub(Mutex<State>);

struct State {
    newest: Position,
    /// Number of changes of the history.
    history: u64,
    /// Why the last history ended.
    ended: Reason,
    /// The newest messages, in order.
    hot: VecDeque<Arc<Entry>>,
    /// The number before the first message in `hot`.
    floor: u64,
    hot_bytes: usize,
    max_hot_bytes: usize,
    rooms: HashMap<Room, HashMap<usize, Arc<Line>>>,
    /// The rooms of each line.
    lines: HashMap<usize, (Arc<Line>, Vec<Room>)>,
}

/// The messages in memory after a position.
pub(super) enum Hot {
    /// The messages of the rooms, and the position of the next page.
    Page(Vec<Delivery>, Position),
    /// The position is older than the messages in memory.
    Cold,
    /// The position is of another history, which ended for this reason.
    Elsewhere(Reason),
}

/// Maximum number of messages that one read scans: it holds the lock that every client needs.
const LOOK: usize = 2_000;

/// The number of a line while it exists.
fn key(line: &Arc<Line>) -> usize {
    Arc::as_ptr(line).addr()
}

impl Hub {
    pub fn new(newest: Position, max_hot_bytes: usize) -> Self {
        let floor = newest.seq;
        Self(Mutex::new(State {
            newest,
            history: 0,
            ended: Reason::Epoch,
            hot: VecDeque::new(),
            floor,
            hot_bytes: 0,
            max_hot_bytes,
            rooms: HashMap::new(),
            lines: HashMap::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn newest(&self) -> Position {
        self.state().newest.clone()
    }

    /// The place after the newest message.
    pub fn now(&self) -> FeedPlace {
        self.state().end()
    }

    pub fn join(&self, line: &Arc<Line>, rooms: &[Room]) -> Position {
        let mut state = self.state();
        state.join(line, rooms);
        state.newest.clone()
    }

    /// Joins the rooms, if no message comes after `place`. Returns whether that is so.
    pub fn join_at(&self, line: &Arc<Line>, rooms: &[Room], place: &FeedPlace) -> bool {
        let mut state = self.state();
        let is_newest = state.history == place.history && state.newest.seq <= place.position.seq;
        if is_newest {
            state.join(line, rooms);
        }
        is_newest
    }

    pub fn leave(&self, line: &Arc<Line>, rooms: &[Room]) {
        let mut state = self.state();
        let key = key(line);
        rooms.iter().for_each(|room| state.leave(key, room));
        let is_in_none = state.lines.get_mut(&key).is_some_and(|(_, joined)| {
            joined.retain(|room| !rooms.contains(room));
            joined.is_empty()
        });
        if is_in_none {
            state.lines.remove(&key);
        }
        metrics::push_rooms(state.rooms.len());
    }

    /// Takes a line out of all its rooms. It has everything up to the place that is returned.
    pub fn pause(&self, line: &Arc<Line>) -> FeedPlace {
        let mut state = self.state();
        state.forget(key(line));
        state.end()
    }

    pub fn forget(&self, line: &Arc<Line>) {
        self.state().forget(key(line));
    }

    /// Adds messages that follow the newest, in order, to the lines of their rooms. These lines are to be flushed.
    #[must_use]
    pub fn publish(&self, entries: impl IntoIterator<Item = Arc<Entry>>) -> Vec<Arc<Line>> {
        let (mut state, mut reached) = (self.state(), Vec::new());
        for entry in entries {
            state.hand_out(&entry, &mut reached);
            state.newest = Position { seq: entry.seq, epoch: Some(entry.epoch.clone()) };
            state.hot_bytes += entry.bytes();
            state.hot.push_back(entry);
        }
        while state.hot_bytes > state.max_hot_bytes {
            let Some(oldest) = state.hot.pop_front() else { break };
            state.hot_bytes -= oldest.bytes();
            state.floor = oldest.seq;
        }
        reached
    }

    /// Continues after `to`, of the same history: the messages before are deleted, and every client gets a gap. A client that resumes
    /// meets the gap where it reads.
    pub fn skip(&self, to: Position) {
        let mut state = self.state();
        let gap = Gap { from: state.newest.clone(), to: to.clone(), reason: Reason::Retention };
        state.lines.values().for_each(|(line, _)| line.push_gap(gap.clone()));
        state.hot.clear();
        (state.hot_bytes, state.floor, state.newest) = (0, to.seq, to);
    }

    /// Continues after `newest`, where the messages before it are not known; every client gets a gap.
    pub fn reset(&self, newest: Position, reason: Reason) {
        let mut state = self.state();
        let gap = Gap { from: state.newest.clone(), to: newest.clone(), reason };
        state.lines.values().for_each(|(line, _)| line.push_gap(gap.clone()));
        state.hot.clear();
        (state.hot_bytes, state.floor, state.newest) = (0, newest.seq, newest);
        (state.history, state.ended) = (state.history + 1, reason);
    }

    /// What is in memory after `place`, of messages for which `wanted` gives rooms.
    pub fn after(&self, place: &FeedPlace, wanted: impl Fn(&Entry) -> Vec<usize>) -> Hot {
        let (state, position) = (self.state(), &place.position);
        if state.history != place.history {
            return Hot::Elsewhere(state.ended);
        }
        if position.seq < state.floor {
            return Hot::Cold;
        }
        let start = state.hot.partition_point(|entry| entry.seq <= position.seq);
        let (mut found, mut next) = (Vec::new(), position.clone());
        for entry in state.hot.range(start..).take(LOOK) {
            let rooms = wanted(entry);
            if !rooms.is_empty() {
                found.push(Delivery { entry: entry.clone(), rooms, is_live: false, share: None });
            }
            next = Position { seq: entry.seq, epoch: Some(entry.epoch.clone()) };
        }
        Hot::Page(found, next)
    }

    /// Whether `position` is known to be of this history: the newest, or a message in memory.
    pub fn knows(&self, position: &Position) -> bool {
        let state = self.state();
        *position == state.newest || state.message_at(position).is_some()
    }

    /// The message at a position, where it is in memory.
    pub fn message_at(&self, position: &Position) -> Option<Arc<Entry>> {
        self.state().message_at(position).cloned()
    }
}

impl State {
    fn end(&self) -> FeedPlace {
        FeedPlace { position: self.newest.clone(), history: self.history }
    }

    fn join(&mut self, line: &Arc<Line>, rooms: &[Room]) {
        let key = key(line);
        for room in rooms {
            self.rooms.entry(room.clone()).or_default().insert(key, line.clone());
        }
        let (_, joined) = self.lines.entry(key).or_insert_with(|| (line.clone(), Vec::new()));
        joined.extend(rooms.iter().filter(|room| !joined.contains(room)).cloned().collect::<Vec<_>>());
        metrics::push_rooms(self.rooms.len());
    }

    fn forget(&mut self, key: usize) {
        let joined = self.lines.remove(&key).map(|(_, joined)| joined).unwrap_or_default();
        joined.iter().for_each(|room| self.leave(key, room));
        metrics::push_rooms(self.rooms.len());
    }

    fn leave(&mut self, key: usize, room: &Room) {
        if let Some(there) = self.rooms.get_mut(room) {
            there.remove(&key);
            if there.is_empty() {
                self.rooms.remove(room);
            }
        }
    }

    fn message_at(&self, position: &Position) -> Option<&Arc<Entry>> {
        let index = self.hot.binary_search_by_key(&position.seq, |entry| entry.seq).ok()?;
        self.hot.get(index).filter(|entry| position.epoch.as_deref() == Some(&entry.epoch))
    }

    /// Adds a message to the lines of its rooms, and to `unflushed` those that are to be flushed for it.
    fn hand_out(&self, entry: &Arc<Entry>, unflushed: &mut Vec<Arc<Line>>) {
        let followed: Vec<_> = entry
            .rooms
            .iter()
            .enumerate()
            .filter_map(|(index, there)| Some((index, self.rooms.get(&there.room)?)))
            .collect();
        let mut deliver = |line: &Arc<Line>, rooms: Vec<usize>| {
            if !line.is_over()
                && line.push(Delivery { entry: entry.clone(), rooms, is_live: true, share: None })
            {
                unflushed.push(line.clone());
            }
        };
        // Most messages have clients in one of their rooms alone: no client can get them twice.
        if let [(index, lines)] = followed.as_slice() {
            lines.values().for_each(|line| deliver(line, vec![*index]));
            return;
        }
        let mut reached: HashMap<usize, (&Arc<Line>, Vec<usize>)> = HashMap::new();
        for (index, lines) in followed {
            for (key, line) in lines {
                reached.entry(*key).or_insert_with(|| (line, Vec::new())).1.push(index);
            }
        }
        reached.into_values().for_each(|(line, rooms)| deliver(line, rooms));
    }
}

#[cfg(test)]
mod tests;
