//! The limits of providers, which refusals have shown. They are saved over restarts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chainflume_core::domain::causes;
use chainflume_node::{EndpointLimits, MethodUsage, Node, Pool, ProviderState};
use chainflume_ops::health::{MethodHealth, ProviderHealth};
use chainflume_store::Store;

/// How often new limits are saved. A limit that is lost with a crash costs a few refused calls.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);

/// Timeout of a save: blocks or a stop wait for it.
const SAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// The limits of a chain's endpoints.
pub(super) struct SavedLimits {
    store: Store,
    /// By endpoint; absent until they are loaded.
    known: BTreeMap<String, EndpointLimits>,
    saved_at: Instant,
}

impl SavedLimits {
    pub(super) fn new(store: Store) -> Self {
        Self { store, known: BTreeMap::new(), saved_at: Instant::now() }
    }

    /// Gives each node the limits that an earlier run saved, once. An error of the database is logged and skipped.
    pub(super) async fn load(&mut self, nodes: &[&Node]) {
        for node in nodes {
            let fingerprint = node.fingerprint();
            if self.known.contains_key(fingerprint) {
                continue;
            }
            match self.store.endpoint_limits::<EndpointLimits>(fingerprint).await {
                Ok(limits) => {
                    let limits = limits.unwrap_or_default();
                    node.use_limits(&limits);
                    self.known.insert(fingerprint.to_owned(), limits);
                }
                Err(error) => {
                    tracing::debug!(error = %causes(&error), "saved limits of the node cannot be read");
                }
            }
        }
    }

    /// Saves new limits when a save is due.
    pub(super) async fn save_if_due(&mut self, nodes: &[&Node]) {
        if self.saved_at.elapsed() >= SAVE_INTERVAL {
            self.save(nodes).await;
        }
    }

    /// Saves new limits.
    pub(super) async fn save(&mut self, nodes: &[&Node]) {
        self.saved_at = Instant::now();
        for node in nodes {
            let (fingerprint, limits) = (node.fingerprint(), node.limits());
            if limits.width.is_none() || self.known.get(fingerprint) == Some(&limits) {
                continue;
            }
            match tokio::time::timeout(SAVE_TIMEOUT, self.store.save_endpoint_limits(fingerprint, &limits))
                .await
            {
                Ok(Ok(())) => drop(self.known.insert(fingerprint.to_owned(), limits)),
                Ok(Err(error)) => {
                    tracing::debug!(error = %causes(&error), "limits of the node are not saved");
                }
                Err(_) => {
                    tracing::debug!("limits of the node are not saved: the database is slow");
                }
            }
        }
    }
}

/// Gives a node the limits that the loop of its chain has saved for its endpoint, with a width of `widest` blocks at most. An error
/// of the database is logged and skipped.
pub(super) async fn use_saved_limits(store: &Store, node: &Node, widest: Option<u64>) {
    match store.endpoint_limits::<EndpointLimits>(node.fingerprint()).await {
        Ok(limits) => {
            let limits = limits.unwrap_or_default();
            let width = limits.width.map(|width| widest.map_or(width, |widest| width.min(widest)));
            node.use_limits(&EndpointLimits { width, ..limits });
        }
        Err(error) => {
            tracing::debug!(error = %causes(&error), "saved limits of the node cannot be read");
        }
    }
}

/// Requests to all providers since the start.
pub(super) fn usage(pool: &Pool) -> Vec<MethodHealth> {
    pool.usage().into_iter().map(method).collect()
}

fn method(usage: MethodUsage) -> MethodHealth {
    let MethodUsage { method, requests, failed, credits } = usage;
    MethodHealth { method, requests, failed, compute_units: credits }
}

/// The health of each provider.
pub(super) fn provider_health(pool: &Pool) -> Vec<ProviderHealth> {
    let health = |report: ProviderState| ProviderHealth {
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
