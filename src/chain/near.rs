//! Near the head: a block's header and its logs in one request, where its hash is known beforehand. What one request
//! asks one backend answers, so that a header stands beside logs of the same moment; and it saves a round trip.

use alloy_primitives::B256;
use serde::de::DeserializeOwned;
use serde_json::json;
use serde_json::value::RawValue;

use super::error::ChainError;
use super::logs::{Blocks, LOGS, checked};
use super::node::{HEADER, Node, hex, or_missing};
use super::rpc::Question;
use super::wire::{ReadLog, WireHeader};
use crate::domain::{BlockRef, LogFilter, Logs};

/// A block near the head, and its logs where they came along.
#[derive(Debug)]
pub struct Near {
    /// The block.
    pub block: BlockRef,
    /// In chain order; `None` where they are still to be asked for.
    pub(super) logs: Option<Logs>,
}

/// An answer before it is known what it should be.
type Answered = Result<Option<Box<RawValue>>, ChainError>;

impl Near {
    /// Whether its logs came along.
    pub fn has_logs(&self) -> bool {
        self.logs.is_some()
    }
}

impl Node {
    /// The newest block. Its logs come along where it is the one of this hash.
    ///
    /// # Errors
    /// As [`Self::head`]. Logs that could not be had are no error, as in [`Self::near`].
    pub async fn head_near(&self, filter: &LogFilter, hash: B256) -> Result<Near, ChainError> {
        let together = self.rpc.takes_batch(2) && !self.asks_in_parts(filter) && !self.asks_receipts();
        if !together {
            return Ok(Near { block: self.head().await?, logs: None });
        }
        let logs = logs_question(filter, Blocks::Hash { number: 0, hash });
        let questions = [Question::new(HEADER, json!(["latest", false])), logs];
        let mut answers = self.rpc.ask_all::<Box<RawValue>>(&questions).await?.into_iter();
        let header = or_missing(self.parsed::<WireHeader>(HEADER, answers.next().unwrap_or(Ok(None))))?;
        let block = self.sealed(header).ok_or_else(|| self.rpc.bad(HEADER, "there is no latest block"))?;
        let logs = answers.next().filter(|_| block.hash == hash);
        Ok(Near { block, logs: logs.and_then(|logs| self.logs_of_answer(logs, filter, &block)) })
    }

    /// The canonical blocks at these heights, up to the first the node lacks. Logs come along where the hash of their
    /// block was told before, as that of a head or of a parent: they are asked for by hash and not by height, since only
    /// that a node that lacks the block must refuse.
    ///
    /// # Errors
    /// As [`Self::block`]. Logs that could not be had are no error yet: they are asked for again by themselves.
    pub async fn near(&self, filter: &LogFilter, numbers: &[u64]) -> Result<Vec<Near>, ChainError> {
        let hashes: Vec<Option<B256>> = numbers.iter().map(|number| self.seals.hash(*number)).collect();
        let calls = numbers.len() + hashes.iter().flatten().count();
        // What does not fit one request would be asked in two, one after the other: then headers alone are quicker.
        let together = self.rpc.takes_batch(calls) && !self.asks_in_parts(filter) && !self.asks_receipts();
        if !together || calls == numbers.len() {
            let blocks = self.blocks(numbers).await?.into_iter().map_while(|block| block);
            return Ok(blocks.map(|block| Near { block, logs: None }).collect());
        }
        let question = |(number, hash): (&u64, &Option<B256>)| {
            let logs = hash.map(|hash| logs_question(filter, Blocks::Hash { number: *number, hash }));
            [Some(Question::new(HEADER, json!([hex(*number), false]))), logs]
        };
        let questions: Vec<Question> = numbers.iter().zip(&hashes).flat_map(question).flatten().collect();
        let mut answers = self.rpc.ask_all::<Box<RawValue>>(&questions).await?.into_iter();
        let mut near = Vec::with_capacity(numbers.len());
        for (number, hash) in numbers.iter().zip(hashes) {
            let (header, logs) = (answers.next(), hash.and_then(|_| answers.next()));
            let Some(block) = self.header_of(header, *number)? else { break };
            let logs = logs.filter(|_| hash == Some(block.hash));
            near.push(Near { block, logs: logs.and_then(|logs| self.logs_of_answer(logs, filter, &block)) });
        }
        Ok(near)
    }

    /// The block at this height out of the answer about it.
    pub(super) fn header_of(
        &self,
        answer: Option<Answered>,
        number: u64,
    ) -> Result<Option<BlockRef>, ChainError> {
        let header = or_missing(self.parsed::<WireHeader>(HEADER, answer.unwrap_or(Ok(None))))?;
        self.at_height(self.sealed(header), number)
    }

    /// `None` where the answer is an error or cannot be believed, which counts against the node.
    fn logs_of_answer(&self, answer: Answered, filter: &LogFilter, block: &BlockRef) -> Option<Logs> {
        let wire = self.parsed::<Vec<ReadLog>>(LOGS, answer).ok()??;
        let blocks = Blocks::Hash { number: block.number, hash: block.hash };
        self.believed(LOGS, checked(wire, filter, blocks)).ok()
    }

    pub(super) fn parsed<T: DeserializeOwned>(
        &self,
        method: &'static str,
        answer: Answered,
    ) -> Result<Option<T>, ChainError> {
        let read =
            |value: Box<RawValue>| serde_json::from_str(value.get()).map_err(|error| error.to_string());
        answer?.map(read).transpose().map_err(|reason| {
            let error = self.rpc.bad(method, reason);
            self.rpc.vitals.failed(method, &error);
            error
        })
    }
}

/// `eth_getLogs`, as it is asked whole.
pub(super) fn logs_question(filter: &LogFilter, blocks: Blocks) -> Question {
    let mut query = match blocks {
        Blocks::Range(range) => json!({ "fromBlock": hex(range.from()), "toBlock": hex(range.to()) }),
        Blocks::Hash { hash, .. } => json!({ "blockHash": hash }),
    };
    if let Some(addresses) = &filter.addresses {
        query["address"] = json!(addresses);
    }
    if let Some(topics) = &filter.topic0 {
        query["topics"] = json!([topics]);
    }
    Question { method: LOGS, params: json!([query]), width: blocks.width() }
}
