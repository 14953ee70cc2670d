use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::B256;
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::error::ChainError;
use super::logs::{Blocks, checked};
use super::rpc::{Question, Rpc};
use super::settings::ChainSettings;
use super::width::Width;
use super::wire::{Quantity, ReadLog, WireHeader};
use crate::domain::{BlockRange, BlockRef, Log, LogFilter};

/// A block by name (execution API, "block tags").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// The newest block.
    Latest,
    /// Unlikely to be reorganised.
    Safe,
    /// Accepted by more than two thirds of the validators, or whatever the chain promises.
    Finalized,
}

impl Tag {
    /// The word of the execution API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::Safe => "safe",
            Self::Finalized => "finalized",
        }
    }
}

/// A block and the logs of it that were asked for.
#[derive(Clone, Debug)]
pub struct BlockWithLogs {
    /// The block.
    pub block: BlockRef,
    /// In chain order.
    pub logs: Vec<Log>,
}

/// One node of one chain.
pub struct Node {
    rpc: Rpc,
    chain_id: u64,
    /// What it has taught about ranges. Kept here, so that the next reader of history need not learn it again.
    width: Mutex<Width>,
}

impl Node {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// When no HTTP client can be made of the settings.
    pub fn new(settings: &ChainSettings) -> Result<Self, ChainError> {
        Ok(Self {
            rpc: Rpc::new(settings)?,
            chain_id: settings.chain_id,
            width: Mutex::new(Width::new(&settings.history)),
        })
    }

    pub(super) fn width(&self) -> MutexGuard<'_, Width> {
        self.width.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Host of the endpoint, for messages.
    pub fn host(&self) -> &str {
        self.rpc.host()
    }

    /// Asks for the chain id (`eth_chainId`, EIP-695) and compares it with the config's.
    ///
    /// # Errors
    /// [`ChainError::WrongChain`] or why the node cannot be asked.
    pub async fn check_chain(&self) -> Result<(), ChainError> {
        let found: Quantity = self.rpc.demand(&Question::new("eth_chainId", json!([]))).await?;
        if found.0 == self.chain_id {
            return Ok(());
        }
        Err(ChainError::WrongChain { host: self.host().to_owned(), found: found.0, expected: self.chain_id })
    }

    /// The block of that name; `None` where the chain does not have the tag, or nothing is tagged yet.
    ///
    /// # Errors
    /// Why the node cannot be asked.
    pub async fn tagged(&self, tag: Tag) -> Result<Option<BlockRef>, ChainError> {
        match self.block_by(json!(tag.as_str())).await {
            Err(error) if tag != Tag::Latest && error.is_unclassified_refusal() => Ok(None),
            answer => answer,
        }
    }

    /// As [`Self::tagged`], for a chain that cannot do without.
    ///
    /// # Errors
    /// [`ChainError::NoTag`] or why the node cannot be asked.
    pub async fn check_tag(&self, tag: Tag) -> Result<(), ChainError> {
        let missing = || ChainError::NoTag { host: self.host().to_owned(), tag: tag.as_str() };
        self.tagged(tag).await?.map(|_| ()).ok_or_else(missing)
    }

    /// The newest block.
    ///
    /// # Errors
    /// Why the node cannot be asked; a node without any block is a bad answer.
    pub async fn head(&self) -> Result<BlockRef, ChainError> {
        let head = self.tagged(Tag::Latest).await?;
        head.ok_or_else(|| self.rpc.bad("eth_getBlockByNumber", "there is no latest block"))
    }

    /// The canonical block at a height, `None` where the node has none.
    ///
    /// # Errors
    /// Why the node cannot be asked, or that it answers with another height.
    pub async fn block(&self, number: u64) -> Result<Option<BlockRef>, ChainError> {
        let block = self.block_by(json!(hex(number))).await?;
        match block {
            Some(block) if block.number != number => {
                let reason = format!("block {} where {number} was asked for", block.number);
                Err(self.rpc.bad("eth_getBlockByNumber", reason))
            }
            block => Ok(block),
        }
    }

    /// The canonical blocks at these heights, in their order.
    ///
    /// # Errors
    /// As [`Self::block`].
    pub async fn blocks(&self, numbers: &[u64]) -> Result<Vec<Option<BlockRef>>, ChainError> {
        try_join_all(numbers.iter().map(|number| self.block(*number))).await
    }

    /// Logs of a range, in chain order.
    ///
    /// # Errors
    /// Why the node cannot be asked or its answer not be believed.
    pub async fn logs(&self, filter: &LogFilter, range: BlockRange) -> Result<Vec<Log>, ChainError> {
        self.logs_of(filter, Blocks::Range(range)).await
    }

