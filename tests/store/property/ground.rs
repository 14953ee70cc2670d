//! The chain under a case, and what the test itself knows of it: every block there ever was, which of them
//! were dropped, and down to where it may be undone.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::B256;
use chainflume_core::domain::BlockRange;
use chainflume_devchain::{Branch, DevChain};

use super::sources::{COUNT, Sources, keeper, name};

/// A block that was canonical once.
#[derive(Clone, Debug)]
pub struct Block {
    pub number: u64,
    pub parent: B256,
    /// How many of its logs each source has to keep.
    pub logs: [u64; COUNT],
}

/// Clones are handles to the same.
#[derive(Clone)]
pub struct Ground {
    pub chain: DevChain,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    blocks: HashMap<B256, Block>,
    /// By height.
    canonical: Vec<B256>,
    /// Dropped once, or only ever shown by a node on another branch: what may rightly be undone.
    gone: HashSet<B256>,
    /// The daemon may take blocks up to here for final.
    floor: u64,
    depth: u64,
    watched: bool,
    /// The highest head a daemon may have seen.
    seen: u64,
    /// The highest head there ever was.
    highest: u64,
    flicker: Flicker,
}

enum Flicker {
    Off,
    Armed { after: u64, depth: u64 },
    On(Branch),
}

impl Ground {
    /// Blocks `depth` below a head the daemon may have seen are not touched any more.
    pub fn new(chain: DevChain, depth: u64) -> Self {
        let inner = Inner {
            blocks: HashMap::new(),
            canonical: Vec::new(),
            gone: HashSet::new(),
            floor: 0,
            depth,
            watched: false,
            seen: 0,
            highest: 0,
            flicker: Flicker::Off,
        };
        let ground = Self { chain, inner: Arc::new(Mutex::new(inner)) };
        ground.change(|_, _| {});
        ground
    }

    /// Changes the chain; the second argument is how many blocks may be dropped.
    pub fn change(&self, change: impl FnOnce(&DevChain, u64)) {
        let mut inner = self.lock();
        inner.calm(&self.chain);
        change(&self.chain, self.chain.head().number - inner.floor.min(self.chain.head().number));
        inner.learn(&self.chain);
        let canonical: Vec<B256> = (0..=self.chain.head().number).map(|n| hash(&self.chain, n)).collect();
        let dropped: Vec<B256> = inner
            .canonical
            .iter()
            .zip(canonical.iter().map(Some).chain(std::iter::repeat(None)))
            .filter(|(old, new)| Some(*old) != *new)
            .map(|(old, _)| *old)
            .collect();
        inner.gone.extend(dropped);
        inner.canonical = canonical;
        inner.highest = inner.highest.max(self.chain.head().number);
        inner.watch(&self.chain);
    }

    /// Whether a daemon may see the heads from now on.
    pub fn set_watched(&self, watched: bool) {
        let mut inner = self.lock();
        inner.watched = watched;
        inner.watch(&self.chain);
    }

    /// After `after` more headers, one is answered from another branch that leaves ours `depth` below the head.
    pub fn flicker(&self, after: u64, depth: u64) {
        let first = {
            let mut inner = self.lock();
            inner.calm(&self.chain);
            std::mem::replace(&mut inner.flicker, Flicker::Armed { after, depth })
        };
        if matches!(first, Flicker::Off) {
            let ground = Self { chain: self.chain.clone(), inner: self.inner.clone() };
            self.chain
                .faults()
                .on_call("eth_getBlockByNumber", move |_, _| ground.lock().header(&ground.chain));
        }
    }

    /// The node behaves again.
    pub fn heal(&self) {
        let mut inner = self.lock();
        inner.calm(&self.chain);
        inner.flicker = Flicker::Off;
        self.chain.faults().clear();
    }

    /// The block, if it was canonical once.
    pub fn block(&self, hash: &B256) -> Option<Block> {
        self.lock().blocks.get(hash).cloned()
    }

    /// Source, hash and number of logs of the canonical block at this height, for these sources.
    pub fn logs(&self, number: u64, sources: Sources, starts: &[u64; COUNT]) -> Vec<(String, B256, u64)> {
        let hash = hash(&self.chain, number);
        let Some(block) = self.block(&hash) else { return Vec::new() };
        let due = |index: &usize| starts[*index] <= number && block.logs[*index] > 0;
        sources.indices().filter(due).map(|index| (name(index).to_owned(), hash, block.logs[index])).collect()
    }

    /// Whether the block may rightly have been undone.
    pub fn is_gone(&self, hash: &B256) -> bool {
        self.lock().gone.contains(hash)
    }

    /// The highest head there ever was.
    pub fn highest(&self) -> u64 {
        self.lock().highest
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Remembers blocks it does not know; returns which these are.
    fn learn(&mut self, chain: &DevChain) -> Vec<B256> {
        let mut fresh = Vec::new();
        for number in (0..=chain.head().number).rev() {
            let Some(block) = chain.block(number) else { continue };
            if self.blocks.contains_key(&block.hash) {
                break;
            }
            let mut logs = [0; COUNT];
            let kept = chain.canonical_logs(BlockRange::single(number));
            kept.iter().filter_map(keeper).for_each(|source| logs[source] += 1);
            self.blocks.insert(block.hash, Block { number, parent: block.parent_hash, logs });
            fresh.push(block.hash);
        }
        fresh
    }

    fn watch(&mut self, chain: &DevChain) {
        if self.watched {
            self.seen = self.seen.max(chain.head().number);
            self.floor = self.floor.max(self.seen.saturating_sub(self.depth));
        }
    }

    /// Called with each header that is asked for, before it is answered.
    fn header(&mut self, chain: &DevChain) {
        match &mut self.flicker {
            Flicker::Off => {}
            Flicker::Armed { after: 0, depth } => {
                let depth = (*depth).min(chain.head().number.saturating_sub(self.floor));
                if depth == 0 {
                    return;
                }
                let branch = chain.branch();
                chain.reorg(depth, depth);
                let shown = self.learn(chain);
                self.gone.extend(shown);
                self.flicker = Flicker::On(branch);
            }
            Flicker::Armed { after, .. } => *after -= 1,
            Flicker::On(_) => self.calm(chain),
        }
    }

    fn calm(&mut self, chain: &DevChain) {
        if let Flicker::On(branch) = &self.flicker {
            chain.restore(branch);
            // The hook stays until the faults are cleared, and does nothing.
            self.flicker = Flicker::Armed { after: u64::MAX, depth: 1 };
        }
    }
}

fn hash(chain: &DevChain, number: u64) -> B256 {
    chain.block(number).map(|block| block.hash).unwrap_or_default()
}
