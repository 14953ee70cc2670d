//! The connections of clients below their protocol: bounds for writes, and writes beside the task of a connection.

mod shared;
mod stall;

pub use shared::{ClientStream, DirectWriter};
pub use stall::{STALL_TIMEOUT, Stall, StallGuard, is_stalled};
