//! Answers in the format of go-ethereum. They are written directly as text: a `Value` for each log of a wide range
//! would need many times its size.

use alloy_primitives::{Address, B256, Bloom, Bytes};
use serde::{Serialize, Serializer};

use crate::action::SignedTx;
use crate::block::{Block, MinedTx};
use crate::faults::Behaviour;
use crate::header::{BlockHeader, GAS_LIMIT, GAS_PER_TX, GAS_PRICE, NO_UNCLES};
use chainflume_core::domain::Log;

/// A number as minimal hex.
#[derive(Clone, Copy)]
pub(super) struct QuantityJson(pub(super) u64);

impl Serialize for QuantityJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

fn quantity(number: usize) -> QuantityJson {
    QuantityJson(number as u64)
}

/// A header in the format of `newHeads`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeadJson {
    number: QuantityJson,
    hash: B256,
    parent_hash: B256,
    timestamp: QuantityJson,
    logs_bloom: Bloom,
    nonce: &'static str,
    mix_hash: B256,
    sha3_uncles: B256,
    state_root: B256,
    transactions_root: B256,
    receipts_root: B256,
    miner: Address,
    difficulty: QuantityJson,
    extra_data: &'static str,
    gas_limit: QuantityJson,
    gas_used: QuantityJson,
    base_fee_per_gas: QuantityJson,
}

impl HeadJson {
    pub(crate) fn new(block: &Block) -> Self {
        let link = &block.link;
        let BlockHeader { state_root, transactions_root, receipts_root, logs_bloom, gas_used } =
            BlockHeader::of(block);
        Self {
            number: QuantityJson(link.number),
            hash: link.hash,
            parent_hash: link.parent_hash,
            timestamp: QuantityJson(link.timestamp),
            logs_bloom,
            nonce: "0x0000000000000000",
            mix_hash: B256::ZERO,
            sha3_uncles: NO_UNCLES,
            state_root,
            transactions_root,
            receipts_root,
            miner: Address::ZERO,
            difficulty: QuantityJson(0),
            extra_data: "0x",
            gas_limit: QuantityJson(GAS_LIMIT),
            gas_used: QuantityJson(gas_used),
            base_fee_per_gas: QuantityJson(GAS_PRICE),
        }
    }
}

/// A block in the format of `eth_getBlockBy…`.
#[derive(Serialize)]
pub(super) struct BlockJson {
    #[serde(flatten)]
    head: HeadJson,
    size: QuantityJson,
    transactions: TransactionsJson,
    uncles: [B256; 0],
}

#[derive(Serialize)]
#[serde(untagged)]
enum TransactionsJson {
    Hashes(Vec<B256>),
    Whole(Vec<TxJson>),
}

impl BlockJson {
    pub(super) fn new(block: &Block, whole: bool, chain_id: u64) -> Self {
        let transactions = match whole {
            true => TransactionsJson::Whole(
                (0..block.txs.len()).filter_map(|index| TxJson::new(block, index, chain_id)).collect(),
            ),
            false => TransactionsJson::Hashes(block.txs.iter().map(|mined| mined.tx.hash()).collect()),
        };
        let size = quantity(540 + 180 * block.txs.len());
        Self { head: HeadJson::new(block), size, transactions, uncles: [] }
    }

    /// The block as a node of this behaviour returns it.
    pub(super) fn of_node(mut self, node: &Behaviour) -> Self {
        node.falsify(&mut self.head.logs_bloom, &mut self.head.receipts_root);
        self
    }
}

/// A transaction in the format of `eth_getTransactionByHash`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TxJson {
    hash: B256,
    nonce: QuantityJson,
    /// Null of one that waits, here and below.
    block_hash: Option<B256>,
    block_number: Option<QuantityJson>,
    transaction_index: Option<QuantityJson>,
    from: Address,
    to: Address,
    value: QuantityJson,
    gas: QuantityJson,
    gas_price: QuantityJson,
    max_fee_per_gas: QuantityJson,
    max_priority_fee_per_gas: QuantityJson,
    input: &'static str,
    r#type: QuantityJson,
    chain_id: QuantityJson,
    access_list: [B256; 0],
    v: QuantityJson,
    r: QuantityJson,
    s: QuantityJson,
}

