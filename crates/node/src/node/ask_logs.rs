//! Fetches logs in as many requests as needed. A filter with lists that are too long is split. If the logs of a
//! single block are too much for one answer, its addresses are split, then its topics, and last its receipts are
//! read.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::try_join_all;
use serde_json::json;

use super::headers_with_logs::logs_call;
use super::{BlockWithLogs, Node, hex};
use crate::error::ChainError;
use crate::logs::{BlockSelector, CheckedLogs, LOGS, RECEIPTS, checked};
use crate::rpc::RpcCall;
use crate::wire::{ReadLog, WireReceipt, WireTransactions};
use chainflume_core::domain::{B256, BlockRange, BlockRef, Log, LogFilter, Logs};

/// How often a request for the logs of one block fails before the request is split.
const FAILURES_BEFORE_SPLIT: u32 = 3;
/// A whole request fails at once: the caller decides whether to request less.
const ONE_TRY: u32 = 1;
/// Tries of a part. Without retries, dozens of calls in a row would never all succeed on a node that fails one in
/// fifty.
const PART_TRIES: u32 = 3;
/// Pause between two tries: a gateway may use another backend by then.
const PART_PAUSE: Duration = Duration::from_millis(100);
/// From this number of parts on, the logs of a block are requested by topics alone. That answer is larger: it has the
/// logs of all contracts with these events.
const MANY_PARTS: usize = 4;
/// Receipts requested at the same time: enough to hide the latency of one.
const RECEIPTS_AT_ONCE: usize = 8;

impl Node {
    /// Logs of a range, in chain order.
    ///
    /// # Errors
    /// Why the request failed, or why its answer failed a check.
    pub async fn logs(&self, filter: &LogFilter, range: BlockRange) -> Result<Logs, ChainError> {
        self.logs_of(filter, BlockSelector::Range(range), ONE_TRY).await
    }

    /// Logs of a block by its hash. Only such a request must be refused by a node that lacks the block (EIP-234).
    ///
    /// # Errors
    /// As [`Self::logs`].
    pub async fn with_logs(&self, filter: &LogFilter, block: BlockRef) -> Result<BlockWithLogs, ChainError> {
        let blocks = BlockSelector::Hash { number: block.number, hash: block.hash };
        let logs = match self.logs_of_all_addresses(filter, blocks).await? {
            Some(logs) => logs,
            None => self.logs_of(filter, blocks, ONE_TRY).await?,
        };
        Ok(BlockWithLogs { block, logs })
    }

    /// The logs of one block, requested by topics alone and filtered here: one request instead of many, where the
    /// filter has far more addresses than the endpoint accepts. `None` where the filter has not, or where the
    /// endpoint has refused such a request.
    async fn logs_of_all_addresses(
        &self,
        filter: &LogFilter,
        block: BlockSelector,
    ) -> Result<Option<Logs>, ChainError> {
        let most = self.filter_limits.lock().unwrap_or_else(PoisonError::into_inner).addresses;
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
        let answer = retry_unexplained(tries, || Box::pin(self.logs_once(filter, blocks))).await;
        self.or_otherwise(answer, filter, blocks).await
    }

    /// The answer to a request for logs. Where the request failed, the answers to smaller requests or the logs of
    /// receipts.
    pub(crate) async fn or_otherwise(
        &self,
        answer: Result<Logs, ChainError>,
        filter: &LogFilter,
        blocks: BlockSelector,
    ) -> Result<Logs, ChainError> {
        let error = match answer {
            Err(error) => error,
            answer => {
                self.unexplained_failures.store(0, Ordering::Relaxed);
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
        let call = logs_call(filter, blocks);
        self.rpc.demand_each(&call, |read: ReadLog| checked.push(&read.0)).await?;
        self.accepted(LOGS, checked.finish())
    }

    /// The answer, where it passed the checks. A wrong answer counts as a failure of the node.
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

    /// The wanted logs, taken from all receipts of the block. This is the last resort.
    pub(crate) async fn logs_of_receipts(
        &self,
        filter: &LogFilter,
        blocks: BlockSelector,
    ) -> Result<Logs, ChainError> {
        let receipts = self.receipts(blocks).await?;
        // A node that has pruned the receipts may return an empty list, and no further request would notice it.
        if receipts.is_empty() && !self.transactions(blocks).await?.may_be_empty() {
            let reason = "no receipts for a block whose header commits to some";
            return self.accepted(RECEIPTS, Err(reason.to_owned()));
        }
        self.logs_in(receipts, filter, blocks)
    }

    /// All receipts of a block in their order, in one call or one call each.
    pub(crate) async fn receipts(&self, blocks: BlockSelector) -> Result<Vec<WireReceipt>, ChainError> {
        let id = match blocks {
            BlockSelector::Range(range) => json!(hex(range.from())),
            BlockSelector::Hash { hash, .. } => json!(hash),
        };
        let call = RpcCall::new(RECEIPTS, json!([id]));
        match retry_unexplained(PART_TRIES, || self.rpc.demand(&call)).await {
            Err(error) if error.has_other_ways() => self.receipts_one_by_one(blocks).await,
            answer => answer,
        }
    }

    /// Those logs of a block's receipts that the filter wants.
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

    /// The transactions of a block, by hash.
    async fn transactions(&self, blocks: BlockSelector) -> Result<WireTransactions, ChainError> {
        let call = match blocks {
            BlockSelector::Range(range) => {
                RpcCall::new("eth_getBlockByNumber", json!([hex(range.from()), false]))
            }
            BlockSelector::Hash { hash, .. } => RpcCall::new("eth_getBlockByHash", json!([hash, false])),
        };
        retry_unexplained(PART_TRIES, || self.rpc.demand(&call)).await
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
        let call = RpcCall::new(METHOD, json!([transaction]));
        let receipt: WireReceipt = retry_unexplained(PART_TRIES, || self.rpc.demand(&call)).await?;
        match receipt.block_hash().filter(|found| *found != block) {
            None => Ok(receipt),
            Some(found) => Err(self.rpc.bad(METHOD, format!("its block is {found}, expected was {block}"))),
        }
    }

    /// Counts a failure without a reason. Returns whether there were enough in a row to split the request.
    fn count_unexplained(&self, error: &ChainError) -> bool {
        error.is_unexplained()
            && self.unexplained_failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_BEFORE_SPLIT
    }

    /// Whether the filter has lists that are longer than the endpoint accepts.
    pub(crate) fn asks_in_parts(&self, filter: &LogFilter) -> bool {
        self.too_long(filter).is_some()
    }

    /// The halves of a filter with a list that is longer than the endpoint accepts.
    fn too_long(&self, filter: &LogFilter) -> Option<(LogFilter, LogFilter)> {
        let most = *self.filter_limits.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// The halves of a filter that was just refused for its lists. Not every node names the list, so the longest one
    /// is split. Half of its length is the limit from now on.
    fn split_lists(&self, filter: &LogFilter) -> Option<(LogFilter, LogFilter)> {
        let (addresses, topics) = (count(filter.addresses.as_ref()), count(filter.topic0.as_ref()));
        let values = filter.values.iter().map(|values| count(values.as_ref())).max().unwrap_or_default();
        let mut most = self.filter_limits.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Makes a call up to `tries` times, while it fails without a reason.
async fn retry_unexplained<T, F: Future<Output = Result<T, ChainError>>>(
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

/// Splits by addresses, then by first topics, then by values of the other topics.
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

/// The first half is never the shorter one.
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
