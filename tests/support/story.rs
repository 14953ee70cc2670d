//! The journal in words: one line for each transaction, in which blocks have names. `a98` is block 98 of the first
//! branch of the chain, `b98` that of the second.

use std::collections::{BTreeMap, HashMap};

use alloy_primitives::{Address, B256};
use chainflume_core::domain::BlockRange;
use chainflume_devchain::{DEMO_NFT, DEMO_TOKEN, DevChain, STAKE_VAULT};

use crate::journal::Entry;

/// Every block that a chain ever had and that was recorded in time.
#[derive(Default)]
pub struct Blocks {
    known: HashMap<B256, Known>,
    /// The newest block of each branch.
    tips: Vec<B256>,
}

struct Known {
    number: u64,
    parent: B256,
    branch: usize,
    logs: BTreeMap<Address, i64>,
}

impl Blocks {
    /// Records the present chain. Call this after each change: orphaned blocks cannot be read later.
    pub fn note(&mut self, chain: &DevChain) {
        let mut fresh = Vec::new();
        let mut next = Some(chain.head());
        while let Some(block) = next.filter(|block| !self.known.contains_key(&block.hash)) {
            fresh.push(block);
            next = block.number.checked_sub(1).and_then(|below| chain.block(below));
        }
        for block in fresh.into_iter().rev() {
            let mut logs = BTreeMap::new();
            for log in chain.canonical_logs(BlockRange::single(block.number)) {
                *logs.entry(log.address).or_default() += 1;
            }
            let branch =
                self.tips.iter().position(|tip| *tip == block.parent_hash).unwrap_or(self.tips.len());
            self.tips.resize(self.tips.len().max(branch + 1), block.hash);
            self.tips[branch] = block.hash;
            let known = Known { number: block.number, parent: block.parent_hash, branch, logs };
            self.known.insert(block.hash, known);
        }
    }

    /// The name of a block.
    pub fn name(&self, hash: &B256) -> String {
        let known = self.known(hash);
        format!("{}{}", char::from(b'a' + u8::try_from(known.branch).expect("few branches")), known.number)
    }

    fn known(&self, hash: &B256) -> &Known {
        self.known.get(hash).unwrap_or_else(|| panic!("block {hash} never was"))
    }

    /// The blocks above `below` up to `top`, and the hash of the block below them.
    fn path(&self, below: Option<u64>, top: B256) -> (Vec<(B256, &Known)>, B256) {
        let (mut path, mut hash) = (Vec::new(), top);
        while let Some(block) = self.known.get(&hash).filter(|block| below.is_none_or(|n| block.number > n)) {
            path.push((hash, block));
            hash = block.parent;
        }
        path.reverse();
        (path, hash)
    }
}

/// Describes `entries` as a story of the sources, which start at the given blocks. Checks that each move follows the
/// links of the chain, and that exactly the events of the blocks in between were stored or undone, in order.
pub fn describe(entries: &[Entry], blocks: &Blocks, sources: &BTreeMap<String, u64>) -> Vec<String> {
    let mut transactions: Vec<(i64, Vec<&Entry>)> = Vec::new();
    // Events may be written ahead of the step below. Steps are ordered by their checkpoints.
    let (moves, others): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().partition(|entry| entry.source.is_some());
    for entry in moves.into_iter().chain(others) {
        match transactions.iter_mut().find(|(tx, _)| *tx == entry.tx) {
            Some((_, of_tx)) => of_tx.push(entry),
            None => transactions.push((entry.tx, vec![entry])),
        }
    }
    transactions.iter().filter_map(|(_, entries)| Step::read(entries).describe(blocks, sources)).collect()
}

/// One transaction.
struct Step {
    /// Source, earlier position, new position.
    moves: Vec<(String, Option<B256>, Option<B256>)>,
    /// Block and number of events (negative for undone), in the order of the journal.
    events: Vec<(u64, B256, i64)>,
}

