//! How long a request is waited for, and by whom.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::Rpc;
use crate::error::ChainError;

impl Rpc {
    /// Ends what is on its way: another provider is asked from now on. A caller that waits for an answer asks there.
    pub(crate) fn leave(&self) {
        self.departures.cancel();
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
        (method, limit): (&'static str, Duration),
        request: impl Future<Output = Result<T, ChainError>>,
    ) -> Result<T, ChainError> {
        let too_late = || ChainError::Timeout { host: self.host.clone(), method, after: limit };
        timeout(limit, request).await.unwrap_or_else(|_| Err(too_late()))
    }
}
