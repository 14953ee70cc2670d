use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use chainflume_api::access::{Principal, Revocation, Revocations};

/// What was revoked, as this process knows it. Clones are of the same.
#[derive(Clone, Debug)]
pub struct Revoked {
    all: Arc<RwLock<Revocations>>,
    changed: Arc<watch::Sender<()>>,
}

impl Default for Revoked {
    fn default() -> Self {
        Self { all: Arc::default(), changed: Arc::new(watch::Sender::new(())) }
    }
}

impl Revoked {
    /// Whether the credential of this caller is worth nothing any more.
    pub fn covers(&self, principal: &Principal) -> bool {
        self.all.read().unwrap_or_else(PoisonError::into_inner).covers(principal)
    }

    /// Returns when it is worth nothing any more.
    pub async fn reaches(&self, principal: &Principal) {
        let mut changed = self.changed.subscribe();
        while !self.covers(principal) {
            if changed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Adds what is new.
    pub(super) fn add(&self, new: impl IntoIterator<Item = (Revocation, u64)>) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        new.into_iter().for_each(|(what, at)| all.add(what, at));
        drop(all);
        self.changed.send_replace(());
    }

    /// Puts all of them in the place of those known.
    pub(super) fn replace(&self, all: impl IntoIterator<Item = (Revocation, u64)>) {
        let mut new = Revocations::default();
        all.into_iter().for_each(|(what, at)| new.add(what, at));
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = new;
        self.changed.send_replace(());
    }
}