impl TxJson {
    pub(super) fn new(block: &Block, index: usize, chain_id: u64) -> Option<Self> {
        Some(Self {
            block_hash: Some(block.link.hash),
            block_number: Some(QuantityJson(block.link.number)),
            transaction_index: Some(quantity(index)),
            ..Self::waiting(&block.txs.get(index)?.tx, chain_id)
        })
    }

    /// Of one that is in no block.
    pub(super) fn waiting(tx: &SignedTx, chain_id: u64) -> Self {
        Self {
            hash: tx.hash(),
            nonce: QuantityJson(tx.nonce()),
            block_hash: None,
            block_number: None,
            transaction_index: None,
            from: tx.from(),
            to: tx.to(),
            value: QuantityJson(0),
            gas: QuantityJson(2 * GAS_PER_TX),
            gas_price: QuantityJson(GAS_PRICE),
            max_fee_per_gas: QuantityJson(2 * GAS_PRICE),
            max_priority_fee_per_gas: QuantityJson(0),
            input: "0x",
            r#type: QuantityJson(2),
            chain_id: QuantityJson(chain_id),
            access_list: [],
            v: QuantityJson(0),
            r: QuantityJson(1),
            s: QuantityJson(1),
        }
    }
}

/// A receipt.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReceiptJson {
    transaction_hash: B256,
    transaction_index: QuantityJson,
    block_hash: B256,
    block_number: QuantityJson,
    from: Address,
    to: Address,
    contract_address: Option<Address>,
    cumulative_gas_used: QuantityJson,
    gas_used: QuantityJson,
    effective_gas_price: QuantityJson,
    logs: Vec<LogJson>,
    logs_bloom: Bloom,
    status: QuantityJson,
    r#type: QuantityJson,
}

impl ReceiptJson {
    pub(super) fn all(block: &Block, timed: bool) -> Vec<Self> {
        let mut logs: Vec<Vec<LogJson>> = block.txs.iter().map(|_| Vec::new()).collect();
        for log in block.logs(timed) {
            if let Some(of_tx) = logs.get_mut(log.place.tx_index as usize) {
                of_tx.push(LogJson::new(log));
            }
        }
        let mined = block.txs.iter().enumerate().zip(logs);
        mined.map(|((index, mined), logs)| Self::new(block, index, mined, logs)).collect()
    }

    fn new(block: &Block, index: usize, mined: &MinedTx, logs: Vec<LogJson>) -> Self {
        Self {
            transaction_hash: mined.tx.hash(),
            transaction_index: quantity(index),
            block_hash: block.link.hash,
            block_number: QuantityJson(block.link.number),
            from: mined.tx.from(),
            to: mined.tx.to(),
            contract_address: None,
            cumulative_gas_used: QuantityJson(GAS_PER_TX * (index as u64 + 1)),
            gas_used: QuantityJson(GAS_PER_TX),
            effective_gas_price: QuantityJson(GAS_PRICE),
            logs,
            logs_bloom: mined.bloom(),
            status: QuantityJson(mined.succeeded.into()),
            r#type: QuantityJson(2),
        }
    }
}

/// A log.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogJson {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
    block_number: QuantityJson,
    transaction_hash: B256,
    transaction_index: QuantityJson,
    block_hash: B256,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_timestamp: Option<QuantityJson>,
    log_index: QuantityJson,
    removed: bool,
}

impl LogJson {
    pub(super) fn new(log: Log) -> Self {
        Self {
            address: log.address,
            topics: log.topics.as_slice().to_vec(),
            data: log.data,
            block_number: QuantityJson(log.place.block_number),
            transaction_hash: log.tx_hash,
            transaction_index: QuantityJson(log.place.tx_index.into()),
            block_hash: log.block_hash,
            block_timestamp: log.block_timestamp.map(QuantityJson),
            log_index: QuantityJson(log.place.log_index.into()),
            removed: false,
        }
    }
}
