//! Waits for conditions that cause no notification.

use std::time::{Duration, Instant};

use crate::flume::WAIT_LIMIT;

/// Between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `is` is true. Panics with `what` after [`WAIT_LIMIT`].
pub async fn until(what: &str, is: impl Fn() -> bool) {
    until_async(what, async || is()).await;
}

/// As [`until`], for a condition that is read from a database or a process.
pub async fn until_async(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + WAIT_LIMIT;
    while !is().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
