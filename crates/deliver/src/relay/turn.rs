//! The loop of a lease turn, the same for every kind of delivery.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::report::DeliveryReport;
use super::{CommitSignal, RelayError, backoff};
use chainflume_db::Epoch;

/// Timeout of a step after the daemon was asked to stop. A delivery may be abandoned, unlike a commit: the batch is
/// sent again.
const GRACE: Duration = Duration::from_secs(3);

/// Delivery to one sink. Of several instances, the one with the lease delivers.
pub trait SinkDelivery: Send + 'static {
    /// Name of the sink.
    fn sink(&self) -> &str;

    /// Delivers until `stop`, or until another instance takes the lease. `None` without leases.
    fn run_turn(&mut self, epoch: Option<Epoch>, stop: CancellationToken) -> impl Future<Output = ()> + Send;
}

/// The next action of the loop after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Step again at once.
    Now,
    /// Wait for the next commit, for this long at most.
    AtCommit(Duration),
    /// Wait this long; a commit does not end the wait.
    After(Duration),
}

/// One kind of delivery, step by step.
pub(super) trait Steps: Send {
    /// Name of the sink.
    fn name(&self) -> &str;

    /// Resets the state of an earlier turn: another instance may have delivered since.
    fn begin(&mut self, epoch: Option<Epoch>);

    /// One step. It may be cancelled at any await after a request to stop.
    fn step(&mut self, stop: &CancellationToken)
    -> impl Future<Output = Result<NextStep, RelayError>> + Send;

    /// Resets state that is uncertain after an error.
    fn failed(&mut self, error: &RelayError);

    /// Stores unwritten state when the turn ends.
    fn end(&mut self) -> impl Future<Output = Result<(), RelayError>> + Send;

    /// Health, metrics and log lines.
    fn report(&self) -> &DeliveryReport;

    /// Wakes the loop at a commit.
    fn signal(&mut self) -> &mut CommitSignal;
}

/// Runs steps until `stop`, or until another instance takes the lease. An error is logged, and the step is retried
/// after a pause, without a limit. A step that has begun is finished within [`GRACE`].
pub(super) async fn run<D: Steps>(delivery: &mut D, epoch: Option<Epoch>, stop: CancellationToken) {
    delivery.begin(epoch);
    let mut backoff = backoff();
    while !stop.is_cancelled() {
        delivery.report().beat();
        let stepped = tokio::select! {
            biased;
            stepped = delivery.step(&stop) => stepped,
            () = grace(&stop) => break,
        };
        let wait = match stepped {
            Ok(next) => {
                backoff.reset();
                match next {
                    NextStep::Now => continue,
                    NextStep::AtCommit(longest) => {
                        let _stopped = stop.run_until_cancelled(delivery.signal().wait(longest)).await;
                        continue;
                    }
                    NextStep::After(wait) => wait,
                }
            }
            Err(RelayError::Store(error)) if error.is_fenced() => {
                let sink = delivery.name();
                tracing::warn!(sink, %error, "another instance took the lease of this sink; this instance is a standby");
                return;
            }
            Err(error) => {
                delivery.report().failed(&error);
                delivery.failed(&error);
                backoff.next_pause()
            }
        };
        let _stopped = stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
    if let Ok(Err(error)) = tokio::time::timeout(GRACE, delivery.end()).await {
        delivery.report().failed(&error);
    }
}

/// Returns [`GRACE`] after `stop`.
async fn grace(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}
