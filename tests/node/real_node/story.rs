//! The journal's lines as they have to be.

use std::collections::BTreeMap;

use sqlx::postgres::PgPool;

use super::rows::{compare, until_at};
use super::truth::Truth;
use super::world::World;
use crate::journal;

/// What has been stored and undone so far, event by event.
pub struct Story<'a> {
    world: &'a World,
    pool: &'a PgPool,
    /// The next block to be stored.
    next: u64,
    seen: Truth,
    expected: Vec<String>,
}

impl<'a> Story<'a> {
    pub async fn begin(world: &'a World, pool: &'a PgPool) -> Self {
        journal::install(pool).await;
        Self { world, pool, next: 0, seen: Truth::default(), expected: Vec::new() }
    }

    /// Waits until the daemon is `depth` blocks below the head, and compares every table with the chain, and the
    /// journal with the story: the blocks between were stored once each, in order, and nothing else
    /// happened. Returns the height.
    pub async fn goes_on(&mut self, depth: u64) -> u64 {
        let top = self.world.anvil.head().await - depth;
        until_at(self.world, self.pool, top).await;
        self.seen = compare(self.world, self.pool, top).await;
        self.expected.extend(lines("stored", &self.seen, self.next));
        self.next = top + 1;
        self.is_told().await;
        top
    }

    /// As [`Self::goes_on`], after the newest `blocks` stored blocks were undone, highest first.
    pub async fn goes_back(&mut self, blocks: u64, depth: u64) -> u64 {
        self.next -= blocks;
        self.expected.extend(lines("undone", &self.seen, self.next).into_iter().rev());
        self.goes_on(depth).await
    }

    /// Nothing has happened since.
    pub async fn is_told(&self) {
        assert_eq!(journal::events(self.pool).await, self.expected);
    }
}

/// One line for each block from `from` on that has events.
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
