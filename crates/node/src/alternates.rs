use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;

use super::error::ChainError;
use super::node::{Node, ProviderGroup};
use super::pool::{check_essentials, recheck_current_range};
use super::rpc::probing;
use super::settings::Work;
use super::settings::{ChainSettings, ProviderRole};

/// Providers for a second read of blocks that are stored. A second read prefers a provider that was not used for the
/// first.
pub struct AlternateProviders {
    settings: ChainSettings,
    group: ProviderGroup,
    nodes: Vec<(ProviderRole, u32, Arc<Node>)>,
}

impl AlternateProviders {
    /// Creates the providers without a request.
    ///
    /// # Errors
    /// When no HTTP client can be made of the settings.
    pub fn new(settings: &ChainSettings) -> Result<Self, ChainError> {
        let group = ProviderGroup::default();
        let providers = settings.providers.iter();
        let nodes = providers.map(|provider| {
            let node = Node::among(settings, provider, group.clone())?;
            Ok((provider.role, provider.priority, Arc::new(node)))
        });
        let nodes = nodes.collect::<Result<_, ChainError>>()?;
        Ok(Self { settings: settings.clone(), nodes, group })
    }

    /// Sets the stored hash of block 0, if there is one. A provider with another block 0 is skipped.
    pub fn set_genesis(&self, stored: Option<B256>) {
        // Without a stored block 0 only the chain id identifies the chain.
        if stored.is_some() {
            let _settled = self.group.genesis.agree_on(stored);
        }
    }

    /// All providers by priority, those with the role `audit` last. A provider in the list may be unreachable.
    pub fn by_preference(&self) -> Vec<Arc<Node>> {
        let mut nodes: Vec<&(ProviderRole, u32, Arc<Node>)> = self.nodes.iter().collect();
        nodes.sort_by_key(|(role, priority, _)| (*role == ProviderRole::Audit, *priority));
        nodes.into_iter().map(|(_, _, node)| node.clone()).collect()
    }

    /// The providers in the order of a second read: those with the role `audit`, then the others, the least preferred
    /// first. The provider `avoided` is last of those that work. Failing providers come after all others.
    pub fn candidates(&self, avoided: Option<&str>) -> Vec<Arc<Node>> {
        let mut nodes: Vec<&(ProviderRole, u32, Arc<Node>)> = self.nodes.iter().collect();
        nodes.sort_by_key(|(role, priority, node)| {
            (
                self.is_failing(node),
                avoided == Some(node.host()),
                *role != ProviderRole::Audit,
                Reverse(*priority),
            )
        });
        nodes.into_iter().map(|(_, _, node)| node.clone()).collect()
    }

    /// Records that a reader uses this provider from now on, and clears its failures unless it still fails.
    pub fn mark_used(&self, node: &Node) {
        if !self.is_failing(node) {
            node.rpc.health.reset();
        }
    }

    /// Runs a request, with the timeout of a probe if there is another provider.
    pub async fn with_probe_timeout<T>(&self, asks: impl Future<Output = T>) -> T {
        if self.nodes.len() < 2 {
            return asks.await;
        }
        probing(self.settings.failover.probe_timeout, asks).await
    }

    /// One provider for each endpoint other than this one's. Two providers with one URL are one endpoint.
    pub fn others(&self, than: &Arc<Node>) -> Vec<Arc<Node>> {
        let mut known = BTreeSet::from([than.fingerprint()]);
        let others =
            self.nodes.iter().map(|(_, _, node)| node).filter(|node| known.insert(node.fingerprint()));
        others.cloned().collect()
    }

    /// Waits until this provider fails and another one works, and returns the other one. Never returns where there is
    /// only one provider. Cancel safe.
    pub async fn replacement_for(&self, node: &Arc<Node>, avoided: Option<&str>) -> Arc<Node> {
        loop {
            if self.nodes.len() < 2 {
                std::future::pending::<()>().await;
            }
            // No alarm comes from a node that asked for a long pause: it gets no request, so no request fails.
            let _rung = tokio::time::timeout(PROBE_INTERVAL, self.group.alarm.notified()).await;
            while self.is_suspected(node).await {
                if fails(node)
                    && let Some(other) = self.another(node, avoided).await
                {
                    return other;
                }
                tokio::time::sleep(PROBE_INTERVAL).await;
            }
        }
    }

    /// Whether the provider fails, or seems to, and a probe fails as well.
    async fn is_suspected(&self, node: &Node) -> bool {
        if !fails(node) && !node.rpc.health.snapshot().suspected {
            return false;
        }
        match self.with_probe_timeout(self.look(node)).await {
            Ok(()) => {
                if self.with_probe_timeout(recheck_current_range(node)).await.is_ok() {
                    node.rpc.health.cleared();
                    return fails(node);
                }
                true
            }
            Err(error) => {
                node.rpc.health.work_failed(Work::Probe, None, Some(&error));
                true
            }
        }
    }

    /// The first other candidate that does not fail and passes a probe.
    async fn another(&self, than: &Arc<Node>, avoided: Option<&str>) -> Option<Arc<Node>> {
        for node in self.candidates(avoided) {
            if !Arc::ptr_eq(&node, than)
                && !self.is_failing(&node)
                && self.with_probe_timeout(self.look(&node)).await.is_ok()
            {
                node.rpc.health.reset();
                return Some(node);
            }
        }
        None
    }

    async fn look(&self, node: &Node) -> Result<(), ChainError> {
        node.check_chain().await?;
        let head = node.head().await?;
        check_essentials(node, &self.settings, &self.group, head).await
    }

    /// Whether the provider fails. After `return_after` without a failure it is tried again.
    fn is_failing(&self, node: &Node) -> bool {
        fails(node) && node.rpc.health.snapshot().well_for < self.settings.failover.return_after
    }
}

fn fails(node: &Node) -> bool {
    let health = node.rpc.health.snapshot();
    health.failing || health.failing_history || node.rpc.refuses()
}

/// Interval between two probes of a provider that fails.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
