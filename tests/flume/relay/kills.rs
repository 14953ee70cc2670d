//! The whole process is killed, again and again, with PostgreSQL, Redis and a chain that reorganises under it.

use std::time::{Duration, Instant};

use chainflume_devchain::MinerSettings;
use redis::aio::MultiplexedConnection;
use sqlx::postgres::PgPool;

use super::{canonical, fold, fold_users, published, sources, users};
use crate::daemon::{Daemon, Home, agrees};
use crate::flume::{WAIT_LIMIT, connect, devchain};
use crate::postgres;
use crate::random::{Random, seed};
use crate::redis_server::RedisServer;

const KILLS: u64 = 100;
/// Every so many kills one strikes wherever the daemon is by then; the others once it has sent something.
const EARLY: u64 = 3;
/// Every so many kills everything that was sent is read.
const LOOK: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_a_hundred_times_loses_and_doubles_nothing() {
    let mut random = Random::new(seed("kills"));
    let (url, server) = (postgres::database().await, RedisServer::start());
    let pool = connect(&url).await;
    let (chain, node) = devchain(16, 50).await;
    let home = Home::new(&node, &sources(&server.url()), Some(&url));
    let block_time = Duration::from_millis(20);
    let miner = chain.run(MinerSettings { block_time, reorg_every: Some(6), max_reorg_depth: 6 });
    let mut redis = server.connection().await;
    let (mut sent, mut at_work) = (0, 0);
    for kill in 1..=KILLS {
        let daemon = home.start();
        let moment = if kill % EARLY == 0 {
            Duration::from_micros(random.below(400_000))
        } else {
            until_sent(sent + 1, &mut redis, &daemon).await;
            Duration::from_micros(random.below(80_000))
        };
        tokio::time::sleep(moment).await;
        daemon.kill_9().await;
        let now = entries(&mut redis).await;
        at_work += u64::from(now > sent);
        sent = now;
        if kill % LOOK == 0 {
            is_a_beginning(&pool, &server).await;
        }
    }
    assert!(at_work > KILLS / 2, "only {at_work} of {KILLS} kills were of a daemon that had sent anything");
    drop(miner);

    let tip = chain.head().number - 2;
    let daemon = home.start();
    daemon.until_tip(tip).await;
    until_all(&pool, &server).await;
    daemon.stop_well().await;
    let messages = published(&server).await;
    assert_eq!(fold(&messages), canonical(&pool).await);
    assert_eq!(fold_users(&messages), Ok(users(&pool).await));
    agrees(&chain, &url, tip).await;
}

/// Number of the newest message.
pub async fn outbox(pool: &PgPool) -> u64 {
    let seq: i64 = sqlx::query_scalar("select seq from outbox_head").fetch_one(pool).await.expect("one row");
    seq.unsigned_abs()
}

/// Entries in all streams.
async fn entries(redis: &mut MultiplexedConnection) -> u64 {
    let mut pipe = redis::pipe();
    for stream in ["user", "token", "nft", "contract"] {
        pipe.cmd("XLEN").arg(format!("events:{stream}"));
    }
    let counts: Vec<u64> = pipe.query_async(redis).await.expect("counts");
    counts.iter().sum()
}

/// Waits until the streams have so many entries.
pub async fn until_sent(count: u64, redis: &mut MultiplexedConnection, daemon: &Daemon) {
    let deadline = Instant::now() + WAIT_LIMIT;
    while entries(redis).await < count {
        assert!(Instant::now() < deadline, "{} of {count}: {}", entries(redis).await, daemon.log());
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Waits until as much was sent as there is.
pub async fn until_all(pool: &PgPool, server: &RedisServer) {
    let (deadline, mut redis) = (Instant::now() + WAIT_LIMIT, server.connection().await);
    while entries(&mut redis).await != outbox(pool).await {
        assert!(Instant::now() < deadline, "{} of {}", entries(&mut redis).await, outbox(pool).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What was sent is what the outbox begins with, message by message.
async fn is_a_beginning(pool: &PgPool, server: &RedisServer) {
    let sent = published(server).await;
    let told: Vec<String> = sqlx::query_scalar("select message from outbox order by seq limit $1")
        .bind(i64::try_from(sent.len()).expect("few"))
        .fetch_all(pool)
        .await
        .expect("reads");
    assert_eq!(sent, told);
}
