//! Which chain a node is on, shown together with what it answers: a gateway may answer for another chain from one request
//! to the next.

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

/// Heights that are asked for in one request. With the four calls that show the chain it is as many calls as a batch has.
const HEIGHTS: usize = 12;

/// Blocks of a node that has shown which chain it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentifiedBlocks {
    /// In the order of the heights; `None` where the node has no such block.
    pub blocks: Vec<Option<BlockRef>>,
    /// Whether it has shown block 0. A node that has pruned it shows the chain id alone.
    pub genesis: bool,
}

/// The chain id and block 0.
pub(crate) fn questions() -> [RpcCall; 2] {
    [RpcCall::new(ID, json!([])), RpcCall::new(HEADER, json!([hex(0), false]))]
}

impl Node {
    /// Asks for the chain id (`eth_chainId`, EIP-695) and for block 0, and compares them with the config's and with what
    /// is settled. A node may have thrown block 0 away; then the chain id has to do. Both are asked in one request, which
    /// shows whether the node takes batches before anything depends on it.
    ///
    /// # Errors
    /// [`ChainError::WrongChain`], [`ChainError::WrongGenesis`] or why the node cannot be asked.
    pub async fn check_chain(&self) -> Result<(), ChainError> {
        self.rpc.try_batches();
        let mut answers = self.rpc.ask_all::<Box<RawValue>>(&questions()).await?.into_iter();
        self.identify(&mut answers)?;
        Ok(())
    }

    /// Whether it has shown that it is on this chain. Before, none of its answers is stored.
    ///
    /// # Errors
    /// That it has not yet.
    pub fn is_checked(&self) -> Result<(), ChainError> {
        if self.checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let reason = "it has not shown yet which chain it is on".to_owned();
        Err(ChainError::Unreachable { host: self.host().to_owned(), reason })
    }

    /// Whether its last answer about block 0 is the settled one.
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

    /// The canonical blocks at these heights, from a node that shows the chain id and block 0 before and after, in the same
    /// request where it takes batches: then the backend that answers is the one that shows its chain.
    ///
    /// # Errors
    /// As [`Self::check_chain`] and [`Self::block`].
    pub async fn show(&self, numbers: &[u64]) -> Result<IdentifiedBlocks, ChainError> {
        let (seals, genesis) = self.show_seals(numbers).await?;
        Ok(IdentifiedBlocks {
            blocks: seals.into_iter().map(|seal| seal.map(|seal| seal.block)).collect(),
            genesis,
        })
    }

    /// As [`Self::show`], with the evidence of the headers about their logs, and whether block 0 was shown.
    pub(crate) async fn show_seals(
        &self,
        numbers: &[u64],
    ) -> Result<(Vec<Option<HeaderSeal>>, bool), ChainError> {
        let (mut seals, mut genesis) = (Vec::with_capacity(numbers.len()), true);
        for some in numbers.chunks(HEIGHTS) {
            genesis &= self.show_some(some, &mut seals).await?;
        }
        Ok((seals, genesis))
    }

    async fn show_some(
        &self,
        numbers: &[u64],
        seals: &mut Vec<Option<HeaderSeal>>,
    ) -> Result<bool, ChainError> {
        let header = |number: &u64| RpcCall::new(HEADER, json!([hex(*number), false]));
        let asked = numbers.iter().map(header);
        let all: Vec<RpcCall> = questions().into_iter().chain(asked).chain(questions()).collect();
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
        // A batch that failed was asked in parts.
        if !together || !self.rpc.is_one_request(all.len()) {
            self.check_chain().await?;
        }
        seals.append(&mut shown);
        Ok(before && after)
    }

    /// Takes the answers to [`questions`]. Returns whether block 0 was shown; some nodes have pruned it.
    pub(crate) fn identify(&self, answers: &mut impl Iterator<Item = RawResult>) -> Result<bool, ChainError> {
        let found = self.parsed::<Quantity>(ID, answers.next().unwrap_or(Ok(None)))?;
        let found = found.ok_or_else(|| self.rpc.bad(ID, "null where a result belongs"))?;
        if found.0 != self.chain_id {
            let (host, found) = (self.host().to_owned(), found.0);
            return Err(self.not_ours(ChainError::WrongChain { host, found, expected: self.chain_id }));
        }
        let genesis = match self.header_of(answers.next(), 0) {
            Ok(genesis) => genesis,
            Err(error) if is_momentary(&error) => return Err(error),
            // It is pruned, or no header that can be read.
            Err(_) => None,
        };
        if let Some(seal) = genesis {
            self.genesis.record(self.host(), seal.block.hash).map_err(|wrong| self.not_ours(wrong))?;
        }
        self.rpc.health.on_chain();
        self.checked.store(true, Ordering::Relaxed);
        Ok(genesis.is_some())
    }

    /// The error of a provider that showed block 0 before and does not now, where that is needed.
    pub fn hides_genesis(&self) -> ChainError {
        self.rpc
            .bad(HEADER, "no block 0, although it returned that block before: it may be on another chain now")
    }

    /// Whether this provider has shown block 0 since the start.
    pub fn has_shown_genesis(&self) -> bool {
        self.genesis.was_recorded_by(self.host())
    }
}

/// Whether the same question may be answered a moment later.
fn is_momentary(error: &ChainError) -> bool {
    match error {
        ChainError::Unreachable { .. } | ChainError::Timeout { .. } => true,
        ChainError::Refused { refusal, .. } => {
            matches!(refusal, RefusalKind::Rate { .. } | RefusalKind::Quota)
        }
        ChainError::Left { .. }
        | ChainError::BadAnswer { .. }
        | ChainError::TooLarge { .. }
        | ChainError::NoTag { .. }
        | ChainError::WrongChain { .. }
        | ChainError::WrongGenesis { .. }
        | ChainError::GenesisDiffers { .. } => false,
    }
}
