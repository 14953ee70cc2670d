//! How long a request is waited for, and by whom.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use super::Rpc;
use crate::error::ChainError;

tokio::task_local! {
    /// Set inside of a probe: how long each of its requests may take.
    static PROBE: Duration;
}

/// Makes the requests inside those of a probe: each takes so long at most, and none of them waits behind the work whose trouble
/// they are to look into. It is no argument of each question, since what a probe asks is what the work asks.
pub async fn probing<T>(patience: Duration, asks: impl Future<Output = T>) -> T {
    PROBE.scope(patience, asks).await
}

/// How long the requests of the probe that this runs in may take.
pub(super) fn patience() -> Option<Duration> {
    PROBE.try_with(|patience| *patience).ok()
}

/// Ends what is on its way when the endpoint is left for another.
pub(super) struct RequestCanceller(watch::Sender<u64>);

impl Default for RequestCanceller {
    fn default() -> Self {
        Self(watch::channel(0).0)
    }
}

impl RequestCanceller {
    /// From now on.
    pub(super) fn wait_for_next(&self) -> impl Future<Output = ()> + use<> {
        let mut departures = self.0.subscribe();
        async move {
            if departures.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }
}

impl Rpc {
    /// Ends what is on its way: another provider is asked from now on. Whoever waits for an answer asks there.
    pub(crate) fn leave(&self) {
        self.departures.0.send_modify(|departures| *departures += 1);
    }

    /// What comes of work, or the word that it is not worth to be waited for any more.
    pub(super) async fn work<T>(
        &self,
        method: &'static str,
        work: impl Future<Output = Result<T, ChainError>>,
    ) -> Result<T, ChainError> {
        let started = Instant::now();
        // First of all: from now on a departure counts.
        let left = self.departures.wait_for_next();
        tokio::select! {
            biased;
            done = work => done,
            () = left => {
                Err(ChainError::Left { host: self.host.clone(), method, after: started.elapsed() })
            }
        }
    }

    /// The answer to a request of work. One that takes longer than a probe may is a reason to make a probe, and nothing else;
    /// one that goes on and on is a reason again.
    pub(super) async fn watched<T>(&self, request: impl Future<Output = T>) -> T {
        let mut request = pin!(request);
        loop {
            match timeout(self.overdue_after, &mut request).await {
                Ok(answer) => return answer,
                Err(_) => self.health.overdue(),
            }
        }
    }

    /// The answer to a request of a probe.
    pub(super) async fn brief<T>(
        &self,
        (method, patience): (&'static str, Duration),
        request: impl Future<Output = Result<T, ChainError>>,
    ) -> Result<T, ChainError> {
        let too_late = || ChainError::Timeout { host: self.host.clone(), method, after: patience };
        timeout(patience, request).await.unwrap_or_else(|_| Err(too_late()))
    }
}
