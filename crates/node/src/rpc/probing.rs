use std::time::Duration;

tokio::task_local! {
    /// Set inside of a probe: how long each of its requests may take.
    static PROBE: Duration;
}

/// Makes the requests inside those of a probe: each takes so long at most, and none of them waits behind the work whose trouble
/// they are to look into. It is no argument of each question, since what a probe asks is what the work asks.
pub async fn probing<T>(limit: Duration, asks: impl Future<Output = T>) -> T {
    PROBE.scope(limit, asks).await
}

/// How long the requests of the probe that this runs in may take.
pub(super) fn probe_limit() -> Option<Duration> {
    PROBE.try_with(|limit| *limit).ok()
}
