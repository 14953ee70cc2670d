//! Blocks that are read a second time before they are old: by hash and held against their headers, as they were read the
//! first time.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use super::evidence::CheckedBlock;
use super::header_seal::HeaderSeal;
use super::headers_with_logs::HeaderWithLogs;
use super::{BlockWithLogs, Node};
use crate::batch::Batch;
use crate::error::ChainError;
use crate::logs::LOGS;
use chainflume_core::domain::{BlockRange, LogFilter, Logs};

impl Node {
    /// A few blocks, each by its hash.
    ///
    /// # Errors
    /// Why the node cannot be asked, that its answer is wrong, or that it lacks one of the blocks.
    pub(crate) async fn young(&self, filter: &LogFilter, range: BlockRange) -> Result<Batch, ChainError> {
        let numbers: Vec<u64> = (range.from()..=range.to()).collect();
        let near = self.near(filter, &numbers).await?;
        let lacks = |number: u64| self.rpc.bad(LOGS, format!("it has no block {number}, which is confirmed"));
        if let Some(number) = numbers.get(near.len()) {
            return Err(lacks(*number));
        }
        let blocks =
            try_join_all(near.into_iter().map(|near| Box::pin(self.checked_logs(filter, near)))).await?;
        let links = |pair: &&[BlockWithLogs]| pair[1].block.parent_hash != pair[0].block.hash;
        if let Some(pair) = blocks.windows(2).find(links) {
            return Err(self.moved(pair[1].block.number));
        }
        let ends = blocks.first().zip(blocks.last()).map(|(first, last)| (first.block, last.block));
        let (first, last) = ends.ok_or_else(|| lacks(range.from()))?;
        let times: BTreeMap<u64, u64> = blocks.iter().map(|b| (b.block.number, b.block.timestamp)).collect();
        let logs: Logs = blocks.iter().flat_map(|block| &block.logs).collect();
        Ok(Batch { range, parent_hash: first.parent_hash, last, logs, times })
    }

    /// The logs of a block, compared with its header. Where they do not account for its bloom, the block's receipts decide, which
    /// are another index.
    async fn checked_logs(
        &self,
        filter: &LogFilter,
        near: HeaderWithLogs,
    ) -> Result<BlockWithLogs, ChainError> {
        let compared = self.compared(filter, near).await;
        if self.trust.has_failing_check() {
            self.give_up_failing_checks();
        }
        let CheckedBlock { block, mismatch } = compared?;
        match mismatch {
            Some(mismatch) => self.resolved(filter, block, &mismatch).await,
            None => Ok(block),
        }
    }

    /// The logs of a range whose last header is this one. Where its bloom indicates logs and the range ends without any, a
    /// backend may have ended before the range did: the last block is asked for by its hash, which a node that lacks it
    /// must refuse.
    ///
    /// # Errors
    /// That the block has logs the range lacks, or why it cannot be asked for.
    pub(crate) async fn with_tail(
        &self,
        filter: &LogFilter,
        (range, last): (BlockRange, HeaderSeal),
        logs: Logs,
    ) -> Result<Logs, ChainError> {
        if !self.leaves_out(filter, &last, &logs) {
            return Ok(logs);
        }
        let second = self.with_logs(filter, last.block).await?.logs;
        match second.is_empty() {
            true => Ok(logs),
            // Nothing else was asked for.
            false if range.width() == 1 => Ok(second),
            false => Err(self.contradicted(&last.block)),
        }
    }
}
