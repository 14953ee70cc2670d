//! Requests logs in as many requests as needed. A filter with too long lists is split. If a single block is too much for one answer, its
//! addresses are split, then its topics, and last its receipts are read.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::try_join_all;
use serde_json::json;

use super::headers_with_logs::logs_question;
use super::{BlockWithLogs, Node, hex};
use crate::error::ChainError;
use crate::logs::{BlockSelector, CheckedLogs, LOGS, RECEIPTS, checked};
use crate::rpc::RpcCall;
use crate::wire::{ReadLog, WireReceipt, WireTransactions};
use chainflume_core::domain::{B256, BlockRange, BlockRef, Log, LogFilter, Logs};

/// How often a request for the logs of one block fails before the request is split.
const STUCK: u32 = 3;
/// A whole question fails at once: the caller decides whether to ask for less.
const ONCE: u32 = 1;
/// How often a part is asked for: dozens of calls that have to succeed in a row would else never be answered by a node
/// that fails one in fifty.
const PART_TRIES: u32 = 3;
/// Between two of them: a gateway has another backend by then.
const PART_PAUSE: Duration = Duration::from_millis(100);
/// From so many questions for parts of the addresses on a block is asked for by topics alone. An answer to that is larger: it has
/// the logs of all contracts with these events.
const MANY_PARTS: usize = 4;
/// Receipts asked for at the same time: enough to hide the latency of one.
const RECEIPTS_AT_ONCE: usize = 8;

impl Node {
    /// Logs of a range, in chain order.
    ///
    /// # Errors
    /// Why the request failed, or why its answer failed a check.
    pub async fn logs(&self, filter: &LogFilter, range: BlockRange) -> Result<Logs, ChainError> {
        self.logs_of(filter, BlockSelector::Range(range), ONCE).await
    }

    /// Logs of a block by its hash, the only question a node that lacks the block must refuse (EIP-234).
    ///
    /// # Errors
    /// As [`Self::logs`].
    pub async fn with_logs(&self, filter: &LogFilter, block: BlockRef) -> Result<BlockWithLogs, ChainError> {
        let blocks = BlockSelector::Hash { number: block.number, hash: block.hash };
        let logs = match self.logs_of_all_addresses(filter, blocks).await? {
            Some(logs) => logs,
            None => self.logs_of(filter, blocks, ONCE).await?,
        };
        Ok(BlockWithLogs { block, logs })
    }