    /// Logs of a block by its hash, the only question a node that lacks the block must refuse (EIP-234).
    ///
    /// # Errors
    /// As [`Self::logs`].
    pub async fn with_logs(&self, filter: &LogFilter, block: BlockRef) -> Result<BlockWithLogs, ChainError> {
        let logs = self.logs_of(filter, Blocks::Hash { number: block.number, hash: block.hash }).await?;
        Ok(BlockWithLogs { block, logs })
    }

    /// A question that cannot be narrowed any more is split by addresses, then by first topics.
    async fn logs_of(&self, filter: &LogFilter, blocks: Blocks) -> Result<Vec<Log>, ChainError> {
        let narrowest = match blocks {
            Blocks::Range(range) => range.width() == 1,
            Blocks::Hash { .. } => true,
        };
        match self.logs_once(filter, blocks).await {
            Err(error) if error.splits_filter() || (narrowest && error.narrows().is_some()) => {
                let Some((one, other)) = split(filter) else { return Err(error) };
                let mut logs = Box::pin(self.logs_of(&one, blocks)).await?;
                logs.extend(Box::pin(self.logs_of(&other, blocks)).await?);
                logs.sort_unstable_by_key(|log| log.place);
                Ok(logs)
            }
            answer => answer,
        }
    }

    async fn logs_once(&self, filter: &LogFilter, blocks: Blocks) -> Result<Vec<Log>, ChainError> {
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
        let width = match blocks {
            Blocks::Range(range) => Some(range.width()),
            Blocks::Hash { .. } => None,
        };
        let question = Question { method: "eth_getLogs", params: json!([query]), width };
        let wire: Vec<ReadLog> = self.rpc.demand(&question).await?;
        checked(wire, filter, blocks).map_err(|reason| self.rpc.bad("eth_getLogs", reason))
    }

    async fn block_by(&self, block: Value) -> Result<Option<BlockRef>, ChainError> {
        let question = Question::new("eth_getBlockByNumber", json!([block, false]));
        match self.rpc.ask::<WireHeader>(&question).await {
            Ok(header) => Ok(header.map(BlockRef::from)),
            // Some nodes refuse a height above their head, or a tag they do not have, instead of answering `null`.
            Err(error) if error.is_missing_block() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The hash of a canonical block, where the node has it.
    ///
    /// # Errors
    /// As [`Self::block`].
    pub async fn hash(&self, number: u64) -> Result<Option<B256>, ChainError> {
        Ok(self.block(number).await?.map(|block| block.hash))
    }
}

fn split(filter: &LogFilter) -> Option<(LogFilter, LogFilter)> {
    let halves = |addresses, topic0| LogFilter { addresses, topic0 };
    if let Some((one, other)) = filter.addresses.as_ref().and_then(halve) {
        return Some((halves(Some(one), filter.topic0.clone()), halves(Some(other), filter.topic0.clone())));
    }
    let (one, other) = filter.topic0.as_ref().and_then(halve)?;
    Some((halves(filter.addresses.clone(), Some(one)), halves(filter.addresses.clone(), Some(other))))
}

fn halve<T: Ord + Copy>(set: &BTreeSet<T>) -> Option<(BTreeSet<T>, BTreeSet<T>)> {
    let middle = *set.iter().nth(set.len() / 2).filter(|_| set.len() > 1)?;
    let mut one = set.clone();
    let other = one.split_off(&middle);
    Some((one, other))
}

fn hex(number: u64) -> String {
    format!("{number:#x}")
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;

    use super::*;

    #[test]
    fn a_filter_splits_by_addresses_then_by_topics_and_then_no_more() {
        let address = |n: u8| Address::repeat_byte(n);
        let topic = |n: u8| B256::repeat_byte(n);
        let filter = LogFilter {
            addresses: Some([address(1), address(2), address(3)].into()),
            topic0: Some([topic(1), topic(2)].into()),
        };
        let (one, other) = split(&filter).expect("three addresses");
        assert_eq!(one.addresses, Some([address(1)].into()));
        assert_eq!(other.addresses, Some([address(2), address(3)].into()));
        assert_eq!(one.topic0, filter.topic0);
        let (one, other) = split(&one).expect("two topics");
        assert_eq!((one.topic0.clone(), other.topic0), (Some([topic(1)].into()), Some([topic(2)].into())));
        assert_eq!(split(&one), None);
    }
}
