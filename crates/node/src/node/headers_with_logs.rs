//! Fetches blocks near the head: header and logs in one request, where the hash of the block is known beforehand. One
//! backend answers one request, so header and logs are of the same moment. This also saves a round trip.

use alloy_primitives::B256;
use serde::de::DeserializeOwned;
use serde_json::json;
use serde_json::value::RawValue;

use super::header_seal::HeaderSeal;
use super::{HEADER, Node, hex, or_missing};
use crate::error::ChainError;
use crate::logs::{BlockSelector, LOGS, checked};
use crate::rpc::{RawResult, RpcCall};
use crate::wire::{ReadLog, WireHeader};
use chainflume_core::domain::{BlockId, BlockRef, LogFilter, Logs};

/// A header near the head, with its logs where they came in the same request.
#[derive(Debug)]
pub struct HeaderWithLogs {
    pub(crate) seal: HeaderSeal,
    /// In chain order; `None` where they are still to be requested.
    pub(crate) logs: Option<Logs>,
}

impl HeaderWithLogs {
    /// The block.
    pub fn block(&self) -> BlockRef {
        self.seal.block
    }
}

impl Node {
    /// The newest block, and in the same request the block `next` with its logs. That is the announced head, or a block
    /// below it whose hash is known. The second value is `None` unless all of that block was returned, under the
    /// expected hash. It has no logs where few blocks need a request for them.
    ///
    /// # Errors
    /// As [`Self::head`].
    pub async fn head_and_next(
        &self,
        filter: &LogFilter,
        announced: BlockId,
        next: u64,
    ) -> Result<(BlockRef, Option<HeaderWithLogs>), ChainError> {
        let is_head = next == announced.number;
        let hash = if is_head { Some(announced.hash) } else { self.recent.hash(next) };
        let calls = if is_head { 2 } else { 3 };
        let Some(hash) = hash.filter(|_| self.fits_one_request(filter, calls)) else {
            return Ok((self.head().await?, None));
        };
        let latest = RpcCall::new(HEADER, json!(["latest", false]));
        let header = (!is_head).then(|| RpcCall::new(HEADER, json!([hex(next), false])));
        let with_logs = !self.exclusion.expects_none();
        let logs = with_logs.then(|| logs_call(filter, BlockSelector::Hash { number: next, hash }));
        let calls: Vec<RpcCall> = [Some(latest), header, logs].into_iter().flatten().collect();
        let mut answers = self.rpc.ask_all::<Box<RawValue>>(&calls).await?.into_iter();
        let head = self.newest(self.seal_of(answers.next())?)?;
        let seal = if is_head { Some(head) } else { self.header_of(answers.next(), next).ok().flatten() };
        let seal = seal.filter(|seal| seal.block.hash == hash);
        let near = match (seal, answers.next()) {
            (Some(seal), Some(logs)) => {
                let logs = self.logs_of_answer(logs, filter, &seal.block);
                logs.map(|logs| HeaderWithLogs { seal, logs: Some(logs) })
            }
            (seal, _) => seal.filter(|_| !with_logs).map(|seal| HeaderWithLogs { seal, logs: None }),
        };
        Ok((head.block, near))
    }

    /// Whether this number of calls, some of them for logs, fits one request.
    fn fits_one_request(&self, filter: &LogFilter, calls: usize) -> bool {
        self.rpc.takes_batch(calls) && !self.asks_in_parts(filter) && !self.asks_receipts()
    }

