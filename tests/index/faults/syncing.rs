//! A node that has not the newest blocks: at the first start, and below what is stored.

use chainflume::admin::{Limits, Report};
use chainflume_devchain::{Effect, Rule};
use chainflume_ops::health::{ChainState, DatabaseHealth};
use serde_json::json;
use sqlx::PgPool;

use crate::flume::{Flume, all_sources, config, connect, devchain};
use crate::postgres;

const POLLED: &str = "ws = none\npoll_interval = \"50ms\"\n";

async fn number(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.expect("reads")
}

const MESSAGES: &str = "select count(*) from outbox where type not like 'user.%'";
const UNDECIDED: &str = "select count(*) from sources where publish_from is null";

/// Why the chain is not ready.
fn reasons(flume: &Flume) -> Vec<String> {
    flume.board.set_database(DatabaseHealth { writable: true, ..DatabaseHealth::default() });
    let limits = Limits { max_lag: 1_000, ..Limits::default() };
    Report::of(&flume.board, &limits).chains["dev"].not_ready.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_against_a_syncing_node_publishes_no_history() {
    let (chain, server) = devchain(62, 100).await;
    let (url, old) = (postgres::database().await, postgres::database().await);
    let pool = connect(&url).await;
    let syncs = Effect::edit(|answer| *answer = json!({ "currentBlock": "0x0", "highestBlock": "0x64" }));
    let syncing = chain.faults().add(Rule::on("eth_syncing", syncs));
    chain.faults().set(|node| node.lag = 100);
    let flume = Flume::start(&config(&server, POLLED, &all_sources()), &url).await;
    flume.until("dev", "waits for its node", |chain| chain.notices.unpublished.is_some()).await;
    // The node imports some blocks, and these are stored.
    chain.faults().set(|node| node.lag = 50);
    flume.until_tip("dev", 48).await;
    assert!(number(&pool, "select count(*) from events").await > 0);
    assert_eq!((number(&pool, MESSAGES).await, number(&pool, UNDECIDED).await), (0, 3));
    let reasons_now = reasons(&flume);
    assert!(reasons_now.iter().any(|reason| reason.contains("its node still syncs")), "{reasons_now:?}");
    syncing.lift();
    flume.until("dev", "has decided", |chain| chain.notices.unpublished.is_none()).await;
    chain.faults().set(|node| node.lag = 0);
    chain.mine(3);
    flume.until_tip("dev", 101).await;
    flume.stop().await;
    assert_eq!(number(&pool, UNDECIDED).await, 0);
    let from = number(&pool, "select min(publish_from) from sources").await;
    assert!((49..=51).contains(&from), "above the head of the node that has synced: {from}");
    let above = "select count(*) from events where block_number >= (select min(publish_from) from sources)";
    assert_eq!(number(&pool, MESSAGES).await, number(&pool, above).await);

    // A head of long ago is a reason to wait as well, where the chain's clock is believed.
    let keys = format!("max_head_age = \"1h\"\n{POLLED}");
    let flume = Flume::start(&config(&server, &keys, &all_sources()), &old).await;
    flume.until_tip("dev", 101).await;
    let waits = flume.chain("dev").notices.unpublished.expect("the blocks of this chain are years old");
    assert!(waits.contains("h old") && waits.contains("max_head_age"), "{waits}");
    flume.stop().await;
    assert_eq!(number(&connect(&old).await, MESSAGES).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_far_below_what_is_stored_is_neither_live_nor_ready() {
    let (chain, server) = devchain(63, 100).await;
    let url = postgres::database().await;
    let config = config(&server, POLLED, &all_sources());
    let flume = Flume::start(&config, &url).await;
    flume.until_tip("dev", 98).await;
    flume.stop().await;
    chain.faults().set(|node| node.lag = 60);
    let flume = Flume::start(&config, &url).await;
    flume.until("dev", "sees the lower node", |chain| chain.heads.node_behind == 58).await;
    flume.until("dev", "is not live", |chain| chain.state == ChainState::Syncing).await;
    let reason = "its node is 58 blocks below what is stored: it still syncs, or was replaced by an old copy";
    assert_eq!(reasons(&flume), [reason]);
    chain.faults().set(|node| node.lag = 0);
    chain.mine(1);
    flume.until_tip("dev", 99).await;
    flume
        .until("dev", "is live", |chain| chain.state == ChainState::Live && chain.heads.node_behind == 0)
        .await;
    assert_eq!(reasons(&flume), [""; 0]);
    flume.stop().await;
}
