use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;

use alloy_primitives::{Address, B256};

use super::action::SignedTx;
use super::block::{Block, MinedTx};
use super::header::BlockHeader;
use super::ledger::{Before, Ledger};
use super::traffic::Traffic;
use chainflume_core::domain::{BlockRange, BlockRef, Log};

/// Number of remembered orphaned blocks, for a node that still returns them.
const ORPHANS: usize = 256;

/// Parameters of a chain.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `eth_chainId`.
    pub chain_id: u64,
    /// The seed of all generated data.
    pub seed: u64,
    /// Timestamp of block 0 in seconds.
    pub genesis_time: u64,
    /// Seconds between the timestamps of two blocks, independent of the mining interval.
    pub block_time: u64,
    /// Blocks that share a timestamp: with 4 of them and a `block_time` of 1 a chain has a block every 250 ms.
    pub blocks_per_timestamp: u64,
    /// Blocks mined with traffic at the start.
    pub history: u64,
    /// Depth of the `finalized` block below the head; `safe` is half as deep. With `None` the node refuses both tags,
    /// like nodes before the merge and of many other chains.
    pub finalized_depth: Option<u64>,
    /// Whether logs have `blockTimestamp`, as newer nodes add it.
    pub block_timestamp_in_logs: bool,
    /// Whether the hash of a block above block 0 is that of its header, as on Ethereum. It takes the root of the receipts of each block.
    pub header_hashes: bool,
    /// A contract whose logs are in no bloom, as logs of the system on some chains.
    pub outside_blooms: Option<Address>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            chain_id: 31_337,
            seed: 1,
            genesis_time: 1_700_000_000,
            block_time: 1,
            blocks_per_timestamp: 1,
            history: 0,
            finalized_depth: None,
            block_timestamp_in_logs: false,
            header_hashes: false,
            outside_blooms: None,
        }
    }
}

/// The canonical chain, the history of its ledger, and its orphaned blocks.
#[derive(Debug)]
pub(super) struct DevState {
    settings: Settings,
    /// By height, genesis first: never empty.
    blocks: Vec<Arc<Block>>,
    /// For each block, the ledger entries before it, oldest first.
    undo: Vec<Vec<Before>>,
    heights: HashMap<B256, u64>,
    /// Transaction hash → height and index in the block.
    txs: HashMap<B256, (u64, usize)>,
    orphans: VecDeque<Arc<Block>>,
    /// Transactions that wait, and those that were mined since: a reorg lets them wait again.
    pool: HashMap<B256, Arc<SignedTx>>,
    /// Blocks that became canonical and are not announced yet.
    fresh: Vec<Arc<Block>>,
    ledger: Ledger,
    traffic: Traffic,
    nonce: u64,
    salt: u64,
}

/// A block under construction.
struct BlockDraft {
    timestamp: u64,
    txs: Vec<MinedTx>,
    undo: Vec<Before>,
}

impl DevState {
    pub(super) fn new(settings: Settings) -> Self {
        let genesis = Arc::new(Block::genesis(settings.chain_id, settings.seed, settings.genesis_time));
        Self {
            heights: HashMap::from([(genesis.link.hash, 0)]),
            blocks: vec![genesis],
            undo: vec![Vec::new()],
            txs: HashMap::new(),
            orphans: VecDeque::new(),
            pool: HashMap::new(),
            fresh: Vec::new(),
            ledger: Ledger::default(),
            traffic: Traffic::new(settings.seed),
            nonce: 0,
            salt: 0,
            settings,
        }
    }

    pub(super) fn head(&self) -> BlockRef {
        self.blocks[self.blocks.len() - 1].link
    }

    pub(super) fn block(&self, number: u64) -> Option<&Arc<Block>> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    /// The canonical block with this hash.
    pub(super) fn by_hash(&self, hash: &B256) -> Option<&Arc<Block>> {
        self.block(*self.heights.get(hash)?)
    }

    pub(super) fn orphan(&self, hash: &B256) -> Option<&Arc<Block>> {
        self.orphans.iter().find(|block| block.link.hash == *hash)
    }

    /// The block that holds a transaction, and the transaction's index there.
    pub(super) fn by_tx(&self, hash: &B256) -> Option<(&Arc<Block>, usize)> {
        let (number, index) = *self.txs.get(hash)?;
        Some((self.block(number)?, index))
    }

