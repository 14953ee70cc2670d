//! Tasks beside a chain's loop. What panics in one of them panics in the loop, whose supervisor starts all of it again.

use futures_util::FutureExt;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

/// Panics as the task did that ended so.
pub(super) fn rethrow(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// Panics if this task did. It is one that never ends by itself, so nobody waits for it.
pub(super) fn check(task: &mut Option<AbortOnDropHandle<()>>) {
    if let Some(ended) = task.as_mut().and_then(FutureExt::now_or_never) {
        *task = None;
        rethrow(ended);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[tokio::test]
    async fn a_panic_beside_the_loop_is_the_loops() {
        let mut task = Some(AbortOnDropHandle::new(tokio::spawn(std::future::pending())));
        check(&mut task);
        assert!(task.is_some());
        let mut task = Some(AbortOnDropHandle::new(tokio::spawn(async { panic!("on purpose") })));
        while !task.as_ref().is_some_and(|task| task.is_finished()) {
            tokio::task::yield_now().await;
        }
        assert!(catch_unwind(AssertUnwindSafe(|| check(&mut task))).is_err());
    }
}
