//! A real process, killed.

use std::time::{Duration, Instant};

use chainflume_devchain::MinerSettings;

use super::{TOLD, fold, held};
use crate::daemon::{Home, agrees};
use crate::flume::{WAIT_LIMIT, connect, devchain};
use crate::wait::until_async;
use crate::{postgres, relays};

const KILLS: u64 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_any_moment_neither_doubles_nor_loses_pending() {
    let url = postgres::database().await;
    let pool = connect(&url).await;
    let (chain, server) = devchain(71, 30).await;
    let home = Home::new(&server, &relays::sources(""), Some(&url));
    home.rewrite("chain_id = 31337", &format!("chain_id = 31337\n{TOLD}"));
    let miner = chain.run(MinerSettings {
        // Not faster than a busy machine reads: only at the head is anything published as pending.
        block_time: Duration::from_millis(100),
        reorg_every: Some(3),
        max_reorg_depth: 5,
    });
    // Every second one is let alone until it publishes something; on a busy machine the others hardly do.
    let started = Instant::now();
    let mut round = 0;
    while round < KILLS || (!enough(published(&pool).await) && started.elapsed() < 4 * WAIT_LIMIT) {
        round += 1;
        let mut daemon = home.start();
        daemon.until_printed("database is ready").await;
        if round % 2 == 0 {
            until_more(&pool, published(&pool).await).await;
        }
        tokio::time::sleep(Duration::from_millis(100 + round * 7_919 % 400)).await;
        daemon.kill_9().await;
        folds(&pool).await;
    }
    drop(miner);
    let tip = chain.head().number - 2;
    let daemon = home.start();
    daemon.until_tip(tip).await;
    daemon.stop_well().await;
    agrees(&chain, &url, tip).await;
    folds(&pool).await;
    let (pending, retracted) = published(&pool).await;
    assert!(enough((pending, retracted)), "{pending} pending, {retracted} retracted");
}

async fn until_more(pool: &sqlx::PgPool, before: (i64, i64)) {
    until_async("something is published", async || published(pool).await != before).await;
}

fn enough((pending, retracted): (i64, i64)) -> bool {
    pending > 10 && retracted > 2
}

/// How many messages are pending, and how many retract.
async fn published(pool: &sqlx::PgPool) -> (i64, i64) {
    sqlx::query_as(
        "select count(*) filter (where state = 'pending'), count(*) filter (where state = 'retracted') from outbox",
    )
    .fetch_one(pool)
    .await
    .expect("reads")
}

/// What a consumer has is what the tables hold, at this moment.
async fn folds(pool: &sqlx::PgPool) {
    let mut tx = pool.begin_with("begin isolation level repeatable read read only").await.expect("begins");
    let messages: Vec<String> = sqlx::query_scalar("select message from outbox order by seq")
        .fetch_all(&mut *tx)
        .await
        .expect("reads");
    let found = held(&mut tx).await.expect("reads");
    assert_eq!(fold(&messages), Ok(found));
}
