use std::time::Duration;

tokio::task_local! {
    /// The timeout of each request of the probe that runs now.
    static PROBE: Duration;
}

/// Runs `asks` as a probe. Each of its requests has the timeout `limit`, and none waits in the queue of the rate
/// limit: a probe checks what that queue waits for. The timeout is no argument of each call, because a probe makes
/// the same calls as the work.
pub async fn probing<T>(limit: Duration, asks: impl Future<Output = T>) -> T {
    PROBE.scope(limit, asks).await
}

/// The timeout of each request, if this runs in a probe.
pub(super) fn probe_limit() -> Option<Duration> {
    PROBE.try_with(|limit| *limit).ok()
}
