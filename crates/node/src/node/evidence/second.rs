//! The second look at an answer that its header leaves a doubt about. It ends with logs, and not with a refusal for ever.

use super::{Doubt, EVIDENCE, root_of};
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
    /// What another provider answered to a doubtful question, if it has all that this one has and more, and the header
    /// bears it out.
    pub(crate) fn outdone(
        &self,
        first: &BlockWithLogs,
        doubt: &Doubt,
        second: BlockWithLogs,
    ) -> Option<BlockWithLogs> {
        let more = has_more(&second.logs, &first.logs) && has_all(&second.logs, &first.logs);
        let fits = more && AnsweredItems::of(&second.logs).is_within(&doubt.bloom);
        fits.then(|| self.founded(second))
    }

    /// The logs of a block after a doubt. The receipts decide, which are another index than that of the logs: if they have the
    /// root of the header, whatever they contain; if that cannot be checked here, where they have more than was answered, all of
    /// which the header bears out.
    ///
    /// # Errors
    /// Why the node cannot be asked, or that its answers contradict each other; given up after a few of those in a row.
    pub(crate) async fn settled(
        &self,
        filter: &LogFilter,
        first: BlockWithLogs,
        doubt: &Doubt,
    ) -> Result<BlockWithLogs, ChainError> {
        let block = first.block;
        let ReceiptLogs { logs, proven } = match self.look_at_receipts(filter, &first, doubt).await {
            Ok(second) => second,
            Err(error) => return self.without_receipts(filter, first, (doubt, error)).await,
        };
        let second = BlockWithLogs { block, logs };
        if same(&second.logs, &first.logs) || (!proven && !has_more(&second.logs, &first.logs)) {
            return Ok(self.in_vain(first, doubt));
        }
        if proven {
            return Ok(self.founded(second));
        }
        if let Some(second) = self.outdone(&first, doubt, second) {
            return Ok(second);
        }
        let reason = format!("logs and receipts of block {} contradict each other", block.number);
        let error = self.disbelieved(RECEIPTS, reason);
        self.unsettled(first, doubt, error)
    }

    async fn look_at_receipts(
        &self,
        filter: &LogFilter,
        first: &BlockWithLogs,
        doubt: &Doubt,
    ) -> Result<ReceiptLogs, ChainError> {
        let block = first.block;
        let blocks = BlockSelector::Hash { number: block.number, hash: block.hash };
        let receipts = self.receipts(blocks).await?;
        let proven = match (doubt.receipts_root, root_of(&receipts)) {
            (Some(root), Ok(found)) if found == root => {
                self.trust.proof.passed();
                true
            }
            // How this chain encodes them may be another way than ours: found out by asking again.
            (Some(_), Ok(_)) if !self.trust.proof.is_worn() => {
                let reason = format!("the receipts of block {} are not those of its header", block.number);
                self.trust.proof.failed(&reason);
                return Err(self.disbelieved(RECEIPTS, reason));
            }
            _ => false,
        };
        Ok(ReceiptLogs { logs: self.logs_in(receipts, filter, blocks)?, proven })
    }

    /// Where no receipts can be had or believed the same question is asked once more: a gateway has another backend by then.
    async fn without_receipts(
        &self,
        filter: &LogFilter,
        first: BlockWithLogs,
        (doubt, error): (&Doubt, ChainError),
    ) -> Result<BlockWithLogs, ChainError> {
        let second = self.with_logs(filter, first.block).await?;
        match self.outdone(&first, doubt, second) {
            Some(second) => Ok(second),
            None => self.unsettled(first, doubt, error),
        }
    }

    /// Nothing stronger can be had just now: the read is retried, and accepted after a few tries.
    fn unsettled(
        &self,
        first: BlockWithLogs,
        doubt: &Doubt,
        error: ChainError,
    ) -> Result<BlockWithLogs, ChainError> {
        if !doubt.has_evidence() {
            return Ok(self.in_vain(first, doubt));
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
                 stored: run `chainflume verify` against another provider"
            );
        }
        Ok(self.in_vain(first, doubt))
    }

    fn in_vain(&self, first: BlockWithLogs, doubt: &Doubt) -> BlockWithLogs {
        self.trust.doubts.in_vain(&doubt.doubted);
        if !first.logs.is_empty() {
            self.rpc.health.proven(EVIDENCE);
        }
        first
    }

    /// This node's index lacks logs. They are had; another provider is better all the same.
    fn founded(&self, second: BlockWithLogs) -> BlockWithLogs {
        self.trust.doubts.founded();
        metrics::evidence_founded(self.rpc.chain(), self.host());
        let number = second.block.number;
        let reason = format!(
            "logs of block {number} are missing, although its header announces them and another answer contains them"
        );
        let error = self.rpc.bad(LOGS, reason);
        self.rpc.health.convicted(EVIDENCE, &error);
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
