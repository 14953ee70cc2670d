//! The second read for an answer that does not account for the bloom of its header. After a few tries it returns logs
//! in any case.

use super::{BloomMismatch, EVIDENCE, have_root};
use crate::error::ChainError;
use crate::logs::{BlockSelector, LOGS, RECEIPTS};
use crate::node::evidence::bloom::AnsweredItems;
use crate::node::{BlockWithLogs, Node};
use chainflume_core::domain::{Log, LogFilter, Logs};
use chainflume_ops::metrics;

/// The logs from a block's receipts, and whether the receipts have the root of the header.
struct ReceiptLogs {
    logs: Logs,
    proven: bool,
}

impl Node {
    /// The answer of another provider, if it has all logs of the first answer and more, and the bloom holds them.
    pub(crate) fn more_complete(
        &self,
        first: &BlockWithLogs,
        mismatch: &BloomMismatch,
        second: BlockWithLogs,
    ) -> Option<BlockWithLogs> {
        let more = has_more(&second.logs, &first.logs) && has_all(&second.logs, &first.logs);
        let fits = more && AnsweredItems::of(&second.logs).is_within(&mismatch.bloom);
        fits.then(|| self.found_missing(second))
    }

    /// The logs of a block after a mismatch. The receipts decide: a node reads them from another index than logs. If
    /// the receipts have the root of the header, their logs are returned. If the root cannot be checked, their logs
    /// are returned only if they have all logs of the first answer and more, and the bloom holds them.
    ///
    /// # Errors
    /// Why a request failed, or that the answers contradict each other. After a few errors in a row the first answer
    /// is returned.
    pub(crate) async fn resolved(
        &self,
        filter: &LogFilter,
        first: BlockWithLogs,
        mismatch: &BloomMismatch,
    ) -> Result<BlockWithLogs, ChainError> {
        let block = first.block;
        let ReceiptLogs { logs, proven } = match self.look_at_receipts(filter, &first, mismatch).await {
            Ok(second) => second,
            Err(error) => return self.without_receipts(filter, first, mismatch, error).await,
        };
        let second = BlockWithLogs { block, logs };
        if same(&second.logs, &first.logs) || (!proven && !has_more(&second.logs, &first.logs)) {
            return Ok(self.accept(first, mismatch));
        }
        if proven {
            return Ok(self.found_missing(second));
        }
        if let Some(second) = self.more_complete(&first, mismatch, second) {
            return Ok(second);
        }
        let reason = format!("logs and receipts of block {} contradict each other", block.number);
        let error = self.rejected(RECEIPTS, reason);
        self.unresolved(first, mismatch, error)
    }

    async fn look_at_receipts(
        &self,
        filter: &LogFilter,
        first: &BlockWithLogs,
        mismatch: &BloomMismatch,
    ) -> Result<ReceiptLogs, ChainError> {
        let block = first.block;
        let blocks = BlockSelector::Hash { number: block.number, hash: block.hash };
        let receipts = self.receipts(blocks).await?;
        let proven = match mismatch.receipts_root.map(|root| have_root(&receipts, root)) {
            Some(Ok(true)) => {
                self.trust.proof.passed();
                true
            }
            // This chain may encode receipts in another way. The check is given up if it keeps failing.
            Some(Ok(false)) if !self.trust.proof.keeps_failing() => {
                let reason = format!("the receipts of block {} are not those of its header", block.number);
                self.trust.proof.failed(&reason);
                return Err(self.rejected(RECEIPTS, reason));
            }
            _ => false,
        };
        Ok(ReceiptLogs { logs: self.logs_in(receipts, filter, blocks)?, proven })
    }

    /// Repeats the request for logs where receipts are missing or wrong: a gateway may use another backend by then.
    async fn without_receipts(
        &self,
        filter: &LogFilter,
        first: BlockWithLogs,
        mismatch: &BloomMismatch,
        error: ChainError,
    ) -> Result<BlockWithLogs, ChainError> {
        let second = self.with_logs(filter, first.block).await?;
        match self.more_complete(&first, mismatch, second) {
            Some(second) => Ok(second),
            None => self.unresolved(first, mismatch, error),
        }
    }

    /// Handles a mismatch without stronger evidence: the read is retried, and after a few tries the answer is
    /// accepted.
    fn unresolved(
        &self,
        first: BlockWithLogs,
        mismatch: &BloomMismatch,
        error: ChainError,
    ) -> Result<BlockWithLogs, ChainError> {
        if !mismatch.has_evidence() {
            return Ok(self.accept(first, mismatch));
        }
        if !self.trust.count_try(first.block.hash) {
            return Err(error);
        }
        if let Some(suppressed) = self.trust.lines.admit("unsettled") {
            let (chain, host, block, suppressed) =
                (self.rpc.chain(), self.host(), first.block.number, suppressed.field());
            tracing::warn!(
                chain,
                host,
                block,
                %error,
                suppressed,
                "the header announces logs that the node does not return, and no receipts can be fetched; the answer is \
                 used without proof: run `chainflume verify` against another provider"
            );
        }
        Ok(self.accept(first, mismatch))
    }

    /// Returns the first answer and counts the mismatch as a false positive.
    fn accept(&self, first: BlockWithLogs, mismatch: &BloomMismatch) -> BlockWithLogs {
        self.trust.false_positives.refuted(&mismatch.mismatches);
        if !first.logs.is_empty() {
            self.rpc.health.passed(EVIDENCE);
        }
        first
    }

    /// Returns the complete logs, and counts a failure of this node, whose index lacks some of them.
    fn found_missing(&self, second: BlockWithLogs) -> BlockWithLogs {
        self.trust.false_positives.reset();
        metrics::evidence_founded(self.rpc.chain(), self.host());
        let number = second.block.number;
        let reason = format!(
            "logs of block {number} are missing, although its header announces them and another answer contains them"
        );
        let error = self.rpc.bad(LOGS, reason);
        self.rpc.health.proven_wrong(EVIDENCE, &error);
        if let Some(suppressed) = self.trust.lines.admit("founded") {
            let (chain, host, suppressed) = (self.rpc.chain(), self.host(), suppressed.field());
            tracing::warn!(
                chain,
                host,
                block = number,
                suppressed,
                "the node left out logs of a block; another provider returned them"
            );
        }
        second
    }
}

/// Whether the logs are the same, apart from block times, which some nodes leave out.
fn same(one: &Logs, other: &Logs) -> bool {
    let timeless = |log: Log| Log { block_timestamp: None, ..log };
    one.len() == other.len() && one.iter().map(timeless).eq(other.iter().map(timeless))
}

fn has_more(one: &Logs, other: &Logs) -> bool {
    one.len() > other.len()
}

/// Whether `one` has each log of `other`; both are in chain order.
fn has_all(one: &Logs, other: &Logs) -> bool {
    let timeless = |log: Log| Log { block_timestamp: None, ..log };
    let mut rest = one.iter().map(timeless);
    other.iter().map(timeless).all(|log| rest.any(|candidate| candidate == log))
}
