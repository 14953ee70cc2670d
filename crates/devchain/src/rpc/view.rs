use std::sync::Arc;
use std::sync::MutexGuard;

use alloy_primitives::B256;

use super::params::Tag;
use crate::DevChain;
use crate::block::Block;
use crate::call::{Request, RpcError};
use crate::faults::{Behaviour, Plan};
use crate::state::DevState;

/// The chain as the answering node knows it: the node may lag.
pub(super) struct View<'a> {
    pub(super) state: MutexGuard<'a, DevState>,
    pub(super) head: u64,
    pub(super) behaviour: Behaviour,
    finalized_depth: Option<u64>,
}

impl<'a> View<'a> {
    pub(super) fn new(chain: &'a DevChain, request: &Request, plan: &Plan) -> Self {
        let behaviour = chain.faults.behaviour();
        let lag = behaviour.lag(request.transport);
        let state = chain.state();
        let head = state.head().number.saturating_sub(lag).saturating_sub(plan.lag());
        Self { state, head, behaviour, finalized_depth: chain.settings().finalized_depth }
    }

    /// The number of a tag. A number is returned unchanged, even above the head.
    pub(super) fn number(&self, tag: Tag) -> Result<u64, RpcError> {
        let below = |name: &str, share: u64| match self.finalized_depth {
            Some(depth) => Ok(self.head.saturating_sub(depth / share)),
            None => Err(RpcError::new(-32000, &format!("{name} block not found"))),
        };
        match tag {
            Tag::Number(number) => Ok(number),
            Tag::Earliest => Ok(0),
            Tag::Latest => Ok(self.head),
            Tag::Safe => below("safe", 2),
            Tag::Finalized => below("finalized", 1),
        }
    }

    pub(super) fn block(&self, number: u64) -> Option<&Arc<Block>> {
        self.state.block(number).filter(|_| number <= self.head)
    }

    pub(super) fn by_hash(&self, hash: &B256) -> Option<&Arc<Block>> {
        let orphan = || self.behaviour.serves_orphans().then(|| self.state.orphan(hash)).flatten();
        self.state.by_hash(hash).or_else(orphan).filter(|block| block.link.number <= self.head)
    }

    pub(super) fn by_tx(&self, hash: &B256) -> Option<(&Arc<Block>, usize)> {
        self.state.by_tx(hash).filter(|(block, _)| block.link.number <= self.head)
    }
}
