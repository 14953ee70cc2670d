//! Logs a second.

use std::time::Duration;

/// Logs a second.
#[expect(clippy::cast_precision_loss, reason = "a rate, shown without decimals")]
pub fn per_second(logs: u64, took: Duration) -> f64 {
    logs as f64 / took.as_secs_f64()
}