    pub(super) fn logs(&self, range: BlockRange) -> impl Iterator<Item = Log> {
        let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).min(self.blocks.len());
        let blocks = &self.blocks[index(range.from())..index(range.to().saturating_add(1))];
        blocks.iter().flat_map(|block| block.logs(self.settings.block_timestamp_in_logs))
    }

    /// The ledger after block `upto`, or at the head if that is lower.
    pub(super) fn ledger_at(&self, upto: u64) -> Ledger {
        let mut ledger = self.ledger.clone();
        let kept = usize::try_from(upto).unwrap_or(usize::MAX).saturating_add(1).min(self.undo.len());
        ledger.unwind(self.undo[kept..].iter().rev().flat_map(|block| block.iter().rev().cloned()));
        ledger
    }

    /// The canonical blocks, genesis first.
    pub(super) fn blocks(&self) -> &[Arc<Block>] {
        &self.blocks
    }

    /// Blocks that became canonical since the last call.
    pub(super) fn take_fresh(&mut self) -> Vec<Arc<Block>> {
        mem::take(&mut self.fresh)
    }

    pub(super) fn sign(&mut self, actions: Vec<super::Action>) -> Arc<SignedTx> {
        self.nonce += 1;
        Arc::new(SignedTx::sign(self.settings.seed, self.nonce, actions))
    }

    /// Signs a transaction that waits to be mined, in place of another one of the same nonce where one is named.
    pub(super) fn submit(
        &mut self,
        actions: Vec<super::Action>,
        instead: Option<&SignedTx>,
    ) -> Arc<SignedTx> {
        let tx = match instead {
            Some(tx) => Arc::new(tx.instead(self.settings.seed, actions)),
            None => self.sign(actions),
        };
        self.pool.insert(tx.hash(), tx.clone());
        tx
    }

    /// The node does not know a transaction any more that waited.
    pub(super) fn forget(&mut self, hash: &B256) {
        self.pool.remove(hash);
    }

    /// A transaction that waits. One whose nonce is used does not.
    pub(super) fn waiting(&self, hash: &B256) -> Option<&Arc<SignedTx>> {
        let tx = self.pool.get(hash)?;
        (self.nonce_after(&tx.from(), self.head().number) <= tx.nonce()).then_some(tx)
    }

    /// The nonce that an account uses next after a block. Nonces are the chain's and not the account's, so those in between
    /// count as used.
    pub(super) fn nonce_after(&self, account: &Address, number: u64) -> u64 {
        let blocks = self.blocks.iter().take_while(|block| block.link.number <= number);
        let txs = blocks.flat_map(|block| &block.txs).filter(|mined| mined.tx.from() == *account);
        txs.map(|mined| mined.tx.nonce() + 1).max().unwrap_or(0)
    }

    pub(super) fn mine(&mut self, txs: &[Arc<SignedTx>]) {
        let mut draft = self.draft();
        txs.iter().for_each(|tx| self.include(&mut draft, tx.clone()));
        self.seal(draft);
    }

    pub(super) fn mine_traffic(&mut self) {
        let mut draft = self.draft();
        for _ in 0..self.traffic.block_size() {
            let actions = self.traffic.transaction(&self.ledger);
            let tx = self.sign(actions);
            self.include(&mut draft, tx);
        }
        self.seal(draft);
    }

    /// Drops the top `depth` blocks and returns them, oldest first. Genesis always stays. The next mined block belongs
    /// to another branch.
    pub(super) fn drop_top(&mut self, depth: u64) -> Vec<Arc<Block>> {
        let depth = usize::try_from(depth).unwrap_or(usize::MAX).min(self.blocks.len() - 1);
        let kept = self.blocks.len() - depth;
        let dropped = self.blocks.split_off(kept);
        let undo = self.undo.split_off(kept);
        self.ledger.unwind(undo.into_iter().rev().flat_map(|block| block.into_iter().rev()));
        for block in &dropped {
            self.heights.remove(&block.link.hash);
            for mined in &block.txs {
                self.txs.remove(&mined.tx.hash());
            }
        }
        self.orphans.extend(dropped.iter().cloned());
        self.orphans.drain(..self.orphans.len().saturating_sub(ORPHANS));
        self.salt += 1;
        dropped
    }

    /// Makes `blocks` (genesis first, of this chain) the canonical chain.
    pub(super) fn restore(&mut self, blocks: &[Arc<Block>]) {
        let shared =
            self.blocks.iter().zip(blocks).take_while(|(a, b)| a.link.hash == b.link.hash).count().max(1);
        self.drop_top((self.blocks.len() - shared) as u64);
        for block in &blocks[shared.min(blocks.len())..] {
            let mut undo = Vec::new();
            for mined in block.txs.iter().filter(|mined| mined.succeeded) {
                self.ledger.apply(mined.tx.actions(), block.link.timestamp, &mut undo);
            }
            self.connect(block.clone(), undo);
        }
    }

    fn draft(&self) -> BlockDraft {
        let Settings { block_time, blocks_per_timestamp, .. } = self.settings;
        let moves = (self.head().number + 1).is_multiple_of(blocks_per_timestamp.max(1));
        let timestamp = self.head().timestamp + if moves { block_time } else { 0 };
        BlockDraft { timestamp, txs: Vec::new(), undo: Vec::new() }
    }

    /// Adds a transaction. Skips a transaction that is in the chain already, because its nonce is used.
    fn include(&mut self, draft: &mut BlockDraft, tx: Arc<SignedTx>) {
        let is_same = |other: &SignedTx| other.nonce() == tx.nonce() && other.from() == tx.from();
        let used = self.txs.contains_key(&tx.hash())
            || draft.txs.iter().any(|mined| is_same(&mined.tx))
            || (self.pool.contains_key(&tx.hash())
                && self.nonce_after(&tx.from(), self.head().number) > tx.nonce());
        if !used {
            let succeeded = self.ledger.apply(tx.actions(), draft.timestamp, &mut draft.undo);
            let outside_blooms = self.settings.outside_blooms;
            draft.txs.push(MinedTx { tx, succeeded, outside_blooms });
        }
    }

    fn seal(&mut self, draft: BlockDraft) {
        let mut block = Block::seal(&self.head(), draft.timestamp, self.salt, draft.txs);
        if self.settings.header_hashes {
            block.link.hash = BlockHeader::of(&block).hash(&block);
        }
        self.connect(Arc::new(block), draft.undo);
    }

    fn connect(&mut self, block: Arc<Block>, undo: Vec<Before>) {
        self.heights.insert(block.link.hash, block.link.number);
        for (index, mined) in block.txs.iter().enumerate() {
            self.txs.insert(mined.tx.hash(), (block.link.number, index));
        }
        self.undo.push(undo);
        self.fresh.push(block.clone());
        self.blocks.push(block);
    }
}
