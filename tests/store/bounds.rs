//! Where a source begins: with a block of the configuration, or with the first head of a node that has synced. Where it ends.

mod ends;

use chainflume_devchain::Effect;
use chainflume_devchain::Rule;
use chainflume_ops::health::{ChainHealth, SourceIdle};
use serde_json::json;

use crate::daemon::Home;
use crate::flume::{Flume, all_sources, config, devchain, source};
use crate::postgres;
use crate::scene::Scene;

const POLLED: &str = "ws = none\npoll_interval = \"50ms\"\n";

fn latest() -> String {
    all_sources().replace("start_block = 0", "start_block = \"latest\"")
}

fn from(block: u64) -> String {
    all_sources().replace("start_block = 0", &format!("start_block = {block}"))
}

async fn starts(scene: &Scene) -> Vec<(Option<i64>, bool)> {
    sqlx::query_as("select distinct start_block, starts_at_latest from sources")
        .fetch_all(&scene.pool)
        .await
        .expect("reads")
}

async fn number(scene: &Scene, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&scene.pool).await.expect("reads")
}

async fn until_decided(flume: &Flume, block: u64) {
    let decided = |chain: &ChainHealth| {
        !chain.sources.is_empty() && chain.sources.iter().all(|source| source.next == block)
    };
    flume.until("dev", &format!("decided for {block}"), decided).await;
}

