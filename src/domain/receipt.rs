use alloy_primitives::{Address, B256, Bloom, Bytes};

use super::log::Topics;
use super::trie::{list, number, ordered_root, string};

/// What a header commits to of a transaction's outcome (EIP-658, EIP-2718).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Transaction type: 0 legacy, 1 access list (EIP-2930), 2 fees (EIP-1559), 3 blobs (EIP-4844), 4 set code (EIP-7702).
    pub kind: u8,
    /// Whether it succeeded, or in old blocks the state after it.
    pub outcome: Outcome,
    /// Gas of this and all transactions before it in the block.
    pub cumulative_gas: u64,
    /// Over its logs.
    pub bloom: Bloom,
    /// Address, topics and data of each.
    pub logs: Vec<(Address, Topics, Bytes)>,
}

/// See [`Receipt::outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Since Byzantium.
    Succeeded(bool),
    /// Before.
    State(B256),
}

impl Receipt {
    /// The newest transaction type whose receipt looks like those before it.
    pub const NEWEST_KIND: u8 = 4;

    fn encode(&self) -> Vec<u8> {
        let outcome = match &self.outcome {
            Outcome::Succeeded(succeeded) => number((*succeeded).into()),
            Outcome::State(root) => string(root.as_slice()),
        };
        let log = |(address, topics, data): &(Address, Topics, Bytes)| {
            let topics: Vec<Vec<u8>> =
                topics.as_slice().iter().map(|topic| string(topic.as_slice())).collect();
            list(&[string(address.as_slice()), list(&topics), string(data)])
        };
        let logs: Vec<Vec<u8>> = self.logs.iter().map(log).collect();
        let body = list(&[outcome, number(self.cumulative_gas), string(self.bloom.as_slice()), list(&logs)]);
        if self.kind == 0 { body } else { [vec![self.kind], body].concat() }
    }
}

/// What a header says of a block with these receipts (`receiptsRoot`).
pub fn receipts_root(receipts: &[Receipt]) -> B256 {
    ordered_root(&receipts.iter().map(Receipt::encode).collect::<Vec<_>>())
}