    /// The logs of one block by its topics alone, of which ours are kept: one question instead of many, where the endpoint takes far
    /// fewer addresses at once than there are. `None` where it does not, or where the endpoint has refused that.
    async fn logs_of_all_addresses(
        &self,
        filter: &LogFilter,
        block: BlockSelector,
    ) -> Result<Option<Logs>, ChainError> {
        let most = self.lists.lock().unwrap_or_else(PoisonError::into_inner).addresses;
        let parts = most.map_or(1, |most| count(filter.addresses.as_ref()).div_ceil(most.max(1)));
        if parts < MANY_PARTS || filter.topic0.is_none() {
            return Ok(None);
        }
        let (topic0, values) = (filter.topic0.clone(), filter.values.clone());
        let every = LogFilter { addresses: None, topic0, values };
        if self.asks_in_parts(&every) || self.by_topics.is_off() {
            return Ok(None);
        }
        match self.logs_once(&every, block).await {
            Ok(logs) => {
                let is_ours = |log: &Log| filter.admits(&log.address, log.topics.as_slice().first());
                Ok(Some(logs.iter().filter(is_ours).collect()))
            }
            Err(error) if error.narrows().is_some() || error.splits_filter() || error.is_unexplained() => {
                self.by_topics.refused();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn logs_of(
        &self,
        filter: &LogFilter,
        blocks: BlockSelector,
        tries: u32,
    ) -> Result<Logs, ChainError> {
        if let Some(parts) = self.too_long(filter) {
            return self.logs_of_both(parts, blocks).await;
        }
        let answer = patiently(tries, || Box::pin(self.logs_once(filter, blocks))).await;
        self.or_otherwise(answer, filter, blocks).await
    }

    /// The answer to a question for logs, or where that failed what can be asked instead.
    pub(crate) async fn or_otherwise(
        &self,
        answer: Result<Logs, ChainError>,
        filter: &LogFilter,
        blocks: BlockSelector,
    ) -> Result<Logs, ChainError> {
        let error = match answer {
            Err(error) => error,
            answer => {
                self.stuck.store(0, Ordering::Relaxed);
                return answer;
            }
        };
        if error.splits_filter() {
            let Some(parts) = self.split_lists(filter) else { return Err(error) };
            return self.logs_of_both(parts, blocks).await;
        }
        let too_much = blocks.is_one() && (error.narrows().is_some() || self.count_unexplained(&error));
        match split(filter) {
            Some(parts) if too_much => self.logs_of_both(parts, blocks).await,
            None if too_much => self.logs_of_receipts(filter, blocks).await,
            _ => Err(error),
        }
    }

    async fn logs_of_both(
        &self,
        (one, other): (LogFilter, LogFilter),
        blocks: BlockSelector,
    ) -> Result<Logs, ChainError> {
        let one = Box::pin(self.logs_of(&one, blocks, PART_TRIES)).await?;
        let other = Box::pin(self.logs_of(&other, blocks, PART_TRIES)).await?;
        Ok(one.merge(&other))
    }

    pub(crate) async fn logs_once(
        &self,
        filter: &LogFilter,
        blocks: BlockSelector,
    ) -> Result<Logs, ChainError> {
        let mut checked = CheckedLogs::new(filter, blocks);
        let question = logs_question(filter, blocks);
        self.rpc.demand_each(&question, |read: ReadLog| checked.push(&read.0)).await?;
        self.accepted(LOGS, checked.finish())
    }

    /// The answer, where it passed the checks. A wrong answer is a failure of the node as much as no answer is.
    pub(crate) fn accepted<T>(
        &self,
        method: &'static str,
        answer: Result<T, String>,
    ) -> Result<T, ChainError> {
        const WHAT: &str = "logs that pass the checks";
        match answer {
            Ok(answer) => {
                self.rpc.health.passed(WHAT);
                Ok(answer)
            }
            Err(reason) => {
                let error = self.rpc.bad(method, reason);
                self.rpc.health.rejected(WHAT, &error);
                Err(error)
            }
        }
    }

    /// The last way: all receipts of the block, from which the wanted logs are taken.
    pub(crate) async fn logs_of_receipts(
        &self,
        filter: &LogFilter,
        blocks: BlockSelector,
    ) -> Result<Logs, ChainError> {
        let receipts = self.receipts(blocks).await?;
        // A node that has thrown a block's receipts away may answer with none, and nothing else is asked after this.
        if receipts.is_empty() && !self.transactions(blocks).await?.may_be_empty() {
            let reason = "no receipts for a block whose header has some";
            return self.accepted(RECEIPTS, Err(reason.to_owned()));
        }
        self.logs_in(receipts, filter, blocks)
    }

    /// All receipts of a block in their order, at once or one by one.
    pub(crate) async fn receipts(&self, blocks: BlockSelector) -> Result<Vec<WireReceipt>, ChainError> {
        let id = match blocks {
            BlockSelector::Range(range) => json!(hex(range.from())),
            BlockSelector::Hash { hash, .. } => json!(hash),
        };
        let question = RpcCall::new(RECEIPTS, json!([id]));
        match patiently(PART_TRIES, || self.rpc.demand(&question)).await {
            Err(error) if error.has_other_ways() => self.receipts_one_by_one(blocks).await,
            answer => answer,
        }
    }

    /// What of a block's receipts was asked for.
    pub(crate) fn logs_in(
        &self,
        receipts: Vec<WireReceipt>,
        filter: &LogFilter,
        blocks: BlockSelector,
    ) -> Result<Logs, ChainError> {
        let ours: Result<Vec<Vec<_>>, String> =
            receipts.into_iter().map(|receipt| receipt.logs_for(filter)).collect();
        let logs = ours.and_then(|ours| checked(ours.into_iter().flatten(), filter, blocks));
        self.accepted(RECEIPTS, logs)
    }

    /// The transactions of a block.
    async fn transactions(&self, blocks: BlockSelector) -> Result<WireTransactions, ChainError> {
        let question = match blocks {
            BlockSelector::Range(range) => {
                RpcCall::new("eth_getBlockByNumber", json!([hex(range.from()), false]))
            }
            BlockSelector::Hash { hash, .. } => RpcCall::new("eth_getBlockByHash", json!([hash, false])),
        };
        patiently(PART_TRIES, || self.rpc.demand(&question)).await
    }

    async fn receipts_one_by_one(&self, blocks: BlockSelector) -> Result<Vec<WireReceipt>, ChainError> {
        let block = self.transactions(blocks).await?;
        let mut receipts = Vec::with_capacity(block.transactions.len());
        for chunk in block.transactions.chunks(RECEIPTS_AT_ONCE) {
            receipts.extend(try_join_all(chunk.iter().map(|tx| self.receipt(*tx, block.hash))).await?);
        }
        Ok(receipts)
    }

    async fn receipt(&self, transaction: B256, block: B256) -> Result<WireReceipt, ChainError> {
        const METHOD: &str = "eth_getTransactionReceipt";
        let question = RpcCall::new(METHOD, json!([transaction]));
        let receipt: WireReceipt = patiently(PART_TRIES, || self.rpc.demand(&question)).await?;
        match receipt.block_hash().filter(|found| *found != block) {
            None => Ok(receipt),
            Some(found) => {
                Err(self.rpc.bad(METHOD, format!("its block is {found}, asked was one of {block}")))
            }
        }
    }

    /// Counts a failure that the node does not explain. Returns whether there were enough in a row to ask in parts.
    fn count_unexplained(&self, error: &ChainError) -> bool {
        error.is_unexplained() && self.stuck.fetch_add(1, Ordering::Relaxed) + 1 >= STUCK
    }

    /// Whether the lists of this filter are longer than the endpoint takes.
    pub(crate) fn asks_in_parts(&self, filter: &LogFilter) -> bool {
        self.too_long(filter).is_some()
    }

    /// The halves of a filter whose lists are longer than the endpoint takes.
    fn too_long(&self, filter: &LogFilter) -> Option<(LogFilter, LogFilter)> {
        let most = *self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let longer = |len: usize, most: Option<usize>| most.is_some_and(|most| len > most.max(1));
        if longer(count(filter.addresses.as_ref()), most.addresses) {
            return split_addresses(filter);
        }
        if longer(count(filter.topic0.as_ref()), most.topics) {
            return split_topics(filter);
        }
        let longest = filter.values.iter().map(|values| count(values.as_ref())).max();
        longer(longest.unwrap_or_default(), most.values).then(|| split_values(filter))?
    }

    /// The halves of a filter that has just been refused for its lists. Not every node names which of the two is
    /// meant; the longer one is taken, and its half is what is asked for from now on.
    fn split_lists(&self, filter: &LogFilter) -> Option<(LogFilter, LogFilter)> {
        let (addresses, topics) = (count(filter.addresses.as_ref()), count(filter.topic0.as_ref()));
        let values = filter.values.iter().map(|values| count(values.as_ref())).max().unwrap_or_default();
        let mut most = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if values > addresses.max(topics) {
            let halves = split_values(filter)?;
            most.values = Some(values.div_ceil(2));
            return Some(halves);
        }
        if addresses >= topics {
            let halves = split_addresses(filter)?;
            most.addresses = Some(addresses.div_ceil(2));
            return Some(halves);
        }
        let halves = split_topics(filter)?;
        most.topics = Some(topics.div_ceil(2));
        Some(halves)
    }
}

/// Asks again, up to so often, where a call failed for no reason given.
async fn patiently<T, F: Future<Output = Result<T, ChainError>>>(
    tries: u32,
    ask: impl Fn() -> F,
) -> Result<T, ChainError> {
    for _ in 1..tries {
        match ask().await {
            Err(error) if error.is_unexplained() => tokio::time::sleep(PART_PAUSE).await,
            answer => return answer,
        }
    }
    ask().await
}

fn count<T>(list: Option<&BTreeSet<T>>) -> usize {
    list.map_or(0, BTreeSet::len)
}

/// By addresses, then by first topics, then by the values of the others.
fn split(filter: &LogFilter) -> Option<(LogFilter, LogFilter)> {
    split_addresses(filter).or_else(|| split_topics(filter)).or_else(|| split_values(filter))
}

fn split_addresses(filter: &LogFilter) -> Option<(LogFilter, LogFilter)> {
    let half = |addresses| LogFilter { addresses: Some(addresses), ..filter.clone() };
    filter.addresses.as_ref().and_then(halve).map(|(one, other)| (half(one), half(other)))
}

fn split_topics(filter: &LogFilter) -> Option<(LogFilter, LogFilter)> {
    let half = |topics| LogFilter { topic0: Some(topics), ..filter.clone() };
    filter.topic0.as_ref().and_then(halve).map(|(one, other)| (half(one), half(other)))
}

fn split_values(filter: &LogFilter) -> Option<(LogFilter, LogFilter)> {
    let longest = (0..filter.values.len()).max_by_key(|index| count(filter.values[*index].as_ref()))?;
    let half = |values| {
        let mut half = filter.clone();
        half.values[longest] = Some(values);
        half
    };
    filter.values[longest].as_ref().and_then(halve).map(|(one, other)| (half(one), half(other)))
}

/// The first is never the shorter one.
fn halve<T: Ord + Copy>(set: &BTreeSet<T>) -> Option<(BTreeSet<T>, BTreeSet<T>)> {
    let middle = *set.iter().nth(set.len().div_ceil(2)).filter(|_| set.len() > 1)?;
    let mut one = set.clone();
    let other = one.split_off(&middle);
    Some((one, other))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;

    use super::*;

    #[test]
    fn a_filter_splits_by_addresses_then_by_topics_then_by_values() {
        let address = |n: u8| Address::repeat_byte(n);
        let topic = |n: u8| B256::repeat_byte(n);
        let filter = LogFilter {
            addresses: Some([address(1), address(2), address(3)].into()),
            topic0: Some([topic(1), topic(2)].into()),
            values: [None, Some([topic(7), topic(8), topic(9)].into()), None],
        };
        let (one, other) = split(&filter).expect("three addresses");
        assert_eq!(one.addresses, Some([address(1), address(2)].into()));
        assert_eq!(other.addresses, Some([address(3)].into()));
        assert_eq!(one.topic0, filter.topic0);
        let (one, other) = split(&other).expect("two topics");
        assert_eq!((one.topic0.clone(), other.topic0), (Some([topic(1)].into()), Some([topic(2)].into())));
        let (one, other) = split(&one).expect("three values");
        assert_eq!(one.values, [None, Some([topic(7), topic(8)].into()), None]);
        assert_eq!(other.values, [None, Some([topic(9)].into()), None]);
        assert_eq!(split(&other), None);
    }
}
