use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use alloy_primitives::B256;

use super::error::ChainError;
use super::node::{Kin, Node};
use super::settings::{ChainSettings, Role};

/// Whom to ask for a second look: rather not the provider that gave the first.
pub struct Elsewhere {
    kin: Kin,
    nodes: Vec<(Role, u32, Arc<Node>)>,
}

impl Elsewhere {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// When no HTTP client can be made of the settings.
    pub fn new(settings: &ChainSettings) -> Result<Self, ChainError> {
        let kin = Kin::default();
        let providers = settings.providers.iter();
        let nodes = providers.map(|provider| {
            let node = Node::among(settings, provider, kin.clone())?;
            Ok((provider.role, provider.priority, Arc::new(node)))
        });
        Ok(Self { nodes: nodes.collect::<Result<_, ChainError>>()?, kin })
    }

    /// Block 0 of the chain as it is stored, where it is: whoever has another is not asked.
    pub fn know_genesis(&self, stored: Option<B256>) {
        // What is stored settles it; where nothing is, the chain id has to do.
        if stored.is_some() {
            let _settled = self.kin.genesis.settle(stored);
        }
    }

    /// The provider that is preferred, whether it is there or not.
    pub fn preferred(&self) -> Arc<Node> {
        let best = self.nodes.iter().min_by_key(|(role, priority, _)| (*role == Role::Audit, *priority));
        let (_, _, node) = best.expect("a chain has at least one provider");
        node.clone()
    }

    /// The first of these that is there and on the right chain: those for audits, the others from the least preferred on,
    /// and the one of this name, or the most preferred, when nobody else is left.
    ///
    /// # Errors
    /// Why the last of them cannot be asked.
    pub async fn find(&self, avoided: Option<&str>) -> Result<Arc<Node>, ChainError> {
        let mut nodes: Vec<&(Role, u32, Arc<Node>)> = self.nodes.iter().collect();
        nodes.sort_by_key(|(role, priority, node)| {
            (avoided == Some(node.host()), *role != Role::Audit, Reverse(*priority))
        });
        let mut refused = None;
        for (_, _, node) in nodes {
            match node.check_chain().await {
                Ok(()) => return Ok(node.clone()),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| ChainError::Unreachable {
            host: "the chain".to_owned(),
            reason: "it has no provider".to_owned(),
        }))
    }

    /// The other endpoints: what they say is independent of what this one says.
    pub fn others(&self, than: &Arc<Node>) -> Vec<Arc<Node>> {
        let mut known = BTreeSet::from([than.fingerprint()]);
        let others =
            self.nodes.iter().map(|(_, _, node)| node).filter(|node| known.insert(node.fingerprint()));
        others.cloned().collect()
    }
}
