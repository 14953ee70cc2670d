use std::sync::{Arc, OnceLock};

use alloy_primitives::{Address, B256, Bloom, keccak256};

use super::action::{Action, RawLog, SignedTx};
use chainflume_core::domain::{BlockRef, Log, Place, Receipt, receipts_root};

/// A block. Its logs are encoded on request: so 10,000 blocks take only a few megabytes.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) link: BlockRef,
    /// Of parent, height, time, transactions and branch: the hash, where headers have none of their own.
    pub(super) digest: B256,
    pub(super) txs: Vec<MinedTx>,
    /// Logs bloom and receipts root, computed on the first request: heads are requested often, and a trie is costly.
    commits: OnceLock<(Bloom, B256)>,
}

/// A transaction in a block.
#[derive(Clone, Debug)]
pub(super) struct MinedTx {
    pub(super) tx: Arc<SignedTx>,
    /// `false`: reverted, so it has no logs.
    pub(super) succeeded: bool,
    /// A contract whose logs are in no bloom.
    pub(super) outside_blooms: Option<Address>,
}

impl MinedTx {
    pub(super) fn logs(&self) -> impl Iterator<Item = RawLog> {
        let actions = if self.succeeded { self.tx.actions() } else { &[] };
        actions.iter().map(Action::log)
    }

    pub(super) fn bloom(&self) -> Bloom {
        let mut bloom = Bloom::default();
        let inside = self.logs().filter(|log| self.outside_blooms != Some(log.address));
        inside.for_each(|log| bloom.accrue_raw_log(log.address, log.topics.as_slice()));
        bloom
    }
}

impl Block {
    /// Seals `txs` on top of `parent`. `salt` makes the hashes of branches with the same contents differ.
    pub(super) fn seal(parent: &BlockRef, timestamp: u64, salt: u64, txs: Vec<MinedTx>) -> Self {
        let hash = digest(parent, timestamp, salt, &txs);
        let link = BlockRef { number: parent.number + 1, hash, parent_hash: parent.hash, timestamp };
        Self { link, digest: hash, txs, commits: OnceLock::new() }
    }

    /// The first block: empty, with a hash that differs between chains.
    pub(super) fn genesis(chain_id: u64, seed: u64, timestamp: u64) -> Self {
        let no_parent =
            BlockRef { number: 0, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: chain_id };
        let hash = digest(&no_parent, timestamp, seed, &[]);
        let link = BlockRef { number: 0, hash, parent_hash: B256::ZERO, timestamp };
        Self { link, digest: hash, txs: Vec::new(), commits: OnceLock::new() }
    }

    /// The part of its header about its logs: bloom, and the root of `receipts`.
    pub(super) fn commits(&self, receipts: impl FnOnce(&Self) -> Vec<Receipt>) -> (Bloom, B256) {
        *self.commits.get_or_init(|| {
            let receipts = receipts(self);
            let mut bloom = Bloom::default();
            receipts.iter().for_each(|receipt| bloom.accrue_bloom(&receipt.bloom));
            (bloom, receipts_root(&receipts))
        })
    }

    /// Its logs in order, `block_timestamp` filled if `timed`.
    pub(super) fn logs(&self, timed: bool) -> impl Iterator<Item = Log> {
        let logs = (0u32..).zip(&self.txs).flat_map(|(index, tx)| tx.logs().map(move |log| (index, tx, log)));
        (0u32..).zip(logs).map(move |(log_index, (tx_index, mined, raw))| Log {
            place: Place { block_number: self.link.number, tx_index, log_index },
            block_hash: self.link.hash,
            tx_hash: mined.tx.hash(),
            block_timestamp: timed.then_some(self.link.timestamp),
            address: raw.address,
            topics: raw.topics,
            data: raw.data,
        })
    }
}

fn digest(parent: &BlockRef, timestamp: u64, salt: u64, txs: &[MinedTx]) -> B256 {
    let mut sealed = Vec::with_capacity(64 + 33 * txs.len());
    sealed.extend(parent.hash);
    for number in [parent.number, parent.timestamp, timestamp, salt] {
        sealed.extend(number.to_be_bytes());
    }
    for mined in txs {
        sealed.extend(mined.tx.hash());
        sealed.push(u8::from(mined.succeeded));
    }
    keccak256(sealed)
}
