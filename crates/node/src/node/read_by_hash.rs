//! Reads blocks that a backend of the node may still lack: by hash, and compared with their headers, as near the
//! head.

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
    /// Reads a few blocks, each by its hash.
    ///
    /// # Errors
    /// Why a request failed, that an answer is wrong, or that the node lacks one of the blocks.
    pub(crate) async fn read_by_hash(
        &self,
        filter: &LogFilter,
        range: BlockRange,
    ) -> Result<Batch, ChainError> {
        let numbers: Vec<u64> = (range.from()..=range.to()).collect();
        let near = self.headers_with_logs(filter, &numbers).await?;
        let lacks = |number: u64| self.rpc.bad(LOGS, format!("it has no block {number}, which is confirmed"));
        if let Some(number) = numbers.get(near.len()) {
            return Err(lacks(*number));
        }
        let blocks =
            try_join_all(near.into_iter().map(|near| Box::pin(self.checked_logs(filter, near)))).await?;
        let links = |pair: &&[BlockWithLogs]| pair[1].block.parent_hash != pair[0].block.hash;
        if let Some(pair) = blocks.windows(2).find(links) {
            return Err(self.block_changed(pair[1].block.number));
        }
        let ends = blocks.first().zip(blocks.last()).map(|(first, last)| (first.block, last.block));
        let (first, last) = ends.ok_or_else(|| lacks(range.from()))?;
        let times: BTreeMap<u64, u64> = blocks.iter().map(|b| (b.block.number, b.block.timestamp)).collect();
        let logs: Logs = blocks.iter().flat_map(|block| &block.logs).collect();
        Ok(Batch { range, parent_hash: first.parent_hash, last, logs, times })
    }

    /// The logs of a block, compared with its header. Where they do not account for its bloom, the receipts of the
    /// block decide: a node reads them from another index.
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

    /// The logs of a range, after a check of its last block. If the bloom of that block indicates logs and the range
    /// has none of it, the backend may lack the block. Then the logs of that block are requested by its hash, which a
    /// node that lacks the block must refuse.
    ///
    /// # Errors
    /// That the block has logs which the range lacks, or why the request failed.
    pub(crate) async fn with_checked_tail(
        &self,
        filter: &LogFilter,
        range: BlockRange,
        last: HeaderSeal,
        logs: Logs,
    ) -> Result<Logs, ChainError> {
        if !self.lacks_last_logs(filter, &last, &logs) {
            return Ok(logs);
        }
        let second = self.with_logs(filter, last.block).await?.logs;
        match second.is_empty() {
            true => Ok(logs),
            // The range is this block alone.
            false if range.width() == 1 => Ok(second),
            false => Err(self.missing_logs_error(&last.block)),
        }
    }
}
