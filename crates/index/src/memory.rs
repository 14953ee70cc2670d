//! What the node teaches about its limits, kept from one life to the next.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chainflume_core::domain::causes;
use chainflume_node::{Learnt, MethodUsage, Node, Pool, ProviderReport};
use chainflume_ops::health::{MethodHealth, ProviderHealth};
use chainflume_store::Store;

/// How often it is looked whether there is something new: a lesson that is lost with a crash costs a few refused calls.
const EVERY: Duration = Duration::from_secs(10);

/// How long the loop waits for that: it has blocks to carry, or a stop to make.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the lessons of a chain's endpoints are kept.
pub(super) struct Memory {
    store: Store,
    /// By endpoint; absent until it is known.
    kept: BTreeMap<String, Learnt>,
    looked: Instant,
}

impl Memory {
    pub(super) fn new(store: Store) -> Self {
        Self { store, kept: BTreeMap::new(), looked: Instant::now() }
    }

    /// Gives the nodes what was learnt in an earlier life, once. A database that cannot say is no reason to wait.
    pub(super) async fn recall(&mut self, nodes: &[&Node]) {
        for node in nodes {
            let fingerprint = node.fingerprint();
            if self.kept.contains_key(fingerprint) {
                continue;
            }
            match self.store.learnt::<Learnt>(fingerprint).await {
                Ok(learnt) => {
                    let learnt = learnt.unwrap_or_default();
                    node.recall(&learnt);
                    self.kept.insert(fingerprint.to_owned(), learnt);
                }
                Err(error) => {
                    tracing::debug!(error = %causes(&error), "what was learnt about the node is not known");
                }
            }
        }
    }

    /// Keeps what is new, now and then.
    pub(super) async fn keep(&mut self, nodes: &[&Node]) {
        if self.looked.elapsed() >= EVERY {
            self.keep_now(nodes).await;
        }
    }

    /// Keeps what is new.
    pub(super) async fn keep_now(&mut self, nodes: &[&Node]) {
        self.looked = Instant::now();
        for node in nodes {
            let (fingerprint, learnt) = (node.fingerprint(), node.learnt());
            if learnt.width.is_none() || self.kept.get(fingerprint) == Some(&learnt) {
                continue;
            }
            match tokio::time::timeout(PATIENCE, self.store.learn(fingerprint, &learnt)).await {
                Ok(Ok(())) => drop(self.kept.insert(fingerprint.to_owned(), learnt)),
                Ok(Err(error)) => {
                    tracing::debug!(error = %causes(&error), "what was learnt about the node is not kept");
                }
                Err(_) => {
                    tracing::debug!("what was learnt about the node is not kept: the database is slow");
                }
            }
        }
    }
}

/// What the nodes were asked since the start.
pub(super) fn spent(pool: &Pool) -> Vec<MethodHealth> {
    pool.usage().into_iter().map(method).collect()
}

fn method(usage: MethodUsage) -> MethodHealth {
    let MethodUsage { method, requests, failed, credits } = usage;
    MethodHealth { method, requests, failed, compute_units: credits }
}

/// How the nodes stand.
pub(super) fn stand(pool: &Pool) -> Vec<ProviderHealth> {
    let health = |report: ProviderReport| ProviderHealth {
        name: report.label,
        role: report.role.as_str(),
        live: report.live,
        history: report.history,
        state: report.state,
        head: report.head,
        behind: report.behind,
        latency: report.latency,
        failures: report.failures,
        last_error: report.last_error,
        rpc: report.usage.into_iter().map(method).collect(),
    };
    pool.report().into_iter().map(health).collect()
}
