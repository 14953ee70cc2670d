use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use super::action::{Call, SignedTx};
use super::block::Block;
use super::faults::Faults;
use super::ledger::Ledger;
use super::state::{DevState, Settings};
use chainflume_core::domain::{BlockRange, BlockRef, Log};

/// Number of heads that a subscriber may fall behind before it misses some, as with a real node.
const HEADS: usize = 1024;

/// A development chain. Clones are handles to the same chain. Every call is atomic: no request sees half a reorg.
#[derive(Clone)]
pub struct DevChain {
    shared: Arc<SharedChain>,
    /// The faults of this handle's node.
    pub(super) faults: Faults,
}

struct SharedChain {
    settings: Settings,
    state: Mutex<DevState>,
    heads: broadcast::Sender<Arc<Block>>,
}

/// A saved canonical chain, see [`DevChain::branch`].
#[derive(Clone)]
pub struct Branch(Vec<Arc<Block>>);

impl DevChain {
    /// Creates a chain of genesis and `settings.history` blocks of traffic.
    pub fn new(settings: Settings) -> Self {
        let mut state = DevState::new(settings.clone());
        (0..settings.history).for_each(|_| state.mine_traffic());
        drop(state.take_fresh());
        let (heads, _) = broadcast::channel(HEADS);
        let shared = Arc::new(SharedChain { settings, state: Mutex::new(state), heads });
        Self { shared, faults: Faults::default() }
    }

    /// Another node of the same chain: both have the same blocks, and each has its own faults.
    pub fn another_node(&self) -> Self {
        Self { shared: self.shared.clone(), faults: Faults::default() }
    }

    /// Its parameters.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The newest canonical block.
    pub fn head(&self) -> BlockRef {
        self.state().head()
    }

    /// The canonical block `number`, `None` above the head.
    pub fn block(&self, number: u64) -> Option<BlockRef> {
        self.state().block(number).map(|block| block.link)
    }

    /// The transactions of the canonical block `number`, none above the head.
    pub fn transactions(&self, number: u64) -> Vec<Arc<SignedTx>> {
        let state = self.state();
        state.block(number).map(|block| signed(block)).unwrap_or_default()
    }

    /// Every log of the canonical blocks in `range`, in order.
    pub fn canonical_logs(&self, range: BlockRange) -> Vec<Log> {
        self.state().logs(range).collect()
    }

    /// The state of the contracts after the canonical block `upto`, or at the head if that is lower.
    pub fn ledger(&self, upto: u64) -> Ledger {
        self.state().ledger_at(upto)
    }

    /// Mines `count` blocks of generated traffic. Like all functions that mine, it returns the new head.
    pub fn mine(&self, count: u64) -> BlockRef {
        self.change(|state| (0..count).for_each(|_| state.mine_traffic()))
    }

    /// Mines `count` blocks without a transaction.
    pub fn mine_empty(&self, count: u64) -> BlockRef {
        self.change(|state| (0..count).for_each(|_| state.mine(&[])))
    }

    /// Mines one block for each item: a list of transactions, each one [`super::Action`] or several.
    /// A transaction the contracts refuse is mined and reverts: no logs, ledger as before.
    pub fn mine_with<T: Into<Call>>(&self, blocks: Vec<Vec<T>>) -> BlockRef {
        self.change(|state| {
            for calls in blocks {
                let txs: Vec<_> = calls.into_iter().map(|call| state.sign(call.into().0)).collect();
                state.mine(&txs);
            }
        })
    }

    /// Signs a transaction without mining it, for [`Self::reorg_with`].
    pub fn sign(&self, call: impl Into<Call>) -> Arc<SignedTx> {
        self.state().sign(call.into().0)
    }

    /// Sends a transaction, which waits to be mined by [`Self::reorg_with`], also with depth 0. With `instead` it has the sender and
    /// nonce of another one, so that only one of the two can be mined.
    pub fn submit(&self, call: impl Into<Call>, instead: Option<&SignedTx>) -> Arc<SignedTx> {
        self.state().submit(call.into().0, instead)
    }

    /// Lets the node forget a transaction that waits.
    pub fn forget(&self, tx: &SignedTx) {
        self.state().forget(&tx.hash());
    }

    /// Drops the top `depth` blocks and mines `new_len` blocks of other traffic in their place. `new_len`
    /// may be smaller: the chain gets shorter. Genesis always stays.
    pub fn reorg(&self, depth: u64, new_len: u64) -> BlockRef {
        self.change(|state| {
            state.drop_top(depth);
            (0..new_len).for_each(|_| state.mine_traffic());
        })
    }

    /// Drops the top `depth` blocks and mines one block of the given transactions for each item. Dropped
    /// ones may be among them ([`Self::transactions`]): they keep their hash.
    pub fn reorg_with(&self, depth: u64, blocks: &[Vec<Arc<SignedTx>>]) -> BlockRef {
        self.change(|state| {
            state.drop_top(depth);
            blocks.iter().for_each(|txs| state.mine(txs));
        })
    }

    /// Drops the top `depth` blocks, mines `later` empty ones, and then the dropped ones' transactions
    /// again, block by block: every transaction keeps its hash and moves up by `later` blocks.
    pub fn reorg_same(&self, depth: u64, later: u64) -> BlockRef {
        self.change(|state| {
            let dropped = state.drop_top(depth);
            (0..later).for_each(|_| state.mine(&[]));
            dropped.iter().for_each(|block| state.mine(&signed(block)));
        })
    }

    /// Drops the top `depth` blocks and mines nothing. Genesis always stays.
    pub fn truncate(&self, depth: u64) -> BlockRef {
        self.change(|state| drop(state.drop_top(depth)))
    }

    /// The present canonical chain, which [`Self::restore`] can restore.
    pub fn branch(&self) -> Branch {
        Branch(self.state().blocks().to_vec())
    }

    /// Makes `branch` canonical again, hash by hash: A→B→A.
    pub fn restore(&self, branch: &Branch) -> BlockRef {
        self.change(|state| state.restore(&branch.0))
    }

    /// The injected faults, and the record of calls.
    #[cfg(feature = "faults")]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Number of calls of `method` since the start or [`Faults::forget`]; batched calls count one by one.
    #[cfg(feature = "faults")]
    pub fn calls(&self, method: &str) -> u64 {
        self.faults.calls(method)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, DevState> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes to new heads.
    pub(super) fn heads(&self) -> broadcast::Receiver<Arc<Block>> {
        self.shared.heads.subscribe()
    }

    /// Changes the chain and announces every block that became canonical, in order.
    fn change(&self, change: impl FnOnce(&mut DevState)) -> BlockRef {
        let mut state = self.state();
        change(&mut state);
        for block in state.take_fresh() {
            // An error means that there is no subscriber.
            let _ = self.shared.heads.send(block);
        }
        state.head()
    }
}

fn signed(block: &Block) -> Vec<Arc<SignedTx>> {
    block.txs.iter().map(|mined| mined.tx.clone()).collect()
}

impl fmt::Debug for DevChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevChain").field("chain_id", &self.shared.settings.chain_id).finish_non_exhaustive()
    }
}
