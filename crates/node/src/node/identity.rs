//! Proves in one request which chain a node is on and what it answers. A gateway may switch to another chain from one
//! request to the next.

use std::sync::atomic::Ordering;

use serde_json::json;
use serde_json::value::RawValue;

use super::header_seal::HeaderSeal;
use super::{HEADER, Node, hex};
use crate::error::ChainError;
use crate::limits::RefusalKind;
use crate::rpc::{RawResult, RpcCall};
use crate::wire::Quantity;
use chainflume_core::domain::BlockRef;

const ID: &str = "eth_chainId";

/// Heights in one request. With the four calls that prove the chain they fill a batch of 16.
const HEIGHTS: usize = 12;

/// Blocks from a node that proved in the same request which chain it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentifiedBlocks {
    /// In the order of the heights; `None` where the node has no such block.
    pub blocks: Vec<Option<BlockRef>>,
    /// Whether the node returned block 0. A node that has pruned it proves the chain id alone.
    pub genesis: bool,
}

/// The calls for the chain id and for block 0.
pub(crate) fn identity_calls() -> [RpcCall; 2] {
    [RpcCall::new(ID, json!([])), RpcCall::new(HEADER, json!([hex(0), false]))]
}

impl Node {
    /// Compares the node's chain id (`eth_chainId`, EIP-695) with the configured one, and its block 0 with the
    /// settled one. For a node that has pruned block 0 the chain id is enough. Both calls are one request, which also
    /// finds out whether the node accepts batches.
    ///
    /// # Errors
    /// [`ChainError::WrongChain`], [`ChainError::WrongGenesis`] or why the node cannot be asked.
    pub async fn check_chain(&self) -> Result<(), ChainError> {
        self.rpc.try_batches();
        let mut answers = self.rpc.ask_all::<Box<RawValue>>(&identity_calls()).await?.into_iter();
        self.identify(&mut answers)?;
        Ok(())
    }

    /// Checks that the node has proven that it is on this chain. Until then none of its answers is stored.
    ///
    /// # Errors
    /// [`ChainError::Unreachable`] while it has not.
    pub fn is_checked(&self) -> Result<(), ChainError> {
        if self.checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let reason = "the node has not proven yet which chain it is on".to_owned();
        Err(ChainError::Unreachable { host: self.host().to_owned(), reason })
    }

    /// Checks that the block 0 that the node returned last is the settled one.
    ///
    /// # Errors
    /// [`ChainError::WrongGenesis`].
    pub(crate) fn check_genesis(&self) -> Result<(), ChainError> {
        self.genesis.check(self.host()).map_err(|wrong| self.not_ours(wrong))
    }

    pub(crate) fn not_ours(&self, wrong: ChainError) -> ChainError {
        self.checked.store(false, Ordering::Relaxed);
        self.rpc.health.failed("the chain", &wrong);
        wrong
    }

    /// The canonical blocks at these heights, between two proofs of the chain (chain id and block 0). All is one
    /// request where the node accepts batches, so that one backend returns both blocks and proofs.
    ///
    /// # Errors
    /// As [`Self::check_chain`] and [`Self::block`].
    pub async fn identified_blocks(&self, numbers: &[u64]) -> Result<IdentifiedBlocks, ChainError> {
        let (seals, genesis) = self.identified_seals(numbers).await?;
        Ok(IdentifiedBlocks {
            blocks: seals.into_iter().map(|seal| seal.map(|seal| seal.block)).collect(),
            genesis,
        })
    }

    /// As [`Self::identified_blocks`], with what the headers prove about their logs, and whether block 0 was returned.
    pub(crate) async fn identified_seals(
        &self,
        numbers: &[u64],
    ) -> Result<(Vec<Option<HeaderSeal>>, bool), ChainError> {
        let (mut seals, mut genesis) = (Vec::with_capacity(numbers.len()), true);
        for some in numbers.chunks(HEIGHTS) {
            genesis &= self.identified_chunk(some, &mut seals).await?;
        }
        Ok((seals, genesis))
    }

    async fn identified_chunk(
        &self,
        numbers: &[u64],
        seals: &mut Vec<Option<HeaderSeal>>,
    ) -> Result<bool, ChainError> {
        let header = |number: &u64| RpcCall::new(HEADER, json!([hex(*number), false]));
        let asked = numbers.iter().map(header);
        let all: Vec<RpcCall> = identity_calls().into_iter().chain(asked).chain(identity_calls()).collect();
        let together = self.rpc.is_one_request(all.len());
        if !together {
            self.check_chain().await?;
        }
        let mut answers = self.rpc.ask_all::<Box<RawValue>>(&all).await?.into_iter();
        let before = self.identify(&mut answers)?;
        let mut shown = Vec::with_capacity(numbers.len());
        for number in numbers {
            shown.push(self.header_of(answers.next(), *number)?);
        }
        let after = self.identify(&mut answers)?;
        // A batch that failed was repeated in parts, which other backends may have answered.
        if !together || !self.rpc.is_one_request(all.len()) {
            self.check_chain().await?;
        }
        seals.append(&mut shown);
        Ok(before && after)
    }

    /// Checks the answers to [`identity_calls`]. Returns whether block 0 was among them: some nodes have pruned it.
    pub(crate) fn identify(&self, answers: &mut impl Iterator<Item = RawResult>) -> Result<bool, ChainError> {
        let found = self.parsed::<Quantity>(ID, answers.next().unwrap_or(Ok(None)))?;
        let found = found.ok_or_else(|| self.rpc.bad(ID, "null instead of a result"))?;
        if found.0 != self.chain_id {
            let (host, found) = (self.host().to_owned(), found.0);
            return Err(self.not_ours(ChainError::WrongChain { host, found, expected: self.chain_id }));
        }
        let genesis = match self.header_of(answers.next(), 0) {
            Ok(genesis) => genesis,
            Err(error) if is_momentary(&error) => return Err(error),
            // Block 0 is pruned, or its header cannot be read.
            Err(_) => None,
        };
        if let Some(seal) = genesis {
            self.genesis.record(self.host(), seal.block.hash).map_err(|wrong| self.not_ours(wrong))?;
        }
        self.rpc.health.on_chain();
        self.checked.store(true, Ordering::Relaxed);
        Ok(genesis.is_some())
    }

    /// The error for a provider that returned block 0 before and does not now, where a decision depends on it.
    pub fn genesis_missing(&self) -> ChainError {
        self.rpc
            .bad(HEADER, "no block 0, although it returned that block before: it may be on another chain now")
    }

    /// Whether this provider has returned block 0 since the start.
    pub fn has_returned_genesis(&self) -> bool {
        self.genesis.was_recorded_by(self.host())
    }
}

/// Whether the same request may succeed a moment later.
fn is_momentary(error: &ChainError) -> bool {
    match error {
        ChainError::Unreachable { .. } | ChainError::Timeout { .. } => true,
        ChainError::Refused { refusal, .. } => {
            matches!(refusal, RefusalKind::Rate { .. } | RefusalKind::Quota)
        }
        ChainError::Cancelled { .. }
        | ChainError::BadAnswer { .. }
        | ChainError::TooLarge { .. }
        | ChainError::NoTag { .. }
        | ChainError::WrongChain { .. }
        | ChainError::WrongGenesis { .. }
        | ChainError::GenesisDiffers { .. } => false,
    }
}
