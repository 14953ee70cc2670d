use alloy_primitives::{Address, B256, Bloom, Bytes};

use super::log::Topics;
use super::trie::{list, number, ordered_root, string};

/// The part of a transaction's outcome that a header commits to (EIP-658, EIP-2718).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Transaction type: 0 legacy, 1 access list (EIP-2930), 2 fees (EIP-1559), 3 blobs (EIP-4844), 4 set code (EIP-7702),
    /// 0x7e deposit (OP Stack).
    pub kind: u8,
    /// Whether it succeeded; in old blocks, the state root after it.
    pub outcome: ReceiptOutcome,
    /// Gas of this and all transactions before it in the block.
    pub cumulative_gas: u64,
    /// Bloom filter of its logs.
    pub bloom: Bloom,
    /// Address, topics and data of each.
    pub logs: Vec<(Address, Topics, Bytes)>,
    /// Extra fields of a deposit: its nonce and the version of its receipt.
    pub deposit: Option<(u64, u64)>,
}

/// See [`Receipt::outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptOutcome {
    /// Since the Byzantium upgrade.
    Succeeded(bool),
    /// Before the Byzantium upgrade.
    State(B256),
}

impl Receipt {
    /// The newest transaction type of Ethereum; its receipt is encoded like the earlier ones.
    pub const NEWEST_KIND: u8 = 4;
    /// A deposit from the chain below (OP Stack specification, "Deposits").
    pub const DEPOSIT: u8 = 0x7e;

    /// Whether the encoding of receipts of this transaction type is known.
    pub fn is_known(kind: u8) -> bool {
        kind <= Self::NEWEST_KIND || kind == Self::DEPOSIT
    }

    fn encode(&self) -> Vec<u8> {
        let outcome = match &self.outcome {
            ReceiptOutcome::Succeeded(succeeded) => number((*succeeded).into()),
            ReceiptOutcome::State(root) => string(root.as_slice()),
        };
        let log = |(address, topics, data): &(Address, Topics, Bytes)| {
            let topics: Vec<Vec<u8>> =
                topics.as_slice().iter().map(|topic| string(topic.as_slice())).collect();
            list(&[string(address.as_slice()), list(&topics), string(data)])
        };
        let logs: Vec<Vec<u8>> = self.logs.iter().map(log).collect();
        let mut fields =
            vec![outcome, number(self.cumulative_gas), string(self.bloom.as_slice()), list(&logs)];
        // Before the Canyon upgrade a deposit's receipt has a nonce and no version, and neither is in the root.
        if let Some((nonce, version)) = self.deposit {
            fields.extend([number(nonce), number(version)]);
        }
        let body = list(&fields);
        if self.kind == 0 { body } else { [vec![self.kind], body].concat() }
    }
}

/// The `receiptsRoot` of a block with these receipts.
pub fn receipts_root(receipts: &[Receipt]) -> B256 {
    ordered_root(&receipts.iter().map(Receipt::encode).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;

    use super::*;

    /// The first transaction of an OP Stack block: a deposit without logs.
    fn deposit(deposit: Option<(u64, u64)>) -> String {
        let receipt = Receipt {
            kind: Receipt::DEPOSIT,
            outcome: ReceiptOutcome::Succeeded(true),
            cumulative_gas: 46_913,
            bloom: Bloom::ZERO,
            logs: Vec::new(),
            deposit,
        };
        hex::encode(receipt.encode())
    }

    #[test]
    fn a_deposit_receipt_has_nonce_and_version_since_canyon_only() {
        let bloom = "00".repeat(256);
        assert_eq!(deposit(None), format!("7ef901080182b741b90100{bloom}c0"));
        // Values of OP Mainnet: nonce 4012991 and version 1.
        assert_eq!(deposit(Some((4_012_991, 1))), format!("7ef9010d0182b741b90100{bloom}c0833d3bbf01"));
    }
}
