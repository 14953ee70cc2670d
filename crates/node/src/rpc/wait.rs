//! How long a caller waits for a request.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::Rpc;
use crate::error::ChainError;

impl Rpc {
    /// Cancels the requests in flight, because another provider is used from now on. Callers retry there.
    pub(crate) fn cancel_requests(&self) {
        self.canceller.cancel();
    }

    /// The result of a request, or [`ChainError::Cancelled`] as soon as requests are cancelled.
    pub(super) async fn unless_cancelled<T>(
        &self,
        method: &'static str,
        work: impl Future<Output = Result<T, ChainError>>,
    ) -> Result<T, ChainError> {
        let started = Instant::now();
        // Registers first, so that a cancellation from now on counts.
        let left = self.canceller.wait_for_next();
        tokio::select! {
            biased;
            done = work => done,
            () = left => {
                Err(ChainError::Cancelled { host: self.host.clone(), method, after: started.elapsed() })
            }
        }
    }

    /// Waits for a request of the work. After each `overdue_after` it reports the request as overdue, which causes a
    /// probe. The request continues.
    pub(super) async fn with_overdue_alarm<T>(&self, request: impl Future<Output = T>) -> T {
        let mut request = pin!(request);
        loop {
            match timeout(self.overdue_after, &mut request).await {
                Ok(answer) => return answer,
                Err(_) => self.health.overdue(),
            }
        }
    }

    /// Waits for a request of a probe, up to its timeout.
    pub(super) async fn with_timeout<T>(
        &self,
        method: &'static str,
        limit: Duration,
        request: impl Future<Output = Result<T, ChainError>>,
    ) -> Result<T, ChainError> {
        let too_late = || ChainError::Timeout { host: self.host.clone(), method, after: limit };
        timeout(limit, request).await.unwrap_or_else(|_| Err(too_late()))
    }
}
