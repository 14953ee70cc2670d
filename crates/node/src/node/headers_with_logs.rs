//! Near the head: a block's header and its logs in one request, where its hash is known beforehand. What one request
//! asks one backend answers, so that header and logs are of the same moment; and it saves a round trip.

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

/// A block near the head, and its logs where they came along.
#[derive(Debug)]
pub struct HeaderWithLogs {
    pub(crate) seal: HeaderSeal,
    /// In chain order; `None` where they are still to be asked for.
    pub(crate) logs: Option<Logs>,
}

impl HeaderWithLogs {
    /// The block.
    pub fn block(&self) -> BlockRef {
        self.seal.block
    }
}

impl Node {
    /// The newest block, and in the same request the one that is read next, with its logs: the head itself, if it is the one
    /// that was announced, or a block below whose hash is known. The second is only there where all of it was had and
    /// its hash is the one that was expected. It comes without logs where few blocks need a question for them.
    ///
    /// # Errors
    /// As [`Self::head`].
    pub async fn head_and_next(
        &self,
        filter: &LogFilter,
        (announced, next): (BlockId, u64),
    ) -> Result<(BlockRef, Option<HeaderWithLogs>), ChainError> {
        let is_head = next == announced.number;
        let hash = if is_head { Some(announced.hash) } else { self.recent.hash(next) };
        let calls = if is_head { 2 } else { 3 };
        let Some(hash) = hash.filter(|_| self.asks_together(filter, calls)) else {
            return Ok((self.head().await?, None));
        };
        let latest = RpcCall::new(HEADER, json!(["latest", false]));
        let header = (!is_head).then(|| RpcCall::new(HEADER, json!([hex(next), false])));
        let with_logs = !self.exclusion.expects_none();
        let logs = with_logs.then(|| logs_question(filter, BlockSelector::Hash { number: next, hash }));
        let questions: Vec<RpcCall> = [Some(latest), header, logs].into_iter().flatten().collect();
        let mut answers = self.rpc.ask_all::<Box<RawValue>>(&questions).await?.into_iter();
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

    /// Whether so many calls, of which some are for logs, are one request that one backend answers.
    fn asks_together(&self, filter: &LogFilter, calls: usize) -> bool {
        self.rpc.takes_batch(calls) && !self.asks_in_parts(filter) && !self.asks_receipts()
    }

    /// The canonical blocks at these heights, up to the first the node lacks. Logs come along where the hash of their
    /// block is known, as that of a head or of a parent: they are asked for by hash and not by height, since only
    /// that a node that lacks the block must refuse.
    ///
    /// # Errors
    /// As [`Self::block`]. Logs that could not be had are no error yet: they are asked for again by themselves.
    pub async fn near(&self, filter: &LogFilter, numbers: &[u64]) -> Result<Vec<HeaderWithLogs>, ChainError> {
        let hashes: Vec<Option<B256>> = numbers.iter().map(|number| self.recent.hash(*number)).collect();
        let calls = numbers.len() + hashes.iter().flatten().count();
        // What does not fit one request would be asked in two, one after the other: then headers alone are quicker.
        // And most blocks may need no question for logs.
        if !self.asks_together(filter, calls) || calls == numbers.len() || self.exclusion.expects_none() {
            let seals = self.headers(numbers).await?.into_iter().map_while(|seal| seal);
            return Ok(seals.map(|seal| HeaderWithLogs { seal, logs: None }).collect());
        }
        let question = |(number, hash): (&u64, &Option<B256>)| {
            let logs = hash.map(|hash| logs_question(filter, BlockSelector::Hash { number: *number, hash }));
            [Some(RpcCall::new(HEADER, json!([hex(*number), false]))), logs]
        };
        let questions: Vec<RpcCall> = numbers.iter().zip(&hashes).flat_map(question).flatten().collect();
        let mut answers = self.rpc.ask_all::<Box<RawValue>>(&questions).await?.into_iter();
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

    /// The header at this height out of the answer about it.
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

    /// `None` where the answer is an error or does not pass the checks, which is a failure of the node.
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

/// `eth_getLogs`, as it is asked whole.
pub(crate) fn logs_question(filter: &LogFilter, blocks: BlockSelector) -> RpcCall {
    let mut query = match blocks {
        BlockSelector::Range(range) => json!({ "fromBlock": hex(range.from()), "toBlock": hex(range.to()) }),
        BlockSelector::Hash { hash, .. } => json!({ "blockHash": hash }),
    };
    if let Some(addresses) = &filter.addresses {
        query["address"] = json!(addresses);
    }
    // A position that is given, be it open, asks for logs that have it.
    let mut topics: Vec<_> = [&filter.topic0].into_iter().chain(&filter.values).collect();
    while topics.pop_if(|last| last.is_none()).is_some() {}
    if !topics.is_empty() {
        query["topics"] = json!(topics);
    }
    RpcCall { method: LOGS, params: json!([query]), width: blocks.width() }
}
