//! What the node teaches about its limits, kept from one life to the next.

use std::time::{Duration, Instant};

use crate::chain::{Learnt, MethodUsage, Node};
use crate::domain::causes;
use crate::health::MethodHealth;
use crate::store::Store;

/// How often it is looked whether there is something new: a lesson that is lost with a crash costs a few refused calls.
const EVERY: Duration = Duration::from_secs(10);

/// How long the loop waits for that: it has blocks to carry, or a stop to make.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the lessons of one endpoint are kept.
pub(super) struct Memory {
    store: Store,
    fingerprint: String,
    kept: Option<Learnt>,
    looked: Instant,
}

impl Memory {
    pub(super) fn new(store: Store, fingerprint: String) -> Self {
        Self { store, fingerprint, kept: None, looked: Instant::now() }
    }

    /// Gives the node what was learnt in an earlier life, once. A database that cannot say is no reason to wait.
    pub(super) async fn recall(&mut self, node: &Node) {
        if self.kept.is_some() {
            return;
        }
        match self.store.learnt::<Learnt>(&self.fingerprint).await {
            Ok(learnt) => {
                let learnt = learnt.unwrap_or_default();
                node.recall(&learnt);
                self.kept = Some(learnt);
            }
            Err(error) => {
                tracing::debug!(error = %causes(&error), "what was learnt about the node is not known")
            }
        }
    }

    /// Keeps what is new, now and then.
    pub(super) async fn keep(&mut self, node: &Node) {
        if self.looked.elapsed() >= EVERY {
            self.keep_now(node).await;
        }
    }

    /// Keeps what is new.
    pub(super) async fn keep_now(&mut self, node: &Node) {
        self.looked = Instant::now();
        let learnt = node.learnt();
        if learnt.width.is_none() || self.kept == Some(learnt) {
            return;
        }
        match tokio::time::timeout(PATIENCE, self.store.learn(&self.fingerprint, &learnt)).await {
            Ok(Ok(())) => self.kept = Some(learnt),
            Ok(Err(error)) => {
                tracing::debug!(error = %causes(&error), "what was learnt about the node is not kept");
            }
            Err(_) => tracing::debug!("what was learnt about the node is not kept: the database is slow"),
        }
    }
}

/// What the node was asked since the start.
pub(super) fn spent(node: &Node) -> Vec<MethodHealth> {
    let health = |usage: MethodUsage| MethodHealth {
        method: usage.method,
        requests: usage.requests,
        failed: usage.failed,
        compute_units: usage.credits,
    };
    node.usage().into_iter().map(health).collect()
}
