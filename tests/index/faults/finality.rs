//! What is final is not undone.

use std::collections::BTreeMap;
use std::time::Duration;

use chainflume::admin::{Limits, Report};
use chainflume_devchain::{DEMO_TOKEN, DevChain, STAKE_VAULT, Settings};
use chainflume_ops::health::{ChainState, DatabaseHealth};

use crate::flume::{all_sources, source};
use crate::scene::Scene;
use crate::tables;

fn then(lines: &[&str]) -> Vec<String> {
    ["all: up to a84", "all: a84 to a98"].iter().chain(lines).map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_down_to_the_final_block_is_undone() {
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    scene.reorg(16, 17);
    flume.until_tip("dev", 99).await;
    scene.ends_at(flume, 99).await;
    // By the new head, block 85 is final and read by range.
    assert_eq!(scene.story().await, then(&["all: a98 back to a84", "all: a84 to b85", "all: b85 to b99"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_block_that_changes_stops_its_chain_and_no_other() {
    let scene = Scene::new(100).await;
    let other = DevChain::new(Settings { chain_id: 31_338, seed: 7, history: 50, ..Default::default() });
    let other_server = other.serve("127.0.0.1:0").await.expect("a free port");
    let chain = format!(
        "[[chain]]\nname = \"other\"\nchain_id = 31338\nhttp = \"{}\"\nws = \"{}\"\nreorg_window = 16\nmax_head_age = \"0s\"\n",
        other_server.http_url(),
        other_server.ws_url()
    );
    let more = format!(
        "{chain}[[source]]\nname = \"other_token\"\nchain = \"other\"\nfamily = \"erc20\"\naddress = \"{DEMO_TOKEN}\"\nstart_block = 0\n"
    );
    let vault = source("vault", "stake", STAKE_VAULT, 0);
    let flume = scene.start_with("", &(vault + &more)).await;
    flume.until_tip("dev", 98).await;
    flume.until_tip("other", 48).await;
    let before = tables::of_chain(&scene.pool, 31_337).await;
    scene.reorg(17, 18);
    flume.until("dev", "stopped", |chain| chain.state == ChainState::Stopped).await;
    let error = flume.chain("dev").errors.last.expect("it has a reason");
    let (ours, theirs) = (before_hash(&scene).await, scene.chain.block(84).expect("mined").hash);
    for words in
        ["final block 84", &ours, &theirs.to_string(), "nothing was undone", "restart", "chainflume rewind"]
    {
        assert!(error.contains(words), "`{words}` is not in `{error}`");
    }
    // Readiness is red, for that chain alone.
    let database = DatabaseHealth { writable: true, ..DatabaseHealth::default() };
    flume.board.set_database(database);
    let limits = Limits {
        max_lag: 100,
        head_silence: BTreeMap::from([("dev".to_owned(), Duration::from_secs(60))]),
        ..Limits::default()
    };
    let report = Report::of(&flume.board, &limits);
    assert!(!report.ready);
    assert_eq!(report.chains["dev"].not_ready, ["is stopped: operator action required"]);
    assert_eq!(report.chains["other"].not_ready, [""; 0]);
    // The other one goes on.
    scene.mine(3);
    for head in 51..=53 {
        other.mine(1);
        flume.until_tip("other", head - 2).await;
    }
    assert_eq!(flume.chain("dev").state, ChainState::Stopped);
    assert_eq!(tables::of_chain(&scene.pool, 31_337).await, before);
    flume.stop().await;
}

async fn before_hash(scene: &Scene) -> String {
    let hash: Vec<u8> = sqlx::query_scalar("select hash from blocks where chain_id = 31337 and number = 84")
        .fetch_one(&scene.pool)
        .await
        .expect("the final block is held");
    alloy_primitives::B256::from_slice(&hash).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_stopped_stops_again_until_the_node_agrees() {
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    let branch = scene.chain.branch();
    flume.stop().await;
    scene.reorg(30, 31);
    for _ in 0..2 {
        let flume = scene.start("").await;
        flume.until("dev", "stopped", |chain| chain.state == ChainState::Stopped).await;
        flume.stop().await;
    }
    assert_eq!(scene.story().await, then(&[]));
    scene.change(|chain| chain.restore(&branch));
    scene.mine(1);
    let flume = scene.start("").await;
    scene.ends_at(flume, 99).await;
    assert_eq!(scene.story().await, then(&["all: a98 to a99"]));
}

/// The three sources, and a fourth, of an unused contract, that starts near block 300.
fn with_a_late_one() -> String {
    all_sources() + &source("late", "erc20", "0x00000000000000000000000000000000000000aa", 295)
}

#[tokio::test(flavor = "multi_thread")]
async fn finality_at_storage_decides_however_far_the_chain_went() {
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    flume.stop().await;
    // Blocks 86 to 100 are replaced, and by the new head even these are final. The late source stores first, near
    // that head, and must not make our orphans final.
    scene.reorg(15, 215);
    let flume = scene.start_with("", &with_a_late_one()).await;
    flume.until_tip("dev", 298).await;
    flume.stop().await;
    tables::assert_equals_chain(&scene.pool, &scene.chain, 298).await;
    scene.equals_fresh_sync().await;
    assert_eq!(scene.story().await[2], "nft token vault: a98 back to a85");
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_a_lagging_node_could_not_judge_are_judged_in_time() {
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    flume.stop().await;
    scene.reorg(4, 204);
    scene.chain.faults().set(|node| node.lag = 210);
    let flume = scene.start_with("ws = none\npoll_interval = \"50ms\"\n", &with_a_late_one()).await;
    flume.until("dev", "saw the lower head", |chain| chain.heads.latest == Some(90)).await;
    scene.chain.faults().set(|node| node.lag = 0);
    flume.until_tip("dev", 298).await;
    flume.stop().await;
    scene.equals_fresh_sync().await;
    assert_eq!(scene.story().await[2], "nft token vault: a98 back to a96");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_no_longer_configured_goes_back_with_the_others() {
    let scene = Scene::new(100).await;
    let (vault, token) = (source("vault", "stake", STAKE_VAULT, 0), source("token", "erc20", DEMO_TOKEN, 0));
    // The token is higher than the vault when it leaves the config.
    let flume = scene.start_with("", &(vault.clone() + &token)).await;
    flume.until_tip("dev", 98).await;
    flume.stop().await;
    scene.mine(4);
    let flume = scene.start_with("", &token).await;
    flume.until_tip("dev", 102).await;
    flume.stop().await;
    // Blocks 101 to 104 are replaced: the vault at 98 knows none of them.
    scene.reorg(4, 5);
    let flume = scene.start_with("", &vault).await;
    flume.until_tip("dev", 103).await;
    flume.stop().await;
    let flume = scene.start_with("", &(vault + &token)).await;
    flume.until_tip("dev", 103).await;
    flume.stop().await;
    scene.equals_fresh_sync().await;
    assert_eq!(
        scene.story().await,
        [
            "all: up to a84",
            "all: a84 to a98",
            "token: a98 to a102",
            "token: a102 back to a100",
            "vault: a98 to b103",
            "token: a100 to b103"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_chain_is_not_written_to() {
    let scene = Scene::new(100).await;
    let flume = scene.start_with("", &all_sources()).await;
    flume.until_tip("dev", 98).await;
    flume.stop().await;
    // Another chain of the same id answers at the address: its genesis is another.
    let stranger = DevChain::new(Settings { seed: 9, history: 100, ..Default::default() });
    let server = stranger.serve("127.0.0.1:0").await.expect("a free port");
    let config = crate::flume::config(&server, "", &all_sources());
    let flume = crate::flume::Flume::start(&config, &scene.url).await;
    flume.until("dev", "stopped", |chain| chain.state == ChainState::Stopped).await;
    flume.stop().await;
    assert_eq!(scene.story().await, then(&[]));
}
