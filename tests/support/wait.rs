//! Waits for conditions that cause no notification.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::flume::WAIT_LIMIT;

/// Between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Between two reads of a value: a caller of the public server has 20 requests in a second.
const READ_INTERVAL: Duration = Duration::from_millis(50);

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

/// Waits until `read` returns this value. Panics with `what` and the last value after [`WAIT_LIMIT`].
pub async fn until_equal<T: Debug + PartialEq>(what: &str, expected: T, mut read: impl AsyncFnMut() -> T) {
    let read = async || {
        let found = read().await;
        if found == expected { Ok(()) } else { Err(found) }
    };
    until_ok(what, read).await;
}

/// Waits until `read` returns `Ok`, and returns the value. Panics with `what` and the last error after [`WAIT_LIMIT`].
pub async fn until_ok<T, E: Debug>(what: &str, read: impl AsyncFnMut() -> Result<T, E>) -> T {
    until_ok_within(WAIT_LIMIT, what, read).await
}

/// As [`until_ok`], with a limit of its own.
pub async fn until_ok_within<T, E: Debug>(
    limit: Duration,
    what: &str,
    mut read: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        let error = match read().await {
            Ok(value) => return value,
            Err(error) => error,
        };
        assert!(Instant::now() < deadline, "never: {what}, but {error:#?}");
        tokio::time::sleep(READ_INTERVAL).await;
    }
}
