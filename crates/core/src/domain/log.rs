use std::fmt;

use alloy_primitives::{Address, B256, Bytes};

/// The position of a log. Logs are stored and published in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Height of the block.
    pub block_number: u64,
    /// Index of the transaction in the block.
    pub tx_index: u32,
    /// Index of the log; in the block on most chains, in the transaction on a few.
    pub log_index: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.block_number, self.tx_index, self.log_index)
    }
}

/// Zero to four topics, stored inline: one allocation fewer per log.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Topics {
    words: [B256; 4],
    len: u8,
}

impl Topics {
    /// `None` for more than four, which the EVM cannot emit (LOG0 to LOG4).
    pub fn new(topics: &[B256]) -> Option<Self> {
        let mut words = [B256::ZERO; 4];
        words.get_mut(..topics.len())?.copy_from_slice(topics);
        Some(Self { words, len: u8::try_from(topics.len()).ok()? })
    }

    /// The topics. The first one is the signature hash, unless the event is anonymous.
    pub fn as_slice(&self) -> &[B256] {
        &self.words[..usize::from(self.len)]
    }
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// A log as a node returns it (`eth_getLogs`); only its shape is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its position.
    pub place: Place,
    /// Hash of its block.
    pub block_hash: B256,
    /// Hash of its transaction.
    pub tx_hash: B256,
    /// Seconds since the Unix epoch where the node adds `blockTimestamp`, else `None`.
    pub block_timestamp: Option<u64>,
    /// The contract that emitted it.
    pub address: Address,
    /// Topics.
    pub topics: Topics,
    /// ABI-encoded arguments that are not indexed.
    pub data: Bytes,
}
