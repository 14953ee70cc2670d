//! What a header proves about the logs of its block, for a caller that may undo stored events.

use alloy_primitives::{Address, B256};

use super::Node;
use super::evidence::bloom_holds;
use super::header_seal::HeaderSeal;
use crate::error::ChainError;
use crate::logs::{BlockSelector, RECEIPTS};
use crate::settings::LogVerification;
use crate::wire::{UnsealedReceipt, WireReceipt};
use chainflume_core::domain::{BlockRef, LogFilter, Logs, receipts_root};

/// A header from a node that proved in the same request which chain it is on.
#[derive(Clone, Copy, Debug)]
pub struct IdentifiedHeader {
    seal: HeaderSeal,
    /// Whether the blooms of this chain's headers count as evidence, by the configuration.
    bloom_counts: bool,
}

impl IdentifiedHeader {
    /// Its block.
    pub fn block(&self) -> BlockRef {
        self.seal.block
    }

    /// Whether the bloom proves that the block has no log of this contract, or none with this first topic.
    pub fn excludes(&self, address: &Address, topic0: Option<&B256>) -> bool {
        let excludes = |item: &[u8]| self.seal.bloom.is_some_and(|bloom| !bloom_holds(&bloom, item));
        self.bloom_counts
            && (excludes(address.as_slice()) || topic0.is_some_and(|topic| excludes(topic.as_slice())))
    }

    /// Whether the bloom allows a log of this contract.
    pub fn may_have(&self, address: &Address) -> bool {
        self.bloom_counts && self.seal.bloom.is_some_and(|bloom| bloom_holds(&bloom, address.as_slice()))
    }
}

impl Node {
    /// The headers at these heights, with the proof of [`Self::identified_blocks`].
    ///
    /// # Errors
    /// As [`Self::identified_blocks`].
    pub async fn identified_headers(
        &self,
        numbers: &[u64],
    ) -> Result<Vec<Option<IdentifiedHeader>>, ChainError> {
        let bloom_counts = self.verify != LogVerification::Off;
        let header = |seal: Option<HeaderSeal>| seal.map(|seal| IdentifiedHeader { seal, bloom_counts });
        Ok(self.identified_seals(numbers).await?.0.into_iter().map(header).collect())
    }

    /// Whether this header gives a reason to expect logs that a filter selects.
    pub fn announces(&self, filter: &LogFilter, header: &IdentifiedHeader) -> bool {
        self.lacks_last_logs(filter, &header.seal, &Logs::default())
    }

    /// The logs of a block from all its receipts, which must have the root of the header.
    ///
    /// # Errors
    /// Why the receipts cannot be fetched, or that they have another root.
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