/// What began with the latest block, and was that block, is what a number gives.
async fn equals_a_start_at(scene: &Scene, block: u64) {
    let tip = scene.chain.head().number - 2;
    let flume = scene.start_with("", &from(block)).await;
    flume.until_tip("dev", tip).await;
    flume.stop().await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_head_decides_once_where_a_source_begins() {
    let scene = Scene::new(100).await;
    let flume = scene.start_with("", &latest()).await;
    until_decided(&flume, 100).await;
    assert_eq!(starts(&scene).await, [(Some(100), true)]);
    // The head that decided, and more, leaves the chain before anything is stored.
    scene.reorg(3, 3);
    scene.mine(5);
    flume.until_tip("dev", 103).await;
    flume.stop().await;
    scene.mine(20);
    // A restart long after, and a second daemon beside it.
    let flume = scene.start_with("", &latest()).await;
    let second = scene.start_with("", &latest()).await;
    flume.until_tip("dev", 123).await;
    second.until_tip("dev", 123).await;
    second.stop().await;
    // A reorg of everything that is stored and not final.
    scene.reorg(10, 11);
    flume.until_tip("dev", 124).await;
    flume.stop().await;
    assert_eq!(starts(&scene).await, [(Some(100), true)]);
    assert_eq!(number(&scene, "select count(*) from events where block_number < 100").await, 0);
    equals_a_start_at(&scene, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_stored_from_the_latest_block_on_is_published() {
    let scene = Scene::new(60).await;
    let flume = scene.start_with("", &latest()).await;
    until_decided(&flume, 60).await;
    scene.mine(10);
    flume.until_tip("dev", 68).await;
    flume.stop().await;
    let published = "select count(distinct message::jsonb->>'id') from outbox where type not like 'user.%'";
    let stored = number(&scene, "select count(*) from events").await;
    assert!(stored > 0);
    assert_eq!(number(&scene, published).await, stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_waits_for_a_node_that_syncs_and_the_others_do_not() {
    let (chain, server) = devchain(64, 100).await;
    let url = postgres::database().await;
    let syncs = Effect::edit(|answer| *answer = json!({ "currentBlock": "0x0", "highestBlock": "0x64" }));
    let syncing = chain.faults().add(Rule::on("eth_syncing", syncs));
    chain.faults().set(|node| node.lag = 60);
    let token = source("token", "erc20", chainflume_devchain::DEMO_TOKEN, 0);
    let nft = source("nft", "erc721", chainflume_devchain::DEMO_NFT, 0).replace("= 0", "= \"latest\"");
    let flume = Flume::start(&config(&server, POLLED, &(token + &nft)), &url).await;
    let waits = |chain: &ChainHealth| {
        let [token, nft] = &chain.sources[..] else { return false };
        token.tip == Some(38)
            && (nft.tip, nft.idle, nft.lag(chain.heads.confirmed)) == (None, Some(SourceIdle::AwaitsHead), 0)
    };
    flume.until("dev", "waits with one source alone", waits).await;
    let why = flume.chain("dev").notices.unpublished.expect("it waits");
    assert!(why.contains("sources with start_block = \"latest\" do not begin"), "{why}");
    chain.faults().set(|node| node.lag = 0);
    chain.mine(1);
    flume.until("dev", "has more of the other", |chain| chain.sources[0].tip == Some(99)).await;
    assert_eq!(flume.chain("dev").sources[1].tip, None);
    syncing.lift();
    chain.mine(2);
    flume.until_tip("dev", 101).await;
    flume.stop().await;
    let pool = crate::flume::connect(&url).await;
    let start: i64 = sqlx::query_scalar("select start_block from sources where name = 'nft'")
        .fetch_one(&pool)
        .await
        .expect("it is decided");
    assert!((101..=103).contains(&start), "{start}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_becomes_latest_keeps_what_is_stored() {
    let scene = Scene::new(60).await;
    let flume = scene.start_with("", &from(30)).await;
    flume.until_tip("dev", 58).await;
    flume.stop().await;
    scene.mine(20);
    let flume = scene.start_with("", &latest()).await;
    flume.until_tip("dev", 78).await;
    flume.stop().await;
    assert_eq!(starts(&scene).await, [(Some(30), true)]);
    // A lower number reads the blocks between.
    let flume = scene.start_with("", &from(10)).await;
    let whole = |chain: &ChainHealth| chain.sources.iter().all(|source| source.unread.is_none());
    flume
        .until("dev", "has read the blocks between", |chain| !chain.sources.is_empty() && whole(chain))
        .await;
    flume.stop().await;
    equals_a_start_at(&scene, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_without_anything_stored_becomes_the_latest_block() {
    let scene = Scene::new(60).await;
    let flume = scene.start_with("", &from(500)).await;
    flume.until("dev", "waits", |chain| chain.sources.iter().any(|source| source.next == 500)).await;
    flume.stop().await;
    let flume = scene.start_with("", &latest()).await;
    flume.until("dev", "has decided", |chain| chain.sources.iter().any(|source| source.next == 60)).await;
    flume.stop().await;
    assert_eq!(starts(&scene).await, [(Some(60), true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_status_show_the_block_that_was_decided() {
    let (chain, server) = devchain(65, 80).await;
    let url = postgres::empty_database().await;
    let home = Home::new(&server, &latest(), Some(&url));
    let text = home.run(&["check"]).await.fine();
    assert!(text.contains("source token: erc20, 0x") && text.contains(", from the latest block\n"), "{text}");
    let undecided =
        "source token: start_block = \"latest\" is decided by the first head of a node that has synced";
    assert!(text.contains(undecided), "{text}");
    let daemon = home.start();
    let follows =
        |_, report: &serde_json::Value| report["chains"]["dev"]["sources"]["token"]["state"] == "following";
    daemon.until("the first block is decided", follows).await;
    chain.mine(2);
    daemon.until_tip(80).await;
    let status = home.run(&["status"]).await.fine();
    let decided = "chain dev: source token begins at block 80 (start_block = \"latest\")\n";
    assert!(status.contains(decided), "{status}");
    let status = home.run(&["status", "--json"]).await.json();
    assert_eq!(
        (&status["sources"][0]["startBlock"], &status["sources"][0]["startsAtLatest"]),
        (&json!(80), &json!(true))
    );
    daemon.stop_well().await;
    let text = home.run(&["check"]).await.fine();
    assert!(text.contains("source token: start_block = \"latest\" is block 80\n"), "{text}");
}
