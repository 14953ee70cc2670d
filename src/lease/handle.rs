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
    /// The worker is to finish its step.
    Ending,
    /// The worker has ended.
    Gone,
}

/// A lease of this process, shared by the manager, which grants it, and the worker, which uses it. No task stands between them:
/// the manager itself cancels the turn it ends.
#[derive(Debug)]
pub(super) struct LeaseCell {
    state: watch::Sender<SlotState>,
    /// Of the turn that was begun last.
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

    /// The worker may begin.
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

    /// Begins a turn with this token, where one is granted. The token is there before anybody can see that the worker works.
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

    /// The worker has ended, for now or for good.
    fn leave(&self, state: SlotState) {
        self.state.send_replace(state);
        self.manager_wake.notify_one();
    }

    fn turn(&self) -> MutexGuard<'_, CancellationToken> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The worker's end of a lease.
#[derive(Debug)]
pub struct LeaseHandle(pub(super) Arc<LeaseCell>);

/// The right to write, from now until it is dropped: only then is the lease released.
#[derive(Debug)]
pub struct LeaseGuard {
    epoch: Epoch,
    token: CancellationToken,
    cell: Arc<LeaseCell>,
}

impl LeaseHandle {
    /// The next turn, `None` when there is none any more. May be dropped and called again.
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
    /// Of the lease.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Cancelled when the turn is over: what is in hand is to be finished.
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
        // The next turn is another one.
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