    /// The canonical blocks at these heights, up to the first that the node lacks. Logs come in the same request
    /// where the hash of their block is known. They are requested by hash and not by height: only such a request must
    /// be refused by a node that lacks the block.
    ///
    /// # Errors
    /// As [`Self::block`]. Logs that failed are no error here: they are requested again by themselves.
    pub async fn headers_with_logs(
        &self,
        filter: &LogFilter,
        numbers: &[u64],
    ) -> Result<Vec<HeaderWithLogs>, ChainError> {
        let hashes: Vec<Option<B256>> = numbers.iter().map(|number| self.recent.hash(*number)).collect();
        let calls = numbers.len() + hashes.iter().flatten().count();
        // What does not fit one request would need two, one after the other: then headers alone are quicker. Headers
        // alone are also enough where most blocks need no request for logs.
        if !self.fits_one_request(filter, calls) || calls == numbers.len() || self.exclusion.expects_none() {
            let seals = self.headers(numbers).await?.into_iter().map_while(|seal| seal);
            return Ok(seals.map(|seal| HeaderWithLogs { seal, logs: None }).collect());
        }
        let call = |(number, hash): (&u64, &Option<B256>)| {
            let logs = hash.map(|hash| logs_call(filter, BlockSelector::Hash { number: *number, hash }));
            [Some(RpcCall::new(HEADER, json!([hex(*number), false]))), logs]
        };
        let calls: Vec<RpcCall> = numbers.iter().zip(&hashes).flat_map(call).flatten().collect();
        let mut answers = self.rpc.ask_all::<Box<RawValue>>(&calls).await?.into_iter();
        let mut near = Vec::with_capacity(numbers.len());
        for (number, hash) in numbers.iter().zip(hashes) {
            let (header, logs) = (answers.next(), hash.and_then(|_| answers.next()));
            let Some(seal) = self.header_of(header, *number)? else { break };
            let logs = logs.filter(|_| hash == Some(seal.block.hash));
            let logs = logs.and_then(|logs| self.logs_of_answer(logs, filter, &seal.block));
            near.push(HeaderWithLogs { seal, logs });
        }
        Ok(near)
    }

    /// The header in an answer, which must be of this height.
    pub(crate) fn header_of(
        &self,
        answer: Option<RawResult>,
        number: u64,
    ) -> Result<Option<HeaderSeal>, ChainError> {
        self.at_height(self.seal_of(answer)?, number)
    }

    pub(crate) fn seal_of(&self, answer: Option<RawResult>) -> Result<Option<HeaderSeal>, ChainError> {
        let header = self.parsed::<WireHeader>(HEADER, answer.unwrap_or(Ok(None)));
        self.sealed(or_missing(header)?)
    }

    /// The logs in an answer. `None` where the answer is an error or fails a check, which counts as a failure of the
    /// node.
    fn logs_of_answer(&self, answer: RawResult, filter: &LogFilter, block: &BlockRef) -> Option<Logs> {
        let wire = self.parsed::<Vec<ReadLog>>(LOGS, answer).ok()??;
        let blocks = BlockSelector::Hash { number: block.number, hash: block.hash };
        self.accepted(LOGS, checked(wire, filter, blocks)).ok()
    }

    pub(crate) fn parsed<T: DeserializeOwned>(
        &self,
        method: &'static str,
        answer: RawResult,
    ) -> Result<Option<T>, ChainError> {
        let read =
            |value: Box<RawValue>| serde_json::from_str(value.get()).map_err(|error| error.to_string());
        let parsed = answer?.map(read).transpose();
        parsed.inspect(|_| self.rpc.health.passed(method)).map_err(|reason| {
            let error = self.rpc.bad(method, reason);
            self.rpc.health.rejected(method, &error);
            error
        })
    }
}

/// The call of `eth_getLogs`.
pub(crate) fn logs_call(filter: &LogFilter, blocks: BlockSelector) -> RpcCall {
    let mut query = match blocks {
        BlockSelector::Range(range) => json!({ "fromBlock": hex(range.from()), "toBlock": hex(range.to()) }),
        BlockSelector::Hash { hash, .. } => json!({ "blockHash": hash }),
    };
    if let Some(addresses) = &filter.addresses {
        query["address"] = json!(addresses);
    }
    // A trailing `null` would exclude logs with fewer topics.
    let mut topics: Vec<_> = [&filter.topic0].into_iter().chain(&filter.values).collect();
    while topics.pop_if(|last| last.is_none()).is_some() {}
    if !topics.is_empty() {
        query["topics"] = json!(topics);
    }
    RpcCall { method: LOGS, params: json!([query]), width: blocks.width() }
}
