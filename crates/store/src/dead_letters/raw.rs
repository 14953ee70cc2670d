use serde::{Deserialize, Serialize};

use chainflume_core::domain::{Address, B256, Bytes, Log, Place, Topics};

/// The whole log with the keys of `eth_getLogs`; unlike there, numbers are JSON numbers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeadLog {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
    block_number: u64,
    block_hash: B256,
    block_timestamp: Option<u64>,
    transaction_hash: B256,
    transaction_index: u32,
    log_index: u32,
}

impl DeadLog {
    pub(super) fn new(log: &Log) -> Self {
        Self {
            address: log.address,
            topics: log.topics.as_slice().to_vec(),
            data: log.data.clone(),
            block_number: log.place.block_number,
            block_hash: log.block_hash,
            block_timestamp: log.block_timestamp,
            transaction_hash: log.tx_hash,
            transaction_index: log.place.tx_index,
            log_index: log.place.log_index,
        }
    }

    /// `None` where it has more topics than a log can have.
    pub(super) fn read(self) -> Option<Log> {
        let place = Place {
            block_number: self.block_number,
            tx_index: self.transaction_index,
            log_index: self.log_index,
        };
        Some(Log {
            place,
            block_hash: self.block_hash,
            tx_hash: self.transaction_hash,
            block_timestamp: self.block_timestamp,
            address: self.address,
            topics: Topics::new(&self.topics)?,
            data: self.data,
        })
    }
}
