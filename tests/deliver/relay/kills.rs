//! The whole process is killed, again and again, with PostgreSQL, Redis and a chain that reorganises under it.

use std::time::Duration;

use chainflume_devchain::MinerSettings;
use sqlx::postgres::PgPool;

use super::{canonical, entries, fold, fold_users, published, sources, until_all, until_sent, users};
use crate::daemon::{Home, agrees};
use crate::flume::{connect, devchain};
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

/// What was sent is what the outbox begins with, message by message.
async fn is_a_beginning(pool: &PgPool, server: &RedisServer) {
    let sent = published(server).await;
    let stored: Vec<String> = sqlx::query_scalar("select message from outbox order by seq limit $1")
        .bind(i64::try_from(sent.len()).expect("few"))
        .fetch_all(pool)
        .await
        .expect("reads");
    assert_eq!(sent, stored);
}
