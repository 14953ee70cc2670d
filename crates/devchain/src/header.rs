//! The header of a block, and its hash.

use alloy_primitives::{Address, B256, Bloom, U256, b256, keccak256};

use super::block::{Block, MinedTx};
use chainflume_core::domain::{HeaderField, Receipt, ReceiptOutcome, header_hash};

/// Root of an empty trie, `keccak256(rlp(""))`.
const EMPTY_ROOT: B256 = b256!("0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");
/// `keccak256(rlp([]))`: no uncles.
pub(super) const NO_UNCLES: B256 =
    b256!("0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347");
pub(super) const GAS_LIMIT: u64 = 30_000_000;
pub(super) const GAS_PER_TX: u64 = 65_000;
pub(super) const GAS_PRICE: u64 = 1_000_000_000;
/// A transaction with fees (EIP-1559).
const TX_TYPE: u8 = 2;

/// The fields that differ between blocks and are not in its link.
pub(super) struct BlockHeader {
    pub(super) state_root: B256,
    pub(super) transactions_root: B256,
    pub(super) receipts_root: B256,
    pub(super) logs_bloom: Bloom,
    pub(super) gas_used: u64,
}

impl BlockHeader {
    pub(super) fn of(block: &Block) -> Self {
        // Not checkable: the transactions are not signed.
        let transactions_root = match block.txs.len() {
            0 => EMPTY_ROOT,
            _ => keccak256([b"transactions", block.digest.as_slice()].concat()),
        };
        let (logs_bloom, receipts_root) = block.commits(consensus);
        Self {
            state_root: keccak256(block.digest),
            transactions_root,
            receipts_root,
            logs_bloom,
            gas_used: GAS_PER_TX * block.txs.len() as u64,
        }
    }

    /// The hash of all fields, those of [`HeadJson`](crate::rpc::HeadJson) in the order of Ethereum.
    pub(super) fn hash(&self, block: &Block) -> B256 {
        let bytes = |bytes: &[u8]| HeaderField::Bytes(bytes.to_vec());
        let number = |number: u64| HeaderField::Number(U256::from(number));
        header_hash(&[
            bytes(block.link.parent_hash.as_slice()),
            bytes(NO_UNCLES.as_slice()),
            bytes(Address::ZERO.as_slice()),
            bytes(self.state_root.as_slice()),
            bytes(self.transactions_root.as_slice()),
            bytes(self.receipts_root.as_slice()),
            bytes(self.logs_bloom.as_slice()),
            number(0),
            number(block.link.number),
            number(GAS_LIMIT),
            number(self.gas_used),
            number(block.link.timestamp),
            bytes(&[]),
            bytes(B256::ZERO.as_slice()),
            bytes(&[0; 8]),
            number(GAS_PRICE),
        ])
    }
}

/// Its receipts, in the form that a header commits to.
fn consensus(block: &Block) -> Vec<Receipt> {
    let receipt = |(position, mined): (u64, &MinedTx)| Receipt {
        kind: TX_TYPE,
        outcome: ReceiptOutcome::Succeeded(mined.succeeded),
        cumulative_gas: GAS_PER_TX * position,
        bloom: mined.bloom(),
        logs: mined.logs().map(|log| (log.address, log.topics, log.data)).collect(),
        deposit: None,
    };
    (1..).zip(&block.txs).map(receipt).collect()
}
