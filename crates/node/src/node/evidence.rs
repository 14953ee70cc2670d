//! Compares what a header proves about its logs with the logs that a node returns. A header is linked by its hash to
//! all others. A node's index of logs is linked to nothing: it may lag behind, and it may have been lost and rebuilt.

mod bloom;
mod exclusion;
mod false_positives;
mod second;
mod state;
mod times;

use std::collections::BTreeSet;

use alloy_primitives::{B256, Bloom};
use serde_json::json;

use super::header_seal::HeaderSeal;
use super::headers_with_logs::HeaderWithLogs;
use super::{BlockWithLogs, HEADER, Node};
use crate::error::ChainError;
use crate::logs::{BlockSelector, LOGS, RECEIPTS};
use crate::rpc::RpcCall;
use crate::settings::LogVerification;
use crate::wire::{UnsealedReceipt, WireReceipt};
pub(crate) use bloom::holds as bloom_holds;
use bloom::{AnsweredItems, Mismatch, holds_log, mismatches};
use chainflume_core::domain::{BlockRef, LogFilter, Logs, Receipt, receipts_root};
pub(crate) use exclusion::ExclusionTrust;
pub(crate) use state::EvidenceState;
use state::LogCheck;
use times::TimeOrder;

impl Node {
    /// Whether logs near the head are taken from receipts.
    pub(crate) fn asks_receipts(&self) -> bool {
        self.verify == LogVerification::Receipts && self.trust.receipts.is_on()
    }

    /// Remembers a header whose time fits its neighbours.
    ///
    /// # Errors
    /// That its time contradicts a neighbour's. Which of the two is wrong is not known, so both are forgotten.
    pub(crate) fn remember(&self, block: BlockRef) -> Result<(), ChainError> {
        for (below, above) in self.recent.links(block) {
            if let Err(error) = self.in_sequence(&below, &above) {
                self.recent.forget(below);
                self.recent.forget(above);
                return Err(error);
            }
        }
        self.recent.keep(block);
        Ok(())
    }

    /// Checks that the times of two blocks are plausible, the second above the first.
    ///
    /// # Errors
    /// That the times contradict each other. A node that has repeated them for long is believed.
    pub(crate) fn in_sequence(&self, below: &BlockRef, above: &BlockRef) -> Result<(), ChainError> {
        const WHAT: &str = "headers with plausible times";
        let reason = || {
            let [(lower, early), (upper, late)] = [below, above].map(|block| (block.number, block.timestamp));
            format!("block {lower} is of second {early} and block {upper} above it of second {late}")
        };
        match self.trust.times.judge(below, above) {
            TimeOrder::Plausible => Ok(()),
            TimeOrder::Absurd => {
                let error = self.rpc.bad(HEADER, reason());
                self.rpc.health.rejected(WHAT, &error);
                Err(error)
            }
            TimeOrder::Insisted => {
                self.rpc.health.passed(WHAT);
                let (chain, host, reason) = (self.rpc.chain(), self.host(), reason());
                tracing::warn!(
                    chain,
                    host,
                    reason,
                    "the node repeats block times that contradict each other; the times are used unchecked until the next start"
                );
                Ok(())
            }
        }
    }

    /// The logs of a block near the head, compared with its header.
    pub(crate) async fn compared(
        &self,
        filter: &LogFilter,
        near: HeaderWithLogs,
    ) -> Result<CheckedBlock, ChainError> {
        let HeaderWithLogs { seal, logs } = near;
        let HeaderSeal { block, bloom, receipts_root, .. } = seal;
        let sure = |logs| CheckedBlock { block: BlockWithLogs { block, logs }, mismatch: None };
        if self.asks_receipts()
            && let Some(root) = receipts_root
            && let Some(logs) = self.logs_by_root(filter, block, root).await?
        {
            return Ok(sure(logs));
        }
        let logs = match logs {
            Some(logs) => logs,
            None => self.with_logs(filter, block).await?.logs,
        };
        let bloom = bloom.filter(|_| self.verify != LogVerification::Off);
        let Some(bloom) = bloom.filter(|_| self.trust.bloom.is_on()) else {
            return Ok(sure(logs));
        };
        let answered = AnsweredItems::of(&logs);
        if let Some(log) = logs.iter().find(|log| !answered.is_within(&bloom) && !holds_log(&bloom, log)) {
            let reason =
                format!("a log of {} at {} that the header's bloom excludes", log.address, log.place);
            self.trust.bloom.failed(&reason);
            self.contradicts_bloom(block.number);
            return Err(self.rejected(LOGS, reason));
        }
        let found = mismatches(&bloom, filter, &answered);
        self.trust.false_positives.answered(&answered);
        if !found.is_empty() && self.trust.false_positives.are_due(&found) {
            let block = BlockWithLogs { block, logs };
            return Ok(CheckedBlock {
                block,
                mismatch: Some(BloomMismatch { mismatches: found, bloom, receipts_root }),
            });
        }
        if !logs.is_empty() {
            self.trust.bloom.passed();
            self.rpc.health.passed(EVIDENCE);
        }
        Ok(sure(logs))
    }

    /// Whether the logs of a range contain none of its last block, although the header of that block indicates some.
    pub(crate) fn lacks_last_logs(&self, filter: &LogFilter, last: &HeaderSeal, logs: &Logs) -> bool {
        let bloom = last.bloom.filter(|_| self.verify != LogVerification::Off && self.trust.bloom.is_on());
        let there = || logs.blocks().any(|block| block.id.number == last.block.number);
        let nothing = AnsweredItems::of(&Logs::default());
        let speaks = |bloom| mismatches(&bloom, filter, &nothing).iter().any(Mismatch::has_evidence);
        bloom.is_some_and(speaks) && !there()
    }

