use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

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

/// The worker's end of a lease.
#[derive(Debug)]
pub struct LeaseHandle {
    pub(super) state: Arc<watch::Sender<SlotState>>,
    /// Wakes the manager.
    pub(super) manager_wake: Arc<Notify>,
}

/// The right to write, from now until it is dropped: only then is the lease released.
#[derive(Debug)]
pub struct LeaseGuard {
    epoch: Epoch,
    token: CancellationToken,
    state: Arc<watch::Sender<SlotState>>,
    manager_wake: Arc<Notify>,
    _ending: AbortOnDropHandle<()>,
}

impl LeaseHandle {
    /// The next turn, `None` when there is none any more. May be dropped and called again.
    pub async fn next(&self, stop: &CancellationToken) -> Option<LeaseGuard> {
        let epoch = stop.run_until_cancelled(self.granted()).await??;
        let token = stop.child_token();
        let (mut states, ended) = (self.state.subscribe(), token.clone());
        let ending = tokio::spawn(async move {
            let _gone = states.wait_for(|state| *state != SlotState::Working).await.is_err();
            ended.cancel();
        });
        Some(LeaseGuard {
            epoch,
            token,
            state: self.state.clone(),
            manager_wake: self.manager_wake.clone(),
            _ending: AbortOnDropHandle::new(ending),
        })
    }

    async fn granted(&self) -> Option<Epoch> {
        let mut states = self.state.subscribe();
        loop {
            let mut begun = None;
            self.state.send_if_modified(|state| {
                if let SlotState::Granted(epoch) = *state {
                    (*state, begun) = (SlotState::Working, Some(epoch));
                }
                begun.is_some()
            });
            if begun.is_some() {
                return begun;
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
        self.state.send_replace(SlotState::Vacant);
        self.manager_wake.notify_one();
    }
}

impl Drop for LeaseHandle {
    fn drop(&mut self) {
        self.state.send_replace(SlotState::Gone);
        self.manager_wake.notify_one();
    }
}
