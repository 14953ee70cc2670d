//! The second look at an answer that does not account for the bloom of its header. After a few tries it returns logs in any case.

use super::{BloomMismatch, EVIDENCE, root_of};
use crate::error::ChainError;
use crate::logs::{BlockSelector, LOGS, RECEIPTS};
use crate::node::evidence::bloom::AnsweredItems;
use crate::node::{BlockWithLogs, Node};
use chainflume_core::domain::{Log, LogFilter, Logs};
use chainflume_ops::metrics;

/// The logs out of a block's receipts, and whether these have the root of the header.
struct ReceiptLogs {
    logs: Logs,
    proven: bool,
}

impl Node {
    /// What another provider answered, if it has all logs of the first answer and more, and the header admits them.
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

    /// The logs of a block after a mismatch. The receipts decide, which are another index than that of the logs. If they have the
    /// root of the header, their logs are returned, whatever they contain. If the root cannot be checked, their logs are
    /// returned where they are more than was answered and the header admits all of them.
    ///
    /// # Errors
    /// Why the node cannot be asked, or that its answers contradict each other. After a few errors in a row the first answer is
    /// returned.
    pub(crate) async fn resolved(
        &self,
        filter: &LogFilter,
        first: BlockWithLogs,
        mismatch: &BloomMismatch,
    ) -> Result<BlockWithLogs, ChainError> {
        let block = first.block;
        let ReceiptLogs { logs, proven } = match self.look_at_receipts(filter, &first, mismatch).await {
            Ok(second) => second,
            Err(error) => return self.without_receipts(filter, first, (mismatch, error)).await,
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
        let proven = match (mismatch.receipts_root, root_of(&receipts)) {
            (Some(root), Ok(found)) if found == root => {
                self.trust.proof.passed();
                true
            }
            // How this chain encodes them may be another way than ours: found out by asking again.
            (Some(_), Ok(_)) if !self.trust.proof.keeps_failing() => {
                let reason = format!("the receipts of block {} are not those of its header", block.number);
                self.trust.proof.failed(&reason);
                return Err(self.rejected(RECEIPTS, reason));
            }
            _ => false,
        };
        Ok(ReceiptLogs { logs: self.logs_in(receipts, filter, blocks)?, proven })
    }

    /// Where receipts are missing or wrong, the same question is asked once more: a gateway may ask another backend by then.
    async fn without_receipts(
        &self,
        filter: &LogFilter,
        first: BlockWithLogs,
        (mismatch, error): (&BloomMismatch, ChainError),
    ) -> Result<BlockWithLogs, ChainError> {
        let second = self.with_logs(filter, first.block).await?;
        match self.more_complete(&first, mismatch, second) {
            Some(second) => Ok(second),
            None => self.unresolved(first, mismatch, error),
        }
    }

    /// No stronger evidence is available now: the read is retried, and the answer is accepted after a few tries.
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

    /// Returns the logs that this node left out, and counts a failure of the node: its index lacks logs.
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

/// Whether these are the same, whether or not they have their time.
fn same(one: &Logs, other: &Logs) -> bool {
    let timeless = |log: Log| Log { block_timestamp: None, ..log };
    one.len() == other.len() && one.iter().map(timeless).eq(other.iter().map(timeless))
}

fn has_more(one: &Logs, other: &Logs) -> bool {
    one.len() > other.len()
}

/// Whether one has each log of the other; both are in chain order.
fn has_all(one: &Logs, other: &Logs) -> bool {
    let timeless = |log: Log| Log { block_timestamp: None, ..log };
    let mut rest = one.iter().map(timeless);
    other.iter().map(timeless).all(|log| rest.any(|candidate| candidate == log))
}
