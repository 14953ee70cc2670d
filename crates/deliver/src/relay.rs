//! Delivers messages from the outbox to the sinks. A [`Relay`] writes a stream to one sink. A [`DeliveryQueue`] sends
//! to a sink that answers each message. Each has its own cursor, so an unreachable sink delays no other. [`turn`] is
//! the loop of both, [`listen`] wakes them at commits, [`RoomIndex`] indexes messages by what they name, and [`Retention`] deletes
//! messages that all sinks have.

mod delivery_queue;
mod error;
mod judge;
mod listen;
mod replay;
mod report;
mod retention;
mod room_index;
mod stream;
mod turn;

pub use delivery_queue::{DeliveryOrder, DeliveryQueue, DeliverySettings, Schedule};
pub use error::RelayError;
pub use judge::{Cursor, Ownership, foreign, judge};
pub use listen::{CommitSignal, Listener, listen};
pub use replay::{ReplayEnd, ReplayTarget, Replayed, Replayer, SeparateStreams};
pub use report::remedy;
pub use retention::{Retention, TrimPage};
pub use room_index::RoomIndex;
pub use stream::{Relay, RelayParts};
pub use turn::SinkDelivery;

use std::time::Duration;

use chainflume_ops::backoff::Backoff;

/// Longest pause between two tries: a sink or a database that works again is used within this time.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// First pause between two tries.
const MIN_PAUSE: Duration = Duration::from_millis(50);

fn backoff() -> Backoff {
    Backoff::new(MIN_PAUSE, MAX_PAUSE)
}
