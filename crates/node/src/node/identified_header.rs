//! What a header proves of its block's logs, for a caller that would undo what is stored.

use alloy_primitives::{Address, B256};

use super::Node;
use super::evidence::bloom_holds;
use super::header_seal::HeaderSeal;
use crate::error::ChainError;
use crate::logs::{BlockSelector, RECEIPTS};
use crate::settings::LogVerification;
use crate::wire::{UnsealedReceipt, WireReceipt};
use chainflume_core::domain::{BlockRef, LogFilter, Logs, receipts_root};

/// A header of a node that has shown with it which chain it is on.
#[derive(Clone, Copy, Debug)]
pub struct IdentifiedHeader {
    seal: HeaderSeal,
    /// Whether blooms of this chain's headers are those of their logs, as far as is known and configured.
    bloom_counts: bool,
}

impl IdentifiedHeader {
    /// Its block.
    pub fn block(&self) -> BlockRef {
        self.seal.block
    }

    /// Whether its bloom proves that the block has no log of this contract, or none with this first topic.
    pub fn excludes(&self, address: &Address, topic0: Option<&B256>) -> bool {
        let excludes = |item: &[u8]| self.seal.bloom.is_some_and(|bloom| !bloom_holds(&bloom, item));
        self.bloom_counts
            && (excludes(address.as_slice()) || topic0.is_some_and(|topic| excludes(topic.as_slice())))
    }

    /// Whether its bloom may have a log of this contract.
    pub fn may_have(&self, address: &Address) -> bool {
        self.bloom_counts && self.seal.bloom.is_some_and(|bloom| bloom_holds(&bloom, address.as_slice()))
    }
}

impl Node {
    /// The headers at these heights, as in [`Self::show`].
    ///
    /// # Errors
    /// As [`Self::show`].
    pub async fn show_headers(&self, numbers: &[u64]) -> Result<Vec<Option<IdentifiedHeader>>, ChainError> {
        let bloom_counts = self.verify != LogVerification::Off;
        let header = |seal: Option<HeaderSeal>| seal.map(|seal| IdentifiedHeader { seal, bloom_counts });
        Ok(self.show_seals(numbers).await?.0.into_iter().map(header).collect())
    }

    /// Whether this header gives a reason to expect logs that a filter selects.
    pub fn announces(&self, filter: &LogFilter, header: &IdentifiedHeader) -> bool {
        self.leaves_out(filter, &header.seal, &Logs::default())
    }

    /// The logs of a block out of all its receipts, whose root is that of the header.
    ///
    /// # Errors
    /// Why the receipts cannot be had, or that they have not that root.
    pub async fn logs_by_receipts(
        &self,
        filter: &LogFilter,
        header: &IdentifiedHeader,
    ) -> Result<Logs, ChainError> {
        let HeaderSeal { block, receipts_root: root, .. } = header.seal;
        let blocks = BlockSelector::Hash { number: block.number, hash: block.hash };
        let wire: Vec<WireReceipt> = self.receipts(blocks).await?;
        let receipts: Result<Vec<_>, UnsealedReceipt> = wire.iter().map(WireReceipt::consensus).collect();
        let receipts = receipts.map_err(|unsealed| self.rpc.bad(RECEIPTS, unsealed.to_string()))?;
        if Some(receipts_root(&receipts)) != root {
            let reason = format!("the receipts of block {} do not have the root of its header", block.number);
            return Err(self.rpc.bad(RECEIPTS, reason));
        }
        self.logs_in(wire, filter, blocks)
    }
}
