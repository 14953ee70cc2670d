//! Live: how blocks are read, and when ranges are.

use chainflume_devchain::{Effect, Rule};
use chainflume_ops::health::ChainState;
use tokio_util::sync::CancellationToken;

use super::{BLOCK, LOGS};
use crate::scene::{Scene, by_hash, height};

#[tokio::test(flavor = "multi_thread")]
async fn near_the_head_logs_are_asked_for_by_the_hash_of_each_block() {
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    scene.mine(3);
    flume.until_tip("dev", 101).await;
    let asked = scene.asked();
    assert_eq!(asked.iter().filter_map(|asked| asked.range).collect::<Vec<_>>(), [(0, 84)]);
    let mut hashes: Vec<_> = asked.iter().filter_map(|asked| asked.hash).collect();
    let mut blocks: Vec<_> = (85..=101).map(|n| scene.chain.block(n).expect("mined").hash).collect();
    hashes.sort_unstable();
    blocks.sort_unstable();
    assert_eq!(hashes, blocks);
    scene.ends_at(flume, 101).await;
    assert_eq!(scene.story().await, ["all: up to a84", "all: a84 to a98", "all: a98 to a101"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn far_behind_it_goes_back_to_ranges_by_itself() {
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    flume.until("dev", "was live", |chain| chain.state == ChainState::Live).await;
    // The node does not answer for a while, and is far ahead when it does.
    let gate = CancellationToken::new();
    let latest = Rule::on(BLOCK, Effect::Until(gate.clone())).asking(|params| params[0] == "latest");
    let held = scene.chain.faults().add(latest);
    crate::wait::until("it asks for the head", || held.fired() > 0).await;
    scene.asked();
    scene.mine(200);
    let ranges = scene.chain.faults().add(
        Rule::on(LOGS, Effect::Delay(std::time::Duration::from_millis(50))).asking(|params| !by_hash(params)),
    );
    gate.cancel();
    flume.until("dev", "read history", |chain| chain.state == ChainState::Syncing).await;
    flume.until_tip("dev", 298).await;
    flume.until("dev", "was live again", |chain| chain.state == ChainState::Live).await;
    assert_eq!(ranges.fired(), 1);
    assert_eq!(scene.asked().iter().filter_map(|asked| asked.range).collect::<Vec<_>>(), [(99, 284)]);
    scene.ends_at(flume, 298).await;
    assert_eq!(
        scene.story().await,
        ["all: up to a84", "all: a84 to a98", "all: a98 to a284", "all: a284 to a298"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn far_behind_after_a_stop_it_reads_ranges_from_its_checkpoint() {
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    flume.stop().await;
    scene.mine(200);
    let flume = scene.start("").await;
    scene.ends_at(flume, 298).await;
    assert_eq!(
        scene.story().await,
        ["all: up to a84", "all: a84 to a98", "all: a98 to a284", "all: a284 to a298"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_falls_behind_is_waited_for() {
    let scene = Scene::new(100).await;
    let flume = scene.start("poll_interval = \"50ms\"\nws = none\n").await;
    flume.until_tip("dev", 98).await;
    scene.chain.faults().set(|node| node.lag = 6);
    flume.until("dev", "saw the lower head", |chain| chain.heads.latest == Some(94)).await;
    scene.mine(3);
    flume.until("dev", "saw it rise", |chain| chain.heads.latest == Some(97)).await;
    assert_eq!((flume.chain("dev").errors.consecutive, scene.story().await.len()), (0, 2));
    scene.chain.faults().set(|node| node.lag = 0);
    flume.until_tip("dev", 101).await;
    scene.ends_at(flume, 101).await;
    assert_eq!(scene.story().await, ["all: up to a84", "all: a84 to a98", "all: a98 to a101"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_lags_behind_its_load_balancer_is_asked_again() {
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    let mut story = vec!["all: up to a84".to_owned(), "all: a84 to a98".to_owned()];
    for block in (99..).take(3) {
        // The one that answers for the header, and then the one for the logs, has not heard of the block.
        let faults = [
            Rule::on(BLOCK, Effect::Lag(5)).asking(height(block)).times(1),
            Rule::on(LOGS, Effect::Lag(5)).asking(by_hash).times(2),
        ]
        .map(|rule| scene.chain.faults().add(rule));
        scene.mine(1);
        flume.until_tip("dev", block).await;
        assert_eq!(faults.map(|fault| fault.fired()), [1, 2]);
        story.push(format!("all: a{} to a{block}", block - 1));
    }
    scene.ends_at(flume, 101).await;
    assert_eq!(scene.story().await, story);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_a_node_lacks_in_the_middle_are_not_skipped() {
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    let missing = scene.chain.faults().add(Rule::on(BLOCK, Effect::Null).asking(height(101)).times(2));
    scene.mine(5);
    flume.until_tip("dev", 103).await;
    assert_eq!(missing.fired(), 2);
    scene.ends_at(flume, 103).await;
    assert_eq!(
        scene.story().await,
        ["all: up to a84", "all: a84 to a98", "all: a98 to a100", "all: a100 to a103"]
    );
}
