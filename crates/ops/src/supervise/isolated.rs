//! Short work that is neither a loop nor a task beside one: the answer to a request, a batch that is written ahead.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

use super::fault;
use crate::metrics;

/// How isolated work failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkFailure {
    /// It panicked.
    #[error("panicked")]
    Panicked,
    /// It exceeded its time limit.
    #[error("exceeded its time limit")]
    Hung,
}

/// Runs work for one client, and logs and counts its panic or hang as a failure of `name`. Only that client is
/// affected: the loop that started the work continues.
///
/// # Errors
/// [`WorkFailure`]
pub async fn isolated<T>(
    name: &str,
    longest: Duration,
    work: impl Future<Output = T>,
) -> Result<T, WorkFailure> {
    let work = AssertUnwindSafe(exposed(name, work)).catch_unwind();
    let failure = match tokio::time::timeout(longest, work).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(_panic)) => WorkFailure::Panicked,
        Err(_elapsed) => WorkFailure::Hung,
    };
    let how = if failure == WorkFailure::Panicked { "panicked" } else { "hung" };
    metrics::loop_ended(name, how);
    tracing::error!(
        work = name,
        how,
        "work for a client of the daemon failed, and the daemon continues; report it"
    );
    Err(failure)
}

/// Runs the work. Tests can make it panic or hang under this name.
///
/// # Panics
/// When the work panics.
pub async fn exposed<T>(name: &str, work: impl Future<Output = T>) -> T {
    match fault::of_tasks() {
        None => work.await,
        Some(faults) => {
            let done = fault::run(faults, name, work).await;
            done.unwrap_or_else(|| panic!("{name} returned nothing on purpose"))
        }
    }
}

/// Maximum time of work before it counts as hung; shorter where a test sets it.
pub fn hang_limit(hung_after: Duration) -> Duration {
    fault::of_tasks().map_or(hung_after, |faults| hung_after.min(faults.hung_after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn isolated_work_that_panics_or_hangs_is_a_failure_of_its_own() {
        let longest = Duration::from_mins(1);
        assert_eq!(isolated("answer", longest, async { 7 }).await, Ok(7));
        let panics = isolated::<()>("answer", longest, async { panic!("on purpose") });
        assert_eq!(panics.await, Err(WorkFailure::Panicked));
        let began = tokio::time::Instant::now();
        let hangs = isolated("answer", longest, std::future::pending::<()>());
        assert_eq!(hangs.await, Err(WorkFailure::Hung));
        assert_eq!(began.elapsed().as_secs(), longest.as_secs());
    }
}
