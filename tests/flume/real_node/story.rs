//! The journal's lines as they have to be.

use std::collections::BTreeMap;

use super::truth::Truth;

/// Events of the blocks from `from` on are stored, lowest first, each once.
pub fn stored(truth: &Truth, from: u64) -> Vec<String> {
    lines("stored", truth, from)
}

/// Events of the blocks from `from` on are undone, highest first.
pub fn undone(truth: &Truth, from: u64) -> Vec<String> {
    lines("undone", truth, from).into_iter().rev().collect()
}

fn lines(word: &str, truth: &Truth, from: u64) -> Vec<String> {
    let mut blocks: BTreeMap<u64, (u64, &str)> = BTreeMap::new();
    for row in truth.rows.iter().filter(|row| row.place.block >= from) {
        blocks.entry(row.place.block).or_insert((0, &row.block_hash)).0 += 1;
    }
    let line = |(number, (count, hash)): (&u64, &(u64, &str))| {
        format!("{word} {count} in {number} of {}", &hash[2..10])
    };
    blocks.iter().map(line).collect()
}