    /// The error for a node that left out logs of a block: the header indicates them, and another answer has them.
    pub(crate) fn missing_logs_error(&self, block: &BlockRef) -> ChainError {
        let reason =
            format!("no logs for block {}, although its header announces some and they exist", block.number);
        self.rejected(LOGS, reason)
    }

    /// The logs from all receipts of the block, whose root must be that of the header. `None` where this node's
    /// receipts cannot be checked.
    async fn logs_by_root(
        &self,
        filter: &LogFilter,
        block: BlockRef,
        root: B256,
    ) -> Result<Option<Logs>, ChainError> {
        let call = RpcCall::new(RECEIPTS, json!([block.hash]));
        let wire: Vec<WireReceipt> = match self.rpc.demand(&call).await {
            Err(error) if error.has_other_ways() => {
                self.trust.receipts.failed(&error.to_string());
                if error.is_method_off() || self.trust.receipts.keeps_failing() {
                    self.give_up(LogCheck::Receipts, &error.to_string());
                }
                return Ok(None);
            }
            answer => answer?,
        };
        match have_root(&wire, root) {
            Err(unsealed) => {
                self.trust.receipts.failed(&unsealed.to_string());
                if matches!(unsealed, UnsealedReceipt::Kind(_)) {
                    self.give_up(LogCheck::Receipts, &unsealed.to_string());
                }
                return Ok(None);
            }
            Ok(false) => {
                let reason = format!("the receipts of block {} are not those of its header", block.number);
                self.trust.receipts.failed(&reason);
                return Err(self.rejected(RECEIPTS, reason));
            }
            Ok(true) => {}
        }
        self.trust.receipts.passed();
        self.rpc.health.passed(EVIDENCE);
        let blocks = BlockSelector::Hash { number: block.number, hash: block.hash };
        self.logs_in(wire, filter, blocks).map(Some)
    }

    /// Turns off the checks that this node fails again and again. The caller has found no other provider that passes
    /// them, so the cause is in the headers of the chain or in the check, not in the logs.
    pub(crate) fn give_up_failing_checks(&self) {
        for name in LogCheck::ALL {
            let check = self.trust.check(name);
            if check.is_on() && check.keeps_failing() {
                self.give_up(name, &check.last_reason());
            }
        }
    }

    fn give_up(&self, check: LogCheck, reason: &str) {
        if self.trust.check(check).give_up() {
            self.rpc.health.passed(EVIDENCE);
            let (chain, host) = (self.rpc.chain(), self.host());
            tracing::warn!(
                chain,
                host,
                check = check.as_str(),
                reason,
                "headers and logs of this provider cannot be compared; the check is off until the next start"
            );
        }
    }

    /// The error for an answer that the header contradicts. Only logs that agree with a header end this failure: an
    /// index that lacks logs is right about every block without logs.
    fn rejected(&self, method: &'static str, reason: String) -> ChainError {
        let error = self.rpc.bad(method, reason);
        self.rpc.health.rejected(EVIDENCE, &error);
        error
    }
}

/// A block with its logs, and what in the bloom of the header they do not account for.
pub(crate) struct CheckedBlock {
    pub block: BlockWithLogs,
    pub mismatch: Option<BloomMismatch>,
}

/// A bloom filter with items that no log of an answer accounts for.
pub(crate) struct BloomMismatch {
    mismatches: BTreeSet<Mismatch>,
    bloom: Bloom,
    receipts_root: Option<B256>,
}

impl BloomMismatch {
    /// Whether the bloom is a reason to expect more logs. If not, an answer that cannot be checked is accepted.
    fn has_evidence(&self) -> bool {
        self.mismatches.iter().any(Mismatch::has_evidence)
    }
}

/// Whether a header with these receipts has this receipts root. A receipt without a type is one from before EIP-2718; where the root
/// shows that it is not, its type is not known, and nothing is shown of the others.
fn have_root(receipts: &[WireReceipt], root: B256) -> Result<bool, UnsealedReceipt> {
    let encoded: Vec<Receipt> = receipts.iter().map(WireReceipt::consensus).collect::<Result<_, _>>()?;
    let have_root = receipts_root(&encoded) == root;
    if !have_root && receipts.iter().any(WireReceipt::lacks_type) {
        return Err(UnsealedReceipt::Field("the type of a receipt is missing".to_owned()));
    }
    Ok(have_root)
}

/// The subject of these failures in the health of the node.
const EVIDENCE: &str = "logs that agree with their header";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_without_its_type_contradicts_no_header() {
        let receipts = |kind: Option<&str>| -> Vec<WireReceipt> {
            let mut receipt = json!({
                "status": "0x1", "cumulativeGasUsed": "0x5208", "logsBloom": Bloom::ZERO, "logs": [],
            });
            if let Some(kind) = kind {
                receipt["type"] = json!(kind);
            }
            serde_json::from_value(json!([receipt])).expect("receipts")
        };
        let root_of = |kind| {
            let Ok(encoded) =
                receipts(kind).iter().map(WireReceipt::consensus).collect::<Result<Vec<_>, _>>()
            else {
                panic!("it can be encoded")
            };
            receipts_root(&encoded)
        };
        let (old, new) = (root_of(Some("0x0")), root_of(Some("0x2")));
        assert!(matches!(have_root(&receipts(Some("0x2")), new), Ok(true)));
        assert!(matches!(have_root(&receipts(Some("0x2")), old), Ok(false)));
        assert!(matches!(have_root(&receipts(None), old), Ok(true)));
        assert!(matches!(have_root(&receipts(None), new), Err(UnsealedReceipt::Field(_))));
    }
}
