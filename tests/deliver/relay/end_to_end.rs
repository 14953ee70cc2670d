//! From the chain to the consumer.

use std::time::{Duration, Instant};

use chainflume_devchain::DevChain;

use super::{Relays, canonical, fold, published, sources};
use crate::flume::{Flume, config, connect, devchain};
use crate::postgres;
use crate::redis_server::RedisServer;

/// Some blocks, and a reorg deeper than the confirmations now and then: shorter, longer, the same again, back and forth.
pub fn disturb(chain: &DevChain, round: u64) {
    match round % 6 {
        1 => drop(chain.reorg(3 + round % 4, 5)),
        3 => drop(chain.reorg_same(4, 1)),
        4 => {
            let branch = chain.branch();
            chain.reorg(5, 6);
            chain.mine(1);
            chain.restore(&branch);
        }
        5 => drop(chain.reorg(6, 4)),
        _ => {}
    }
    chain.mine(3);
}

/// Until everything confirmed is stored.
pub async fn until_confirmed_is_stored(flume: &Flume, chain: &DevChain) {
    flume.until_tip("dev", chain.head().number - 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_fold_to_canonical_events_through_reorgs() {
    let (url, server) = (postgres::database().await, RedisServer::start());
    let pool = connect(&url).await;
    let (chain, node) = devchain(7, 30).await;
    let config = config(&node, "", &sources(&server.url()));
    let flume = Flume::start(&config, &url).await;
    let relays = Relays::start(&config, &url).await;
    for round in 0..18 {
        disturb(&chain, round);
        until_confirmed_is_stored(&flume, &chain).await;
    }
    relays.until_all("redis").await;
    let messages = published(&server).await;
    assert_eq!(fold(&messages), canonical(&pool).await);
    let retracted = messages.iter().filter(|message| message.contains("\"retracted\"")).count();
    assert!(retracted > 50, "the reorgs took back {retracted} events");
    assert!(messages[0].contains("\"seq\":1,"), "from the first");
    relays.stop().await;
    flume.stop().await;
    let cursor: i64 = sqlx::query_scalar("select seq from sink_cursors where sink = 'redis'")
        .fetch_one(&pool)
        .await
        .expect("one");
    assert_eq!(usize::try_from(cursor), Ok(messages.len()), "the cursor is written at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_the_same_messages_are_heard_in_the_process() {
    let url = postgres::database().await;
    let pool = connect(&url).await;
    let (chain, node) = devchain(8, 20).await;
    let config = config(&node, "", &sources(""));
    let flume = Flume::start(&config, &url).await;
    until_confirmed_is_stored(&flume, &chain).await;
    let relays = Relays::start(&config, &url).await;
    let mut heard = relays.bus.as_ref().expect("in the process").subscribe();
    for round in 0..6 {
        disturb(&chain, round);
        until_confirmed_is_stored(&flume, &chain).await;
    }
    let last = relays.until_all("in-process").await;
    let mut messages = Vec::new();
    while messages.last().is_none_or(|message: &String| !message.contains(&format!("\"seq\":{last},"))) {
        messages.push(heard.recv().await.expect("not behind").json.clone());
    }
    assert_eq!(fold(&messages), canonical(&pool).await);
    relays.stop().await;
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_published_at_once_or_a_second_later_unannounced() {
    let (url, server) = (postgres::database().await, RedisServer::start());
    let pool = connect(&url).await;
    let (chain, node) = devchain(9, 10).await;
    let config = config(&node, "", &sources(&server.url()));
    let flume = Flume::start(&config, &url).await;
    until_confirmed_is_stored(&flume, &chain).await;
    let relays = Relays::start(&config, &url).await;
    relays.until_all("redis").await;
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        chain.mine(3);
        until_confirmed_is_stored(&flume, &chain).await;
        let stored = Instant::now();
        relays.until_all("redis").await;
        fastest = fastest.min(stored.elapsed());
    }
    assert!(fastest < Duration::from_millis(500), "the poll takes a second: {fastest:?}");
    for _ in 0..3 {
        let cut: Vec<bool> = sqlx::query_scalar(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and query like 'LISTEN%'",
        )
        .fetch_all(&pool)
        .await
        .expect("we may");
        chain.mine(3);
        until_confirmed_is_stored(&flume, &chain).await;
        relays.until_all("redis").await;
        assert!(cut.len() <= 1, "one connection listens: {cut:?}");
    }
    assert_eq!(fold(&published(&server).await), canonical(&pool).await);
    relays.stop().await;
    flume.stop().await;
}
