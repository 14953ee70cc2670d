use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use chainflume_db::Epoch;

/// The state of a slot, shared by the manager, which grants the lease, and the worker, which uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotState {
    /// The instance does not hold the lease.
    Vacant,
    /// The worker may begin.
    Granted(Epoch),
    /// The worker works.
    Working,
    /// The worker must finish its step.
    Ending,
    /// The worker has ended.
    Gone,
}

/// A lease of this process, shared by the manager, which grants it, and the worker, which uses it. There is no task
/// between them: the manager itself cancels the turn.
#[derive(Debug)]
pub(super) struct LeaseCell {
    state: watch::Sender<SlotState>,
    /// The token of the last turn.
    turn: Mutex<CancellationToken>,
    /// Wakes the manager.
    manager_wake: Arc<Notify>,
}

impl LeaseCell {
    pub(super) fn new(manager_wake: Arc<Notify>) -> Self {
        Self { state: watch::Sender::new(SlotState::Vacant), turn: Mutex::default(), manager_wake }
    }

    pub(super) fn state(&self) -> SlotState {
        *self.state.borrow()
    }

    /// Grants the lease to the worker.
    pub(super) fn grant(&self, epoch: Epoch) {
        self.state.send_replace(SlotState::Granted(epoch));
    }

    /// Asks the worker to finish.
    pub(super) fn end(&self) {
        self.state.send_if_modified(|state| {
            let next = match *state {
                SlotState::Granted(_) => SlotState::Vacant,
                SlotState::Working => SlotState::Ending,
                other => other,
            };
            if next == SlotState::Ending {
                self.turn().cancel();
            }
            std::mem::replace(state, next) != next
        });
    }

    /// Begins a granted turn with this token. The token is set before the worker is visible as working.
    fn begin(&self, token: &CancellationToken) -> Option<Epoch> {
        let mut begun = None;
        self.state.send_if_modified(|state| {
            if let SlotState::Granted(epoch) = *state {
                *self.turn() = token.clone();
                (*state, begun) = (SlotState::Working, Some(epoch));
            }
            begun.is_some()
        });
        begun
    }

    /// The worker has ended, for this turn or for good.
    fn leave(&self, state: SlotState) {
        self.state.send_replace(state);
        self.manager_wake.notify_one();
    }

    fn turn(&self) -> MutexGuard<'_, CancellationToken> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The worker's side of a lease.
#[derive(Debug)]
pub struct LeaseHandle(pub(super) Arc<LeaseCell>);

/// The right to write, until the guard is dropped. Only then is the lease released.
#[derive(Debug)]
pub struct LeaseGuard {
    epoch: Epoch,
    token: CancellationToken,
    cell: Arc<LeaseCell>,
}

impl LeaseHandle {
    /// The next turn; `None` when there are no more. May be cancelled and called again.
    pub async fn next(&self, stop: &CancellationToken) -> Option<LeaseGuard> {
        let token = stop.child_token();
        let epoch = stop.run_until_cancelled(self.granted(&token)).await??;
        Some(LeaseGuard { epoch, token, cell: self.0.clone() })
    }

    async fn granted(&self, token: &CancellationToken) -> Option<Epoch> {
        let mut states = self.0.state.subscribe();
        loop {
            if let Some(epoch) = self.0.begin(token) {
                return Some(epoch);
            }
            states.changed().await.ok()?;
        }
    }
}

impl LeaseGuard {
    /// The epoch of the lease.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Cancelled when the turn must end: the worker finishes its step.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.cell.leave(SlotState::Vacant);
    }
}

impl Drop for LeaseHandle {
    fn drop(&mut self) {
        self.0.turn().cancel();
        self.0.leave(SlotState::Gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell() -> Arc<LeaseCell> {
        Arc::new(LeaseCell::new(Arc::default()))
    }

    #[tokio::test]
    async fn a_turn_that_the_manager_ends_is_cancelled_at_once() {
        let (cell, stop) = (cell(), CancellationToken::new());
        let handle = LeaseHandle(cell.clone());
        cell.grant(Epoch::of(3));
        let turn = handle.next(&stop).await.expect("granted");
        assert_eq!((turn.epoch(), cell.state()), (Epoch::of(3), SlotState::Working));
        assert!(!turn.token().is_cancelled());
        cell.end();
        assert_eq!((turn.token().is_cancelled(), cell.state()), (true, SlotState::Ending));
        drop(turn);
        assert_eq!(cell.state(), SlotState::Vacant);
        // The next turn has a new token.
        cell.grant(Epoch::of(4));
        let turn = handle.next(&stop).await.expect("granted");
        assert!(!turn.token().is_cancelled());
        stop.cancel();
        assert!(turn.token().is_cancelled());
    }

    #[tokio::test]
    async fn a_grant_revoked_before_the_worker_begins_is_no_turn() {
        let (cell, stop) = (cell(), CancellationToken::new());
        let handle = LeaseHandle(cell.clone());
        cell.grant(Epoch::of(1));
        cell.end();
        assert_eq!(cell.state(), SlotState::Vacant);
        stop.cancel();
        assert!(handle.next(&stop).await.is_none());
    }
}
