//! From the outbox to the sinks. A [`Relay`] writes a stream to one sink; a [`DeliveryQueue`] sends to a sink that answers
//! each message. Each has its own cursor, so that a sink that is away delays no other. [`turn`] is the loop of both,
//! [`listen`] wakes them at commits, and [`Retention`] deletes what all of them have.

mod delivery_queue;
mod error;
mod judge;
mod listen;
mod replay;
mod report;
mod retention;
mod stream;
mod turn;

pub use delivery_queue::{DeliveryOrder, DeliveryQueue, DeliverySettings, Schedule};
pub use error::RelayError;
pub use judge::{Cursor, Ownership, foreign, judge};
pub use listen::{CommitSignal, Listener, listen};
pub use replay::{ReplayEnd, ReplayTarget, Replayed, Replayer, SeparateStreams};
pub use report::remedy;
pub use retention::Retention;
pub use stream::{Relay, RelayParts};
pub use turn::Delivery;

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Longest pause between two tries: a sink or database that comes back is noticed within it.
const MAX_PAUSE: Duration = Duration::from_secs(15);

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(MAX_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}
