use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;

use super::error::ChainError;
use super::node::{Node, ProviderGroup};
use super::pool::{essential, reading};
use super::rpc::probing;
use super::settings::Work;
use super::settings::{ChainSettings, ProviderRole};

/// Providers for a second read: preferably another one than that of the first read.
pub struct AlternateProviders {
    settings: ChainSettings,
    kin: ProviderGroup,
    nodes: Vec<(ProviderRole, u32, Arc<Node>)>,
}

impl AlternateProviders {
    /// Creates the providers without a request.
    ///
    /// # Errors
    /// When no HTTP client can be made of the settings.
    pub fn new(settings: &ChainSettings) -> Result<Self, ChainError> {
        let kin = ProviderGroup::default();
        let providers = settings.providers.iter();
        let nodes = providers.map(|provider| {
            let node = Node::among(settings, provider, kin.clone())?;
            Ok((provider.role, provider.priority, Arc::new(node)))
        });
        let nodes = nodes.collect::<Result<_, ChainError>>()?;
        Ok(Self { settings: settings.clone(), nodes, kin })
    }

    /// Sets the stored block 0 of the chain, if there is one: a provider with another block 0 is skipped.
    pub fn know_genesis(&self, stored: Option<B256>) {
        // Without a stored block 0 only the chain id identifies the chain.
        if stored.is_some() {
            let _settled = self.kin.genesis.agree_on(stored);
        }
    }

    /// All providers, the most preferred first and those for audits last. They may be unreachable.
    pub fn by_preference(&self) -> Vec<Arc<Node>> {
        let mut nodes: Vec<&(ProviderRole, u32, Arc<Node>)> = self.nodes.iter().collect();
        nodes.sort_by_key(|(role, priority, _)| (*role == ProviderRole::Audit, *priority));
        nodes.into_iter().map(|(_, _, node)| node.clone()).collect()
    }

    /// The providers to ask, in this order: those for audits, then the others from the least preferred on, and last the provider
    /// `avoided`, or the most preferred one. Providers that fail come after all others.
    pub fn candidates(&self, avoided: Option<&str>) -> Vec<Arc<Node>> {
        let mut nodes: Vec<&(ProviderRole, u32, Arc<Node>)> = self.nodes.iter().collect();
        nodes.sort_by_key(|(role, priority, node)| {
            (
                self.is_out(node),
                avoided == Some(node.host()),
                *role != ProviderRole::Audit,
                Reverse(*priority),
            )
        });
        nodes.into_iter().map(|(_, _, node)| node.clone()).collect()
    }

    /// Records that this provider is used from now on. Forgets its failures, unless it still fails.
    pub fn takes(&self, node: &Node) {
        if !self.is_out(node) {
            node.rpc.health.reset();
        }
    }

    /// Runs a request with the timeout of a probe, if there are other providers.
    pub async fn brief<T>(&self, asks: impl Future<Output = T>) -> T {
        if self.nodes.len() < 2 {
            return asks.await;
        }
        probing(self.settings.failover.probe_timeout, asks).await
    }

    /// All other endpoints, whose answers are independent of this one's.
    pub fn others(&self, than: &Arc<Node>) -> Vec<Arc<Node>> {
        let mut known = BTreeSet::from([than.fingerprint()]);
        let others =
            self.nodes.iter().map(|(_, _, node)| node).filter(|node| known.insert(node.fingerprint()));
        others.cloned().collect()
    }

    /// Returns another provider once this one fails and another one works; never returns for a single provider. May be cancelled and
    /// called again.
    pub async fn instead_of(&self, node: &Arc<Node>, avoided: Option<&str>) -> Arc<Node> {
        loop {
            if self.nodes.len() < 2 {
                std::future::pending::<()>().await;
            }
            // A node that asks for a pause of a day gets no request, so it never fails again.
            let _rung = tokio::time::timeout(AGAIN, self.kin.alarm.notified()).await;
            while self.is_suspected(node).await {
                if fails(node)
                    && let Some(other) = self.another(node, avoided).await
                {
                    return other;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Whether it fails and a probe confirms this.
    async fn is_suspected(&self, node: &Node) -> bool {
        if !fails(node) && !node.rpc.health.snapshot().suspected {
            return false;
        }
        match self.brief(self.look(node)).await {
            Ok(()) => {
                if self.brief(reading(node)).await.is_ok() {
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

    /// The first other provider that does not fail and passes a probe.
    async fn another(&self, than: &Arc<Node>, avoided: Option<&str>) -> Option<Arc<Node>> {
        for node in self.candidates(avoided) {
            if !Arc::ptr_eq(&node, than) && !self.is_out(&node) && self.brief(self.look(&node)).await.is_ok()
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
        essential(node, (&self.settings, &self.kin), head).await
    }

    /// Whether it fails, and has not been well for `return_after`.
    fn is_out(&self, node: &Node) -> bool {
        fails(node) && node.rpc.health.snapshot().well_for < self.settings.failover.return_after
    }
}

fn fails(node: &Node) -> bool {
    let signs = node.rpc.health.snapshot();
    signs.failing || signs.failing_history || node.rpc.refuses()
}

/// Interval between two checks of a provider that fails.
const AGAIN: Duration = Duration::from_secs(1);
