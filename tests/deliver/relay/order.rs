//! Whatever chain, indexer and relay go through, what leaves is in order.

use std::collections::BTreeMap;

use chainflume_devchain::DevChain;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

use super::end_to_end::until_confirmed_is_stored;
use super::{Relays, canonical, fold, fold_users, published, sources, users};
use crate::flume::{Flume, config, connect, devchain};
use crate::postgres;
use crate::random::seed;
use crate::redis_server::RedisServer;

/// Cases a run has unless `PROPTEST_CASES` is set.
const CASES: u32 = 16;
/// Shorter cases tried once one has failed.
const SHRINKS: u32 = 60;

/// What happens next. Depths go from what is not confirmed to well below what is published.
#[derive(Clone, Copy, Debug)]
enum Act {
    Mine(u64),
    /// Another branch, of as many blocks more or less.
    Reorg {
        depth: u64,
        length: u64,
    },
    /// The same transactions in other blocks.
    Same(u64),
    /// Away and back again, seen or unseen.
    Flip {
        depth: u64,
        seen: bool,
    },
    /// Until all that is confirmed is stored.
    Settle,
    KillRelay,
    KillIndexer,
    /// Redis loses everything.
    Flush,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1..5u64).prop_map(Act::Mine),
        4 => (1..9u64, 1..11u64).prop_map(|(depth, length)| Act::Reorg { depth, length }),
        2 => (1..9u64).prop_map(Act::Same),
        2 => (1..7u64, any::<bool>()).prop_map(|(depth, seen)| Act::Flip { depth, seen }),
        3 => Just(Act::Settle),
        1 => Just(Act::KillRelay),
        1 => Just(Act::KillIndexer),
        1 => Just(Act::Flush),
    ]
}

#[test]
fn streams_stay_in_order_and_fold_to_the_surviving_chain() {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed("order").to_le_bytes());
    let cases = Config::default().cases;
    let config = Config {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() { cases } else { CASES },
        max_shrink_iters: SHRINKS,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let server = RedisServer::start();
    let lives = (any::<u32>(), prop::collection::vec(act(), 4..24));
    let outcome = runner.run(&lives, |(seed, acts)| {
        runtime.block_on(live(seed, &acts, &server));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

async fn live(seed: u32, acts: &[Act], server: &RedisServer) {
    server.run::<()>("FLUSHALL").await;
    let url = postgres::database().await;
    let pool = connect(&url).await;
    let (chain, node) = devchain(seed.into(), 12).await;
    let config = config(&node, "", &sources(&server.url()));
    let mut flume = Flume::start(&config, &url).await;
    let mut relays = Relays::start(&config, &url).await;
    let mut path = Path { highest: chain.head().number, chain };
    for act in acts {
        match *act {
            Act::KillRelay => {
                relays.kill().await;
                relays = Relays::start(&config, &url).await;
            }
            Act::KillIndexer => {
                flume.kill().await;
                flume = Flume::start(&config, &url).await;
            }
            Act::Flush => server.run::<()>("FLUSHALL").await,
            Act::Settle => path.store_all(&flume).await,
            Act::Flip { depth, seen } => {
                let branch = path.chain.branch();
                path.reorg(depth, depth + 2);
                if seen {
                    path.store_all(&flume).await;
                }
                path.chain.restore(&branch);
            }
            Act::Mine(count) => drop(path.chain.mine(count)),
            Act::Reorg { depth, length } => path.reorg(depth, length),
            Act::Same(depth) => drop(path.chain.reorg_same(path.reach(depth), 1)),
        }
        path.highest = path.highest.max(path.chain.head().number);
    }
    path.store_all(&flume).await;
    let chain = path.chain;
    // What Redis lost while there was nothing to publish is noticed at the next look, some time later or at a start.
    if acts.iter().any(|act| matches!(act, Act::Flush)) {
        relays.until_all("redis").await;
        relays.stop().await;
        relays = Relays::start(&config, &url).await;
    }
    relays.until_all("redis").await;
    let messages = published(server).await;
    relays.stop().await;
    flume.stop().await;
    in_order(&messages);
    let (folded, stored) = (fold(&messages), canonical(&pool).await);
    let different: Vec<&String> = folded.symmetric_difference(&stored).take(5).collect();
    assert!(
        different.is_empty(),
        "{} events published, {} stored, such as {different:?}",
        folded.len(),
        stored.len()
    );
    assert_eq!(fold_users(&messages), Ok(users(&pool).await));
    crate::daemon::agrees(&chain, &url, chain.head().number - 2).await;
}

/// A chain, and the highest head it ever had.
struct Path {
    chain: DevChain,
    highest: u64,
}

impl Path {
    /// No deeper than this: what lies 16 blocks below a head that was seen is final.
    fn reach(&self, depth: u64) -> u64 {
        depth.min(self.chain.head().number.saturating_sub(self.highest.saturating_sub(10)))
    }

    fn reorg(&mut self, depth: u64, length: u64) {
        self.chain.reorg(self.reach(depth), length);
        self.highest = self.highest.max(self.chain.head().number);
    }

    /// Until all that is confirmed is stored, and nothing above it: so above all that was seen before.
    async fn store_all(&mut self, flume: &Flume) {
        self.chain.mine(self.highest + 1 - self.chain.head().number);
        self.highest = self.chain.head().number;
        until_confirmed_is_stored(flume, &self.chain).await;
    }
}

/// Block, log index and id.
type Place = (u64, u64, String);

/// Of each aggregate: what is confirmed lies above all that remains, and what is retracted is the topmost that does.
fn in_order(messages: &[String]) {
    let mut current: BTreeMap<(String, String), Vec<Place>> = BTreeMap::new();
    for message in messages {
        let message: Value = serde_json::from_str(message).expect("json");
        let word = |key: &str| message[key].as_str().expect("text").to_owned();
        if word("type").starts_with("user.") {
            continue;
        }
        let number = |key: &str| message["metadata"][key].as_u64().expect("a number");
        let place = (number("blockNumber"), number("logIndex"), word("id"));
        let stack = current.entry((word("aggregateType"), word("aggregateId"))).or_default();
        match word("state").as_str() {
            "confirmed" => {
                assert!(stack.last().is_none_or(|top| top < &place), "confirmed out of order: {message}");
                stack.push(place);
            }
            _ => assert_eq!(stack.pop(), Some(place), "retracted out of order: {message}"),
        }
    }
}
