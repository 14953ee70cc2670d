//! The loop of a lease turn, the same for every kind of delivery.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::report::DeliveryReport;
use super::{CommitSignal, RelayError, backoff};
use chainflume_db::Epoch;

/// How long a step may take once the daemon is to stop. A sink that hangs is left then, unlike a commit: what the sink makes
/// of the batch does not matter, because the batch is sent again.
const GRACE: Duration = Duration::from_secs(3);

/// Delivery to one sink: of several instances, the one that holds the lease delivers.
pub trait SinkDelivery: Send + 'static {
    /// Name of the sink.
    fn sink(&self) -> &str;

    /// Delivers until `stop`, or until another instance holds the lease. `None` where there are no leases.
    fn run_turn(&mut self, epoch: Option<Epoch>, stop: CancellationToken) -> impl Future<Output = ()> + Send;
}

/// What the loop does after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Steps again at once.
    Now,
    /// Waits for the next commit, for this long at most.
    AtCommit(Duration),
    /// Waits this long: a commit changes nothing.
    After(Duration),
}

/// One kind of delivery, step by step.
pub(super) trait Steps: Send {
    /// Name of the sink.
    fn name(&self) -> &str;

    /// Drops what an earlier turn knew: another instance may have delivered since.
    fn begin(&mut self, epoch: Option<Epoch>);

    /// One step. It may be dropped at any await once the daemon is to stop.
    fn step(&mut self, stop: &CancellationToken)
    -> impl Future<Output = Result<NextStep, RelayError>> + Send;

    /// Drops what is not certain after an error.
    fn failed(&mut self, error: &RelayError);

    /// Writes what is left to write when the turn ends.
    fn end(&mut self) -> impl Future<Output = Result<(), RelayError>> + Send;

    /// Health, metrics and log lines.
    fn report(&self) -> &DeliveryReport;

    /// Wakes the loop at a commit.
    fn signal(&mut self) -> &mut CommitSignal;
}

/// Runs steps until `stop`, or until another instance holds the lease. An error is logged, and the step is retried after a
/// pause for as long as it takes. A step that has begun is finished, within [`GRACE`].
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
                tracing::warn!(sink, %error, "another instance took the lease of this sink; this instance stands by");
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
