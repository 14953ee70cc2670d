use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::hub::{FeedPlace, Hub};
use super::line::{Arrival, DirectSink, Line};
use chainflume_api::access::Room;
use chainflume_outbox::Position;

/// Where the live messages of one client wait. It leaves its rooms when it is dropped.
pub struct Outlet {
    hub: Arc<Hub>,
    pub(super) line: Arc<Line>,
}

impl Outlet {
    pub(super) fn new(hub: Arc<Hub>, limit: usize, overflow: CancellationToken) -> Self {
        Self { hub, line: Arc::new(Line::new(limit, overflow)) }
    }

    /// Lets `sink` write live messages while [`Self::next`] waits. The task of the connection must not write at that time.
    pub fn write_by(&self, sink: Box<dyn DirectSink>) {
        self.line.write_by(sink);
    }

    /// The next item that waits; `None` where none waits.
    pub fn try_next(&self) -> Option<Arrival> {
        self.line.try_next()
    }

    /// Waits for the next item. A call that is dropped takes nothing.
    pub async fn next(&self) -> Arrival {
        self.line.next().await
    }

    /// Joins these rooms from now on. Returns the position of the newest message before.
    pub fn join(&self, rooms: &[Room]) -> Position {
        self.hub.join(&self.line, rooms)
    }

    /// Joins these rooms from now on, if no message comes after `place`. Returns whether that is so.
    pub(super) fn join_at(&self, rooms: &[Room], place: &FeedPlace) -> bool {
        self.hub.join_at(&self.line, rooms, place)
    }

    /// Leaves all rooms. Messages that wait are still returned. Returns the place after them.
    pub(super) fn pause(&self) -> FeedPlace {
        self.hub.pause(&self.line)
    }

    /// Leaves these rooms. Messages that wait are still returned.
    pub fn leave(&self, rooms: &[Room]) {
        self.hub.leave(&self.line, rooms);
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.hub.forget(&self.line);
    }
}