impl Step {
    fn read(entries: &[&Entry]) -> Self {
        let hash = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(B256::from_slice);
        let moved = |e: &&Entry| Some((e.source.clone()?, hash(&e.was_hash), hash(&e.now_hash)));
        let stored = |e: &&Entry| Some((e.number?.cast_unsigned(), hash(&e.hash)?, e.events?));
        Self {
            moves: entries.iter().filter_map(moved).collect(),
            events: entries.iter().filter_map(stored).collect(),
        }
    }

    fn describe(&self, blocks: &Blocks, sources: &BTreeMap<String, u64>) -> Option<String> {
        assert!(
            self.events.is_empty() || !self.moves.is_empty(),
            "events without a checkpoint: {:?}",
            self.events
        );
        let mut expected = BTreeMap::new();
        for (source, was, now) in &self.moves {
            let start = sources.get(source).copied().unwrap_or_default();
            for (block, count) in expect(blocks, (source, start), *was, *now) {
                *expected.entry(block).or_insert(0) += count;
            }
        }
        expected.retain(|_, count| *count != 0);
        let mut found = self.events.clone();
        if found.first().is_some_and(|(.., count)| *count < 0) {
            found.reverse();
        }
        let expected: Vec<(u64, B256, i64)> =
            expected.into_iter().map(|((n, hash), count)| (n, hash, count)).collect();
        let words = self.words(blocks, sources.len());
        assert_eq!(
            found,
            expected,
            "the events of `{}` are not those of its blocks",
            words.unwrap_or_default()
        );
        self.words(blocks, sources.len())
    }

    fn words(&self, blocks: &Blocks, sources: usize) -> Option<String> {
        let mut by_way = BTreeMap::<_, Vec<&str>>::new();
        for (source, was, now) in &self.moves {
            by_way
                .entry((was.map(|h| blocks.name(&h)), now.map(|h| blocks.name(&h))))
                .or_default()
                .push(source);
        }
        let mut lines = by_way
            .into_iter()
            .map(|((was, now), mut names)| {
                names.sort_unstable();
                let who = if names.len() == sources { "all".to_owned() } else { names.join(" ") };
                let number = |name: &String| name[1..].parse::<u64>().expect("a letter and a number");
                match (was, now) {
                    (Some(was), Some(now)) if number(&now) > number(&was) => format!("{who}: {was} to {now}"),
                    (Some(was), Some(now)) => format!("{who}: {was} back to {now}"),
                    (None, Some(now)) => format!("{who}: up to {now}"),
                    (was, None) => format!("{who}: {} back to nothing", was.expect("deleted from somewhere")),
                }
            })
            .collect::<Vec<_>>();
        lines.sort_unstable();
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

/// The events of one source's move by block; checks its links.
fn expect(
    blocks: &Blocks,
    (source, start): (&str, u64),
    was: Option<B256>,
    now: Option<B256>,
) -> Vec<((u64, B256), i64)> {
    let number = |hash: B256| blocks.known(&hash).number;
    let (low, high, sign) = match (was, now) {
        (Some(was), Some(now)) if number(now) < number(was) => (Some(now), was, -1),
        (was, Some(now)) => (was, now, 1),
        (was, None) => (None, was.expect("deleted from somewhere"), -1),
    };
    let (path, below) = blocks.path(low.map(number).or(start.checked_sub(1)), high);
    // If no block above the final one agrees, the ancestor is the new branch's block at that height.
    if let Some(low) = low.filter(|_| sign > 0) {
        assert_eq!(
            blocks.name(&below),
            blocks.name(&low),
            "{source} went on to {} over a gap",
            blocks.name(&high)
        );
    }
    let address = match source {
        "vault" => STAKE_VAULT,
        "token" => DEMO_TOKEN,
        "nft" => DEMO_NFT,
        // A contract that is never used.
        "late" => Address::ZERO,
        other => panic!("whose contract is {other}?"),
    };
    path.into_iter()
        .map(|(hash, block)| {
            ((block.number, hash), sign * block.logs.get(&address).copied().unwrap_or_default())
        })
        .collect()
}
