use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use chainflume_db::Epoch;

/// Where a lease stands between the keeper, who grants it, and the worker, who leads by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// Nobody leads here.
    Vacant,
    /// The worker may begin.
    Granted(Epoch),
    /// It leads.
    Working,
    /// It is to finish what is in hand.
    Ending,
    /// There is no worker any more.
    Gone,
}

/// The worker's end of a lease.
#[derive(Debug)]
pub struct Chair {
    pub(super) term: Arc<watch::Sender<Term>>,
    /// Wakes the keeper.
    pub(super) kick: Arc<Notify>,
}

/// The right to lead, from now until it is dropped: only then is the lease given back.
#[derive(Debug)]
pub struct Turn {
    epoch: Epoch,
    token: CancellationToken,
    term: Arc<watch::Sender<Term>>,
    kick: Arc<Notify>,
    _ending: AbortOnDropHandle<()>,
}

impl Chair {
    /// The next turn, `None` when there is none any more. May be dropped and called again.
    pub async fn next(&self, stop: &CancellationToken) -> Option<Turn> {
        let epoch = stop.run_until_cancelled(self.granted()).await??;
        let token = stop.child_token();
        let (mut terms, ended) = (self.term.subscribe(), token.clone());
        let ending = tokio::spawn(async move {
            let _gone = terms.wait_for(|term| *term != Term::Working).await.is_err();
            ended.cancel();
        });
        Some(Turn {
            epoch,
            token,
            term: self.term.clone(),
            kick: self.kick.clone(),
            _ending: AbortOnDropHandle::new(ending),
        })
    }

    async fn granted(&self) -> Option<Epoch> {
        let mut terms = self.term.subscribe();
        loop {
            let mut begun = None;
            self.term.send_if_modified(|term| {
                if let Term::Granted(epoch) = *term {
                    (*term, begun) = (Term::Working, Some(epoch));
                }
                begun.is_some()
            });
            if begun.is_some() {
                return begun;
            }
            terms.changed().await.ok()?;
        }
    }
}

impl Turn {
    /// Of the lease.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Cancelled when the turn is over: what is in hand is to be finished.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.term.send_replace(Term::Vacant);
        self.kick.notify_one();
    }
}

impl Drop for Chair {
    fn drop(&mut self) {
        self.term.send_replace(Term::Gone);
        self.kick.notify_one();
    }
}
