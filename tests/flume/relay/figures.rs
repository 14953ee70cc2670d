//! How fast messages leave. Nothing is asserted about time: machines differ.
//!
//! `cargo test --release --test flume relay::figures -- --ignored --nocapture`

use std::time::{Duration, Instant};

use super::{Carriers, sources};
use crate::flume::{Flume, config, connect, devchain};
use crate::postgres;
use crate::redis_server::RedisServer;

const BACKLOG: i64 = 100_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn a_backlog() {
    let (url, server) = (postgres::database().await, RedisServer::start());
    let pool = connect(&url).await;
    let (_chain, node) = devchain(1, 3).await;
    sqlx::query(
        "insert into outbox (seq, chain_id, aggregate_type, type, state, message) \
         select n, 1, (array['user', 'token', 'nft', 'contract'])[1 + n % 4], 'erc20.transfer', 'confirmed', \
             '{\"seq\": ' || n || ', \"payload\": \"' || repeat('x', 700) || '\"}' from generate_series(1, $1) n",
    )
    .bind(BACKLOG)
    .execute(&pool)
    .await
    .expect("inserts");
    sqlx::query("update outbox_head set seq = $1").bind(BACKLOG).execute(&pool).await.expect("updates");
    let before = resident();
    let started = Instant::now();
    let carriers = Carriers::start(&config(&node, "", &sources(&server.url())), &url).await;
    let mut most = before;
    while carriers.sink("redis").delivered < Some(BACKLOG.unsigned_abs()) {
        most = most.max(resident());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "backlog of {BACKLOG} messages of 0.7 kB: {:.0} messages/s, {} KiB more memory than before",
        100_000.0 / seconds,
        most.saturating_sub(before)
    );
    carriers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn from_head_to_redis() {
    for (per_second, blocks) in [(1, 30), (20, 400)] {
        let (url, server) = (postgres::database().await, RedisServer::start());
        let (chain, node) = devchain(2, 10).await;
        let config = config(&node, "confirmations = 0", &sources(&server.url()));
        let flume = Flume::start(&config, &url).await;
        let carriers = Carriers::start(&config, &url).await;
        flume.until_tip("dev", chain.head().number).await;
        let client = ::redis::Client::open(server.url()).expect("a url");
        let mut heard = client.get_async_pubsub().await.expect("connects");
        heard.psubscribe("events:*").await.expect("listens");
        let mut heard = heard.into_on_message();
        let mut times = Vec::new();
        for _ in 0..blocks {
            let next = Instant::now() + Duration::from_millis(1000 / per_second);
            let mined = Instant::now();
            let number = chain.mine(1).number;
            let here = format!("\"blockNumber\":{number},");
            let wait = async {
                while let Some(message) = futures_util::StreamExt::next(&mut heard).await {
                    if message.get_payload::<String>().is_ok_and(|text| text.contains(&here)) {
                        break;
                    }
                }
            };
            // A block may be without a log of ours.
            if tokio::time::timeout_at(next.into(), wait).await.is_ok() {
                times.push(mined.elapsed());
            }
            tokio::time::sleep_until(next.into()).await;
        }
        times.sort();
        println!(
            "head to redis at {per_second} blocks/s, {} blocks: p50 {:?}, p99 {:?}, most {:?}",
            times.len(),
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            times[times.len() - 1]
        );
        carriers.stop().await;
        flume.stop().await;
    }
}

/// Memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
