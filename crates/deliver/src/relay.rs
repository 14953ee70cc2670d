//! From the outbox to the sinks: one [`Relay`] a sink, each with a cursor of its own, so that a sink that is away
//! holds up no other; a [`Courier`] for a sink that answers each message. [`listen`] wakes them, [`Retention`] takes away what all of them have.

mod carrier;
mod courier;
mod error;
mod judge;
mod lead;
mod listen;
mod replay;
mod report;
mod retention;

pub use carrier::{Parts, Relay};
pub use courier::{Courier, CourierSettings, Schedule};
pub use error::RelayError;
pub use judge::{Cursor, Verdict, foreign, judge};
pub use lead::Lead;
pub use listen::{Listener, Wake, listen};
pub use replay::{Apart, Outlet, ReplayEnd, Replayed, Replayer};
pub use report::remedy;
pub use retention::Retention;

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
