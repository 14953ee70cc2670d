use std::collections::BTreeSet;

use alloy_primitives::{Address, B256};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::params::{Tag, parse, tag};
use crate::call::RpcError;
use chainflume_core::domain::Log;

/// The parameters of `eth_getLogs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) blocks: BlockSelection,
    pub(super) addresses: BTreeSet<Address>,
    /// By position; an empty set matches any topic, but the topic must exist.
    topics: Vec<BTreeSet<B256>>,
}

/// The requested blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockSelection {
    Hash(B256),
    Range(Tag, Tag),
}

impl Filter {
    /// Reads the first parameter, by go-ethereum's rules.
    pub(super) fn parse(filter: &Value) -> Result<Self, RpcError> {
        let invalid = |error: String| RpcError::params(format!("invalid argument 0: {error}"));
        let field = |name| filter.get(name).filter(|value| !value.is_null());
        let end = |name| field(name).map(tag).transpose().map_err(invalid);
        let (from, to) = (end("fromBlock")?, end("toBlock")?);
        let blocks = match field("blockHash") {
            Some(_) if from.or(to).is_some() => {
                let message = "cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other";
                return Err(RpcError::params(message));
            }
            Some(hash) => BlockSelection::Hash(parse(hash).map_err(invalid)?),
            None => BlockSelection::Range(from.unwrap_or(Tag::Latest), to.unwrap_or(Tag::Latest)),
        };
        let addresses = field("address").map(any_of).transpose().map_err(invalid)?.unwrap_or_default();
        let positions = field("topics").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if positions.len() > 4 {
            return Err(RpcError::params("exceed max topics"));
        }
        let topics = positions.iter().map(any_of).collect::<Result<_, _>>().map_err(invalid)?;
        Ok(Self { blocks, addresses, topics })
    }

    pub(super) fn admits(&self, log: &Log) -> bool {
        let topics = log.topics.as_slice();
        (self.addresses.is_empty() || self.addresses.contains(&log.address))
            && self.topics.len() <= topics.len()
            && self.topics.iter().zip(topics).all(|(any, topic)| any.is_empty() || any.contains(topic))
    }
}

/// One value, or an array of which one must match. `null`, also inside the array, and the empty array match everything.
fn any_of<T: DeserializeOwned + Ord>(value: &Value) -> Result<BTreeSet<T>, String> {
    match value {
        Value::Null => Ok(BTreeSet::new()),
        Value::Array(values) if values.iter().any(Value::is_null) => Ok(BTreeSet::new()),
        Value::Array(values) => values.iter().map(parse).collect(),
        value => Ok(BTreeSet::from([parse(value)?])),
    }
}
