//! When a block is deep enough.

use chainflume_devchain::Settings;

use crate::scene::Scene;
use crate::wait::until;

/// Polls: tags are asked for with the clock, not with each head.
const POLLED: &str = "ws = none\npoll_interval = \"50ms\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn without_confirmations_the_head_itself_is_stored_and_undone() {
    let scene = Scene::new(100).await;
    let flume = scene.start("confirmations = 0\n").await;
    flume.until_tip("dev", 100).await;
    scene.reorg(1, 2);
    flume.until_tip("dev", 101).await;
    scene.ends_at(flume, 101).await;
    assert_eq!(
        scene.story().await,
        ["all: up to a84", "all: a84 to a100", "all: a100 back to a99", "all: a99 to b101"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_within_the_confirmations_touches_nothing() {
    for (confirmations, tip) in [(2, 98), (5, 95)] {
        let scene = Scene::new(100).await;
        let flume = scene.start(&format!("confirmations = {confirmations}\n")).await;
        flume.until_tip("dev", tip).await;
        for depth in 1..=confirmations {
            scene.reorg(depth, depth);
        }
        scene.reorg(confirmations, confirmations + 1);
        flume.until_tip("dev", tip + 1).await;
        scene.ends_at(flume, tip + 1).await;
        let branch = if confirmations == 2 { 'd' } else { 'g' };
        let last = format!("all: a{tip} to {branch}{}", tip + 1);
        assert_eq!(scene.story().await, ["all: up to a84".to_owned(), format!("all: a84 to a{tip}"), last]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_block_more_than_the_confirmations_is_one_block_undone() {
    let scene = Scene::new(100).await;
    let flume = scene.start("confirmations = 5\n").await;
    flume.until_tip("dev", 95).await;
    scene.reorg(6, 7);
    flume.until_tip("dev", 96).await;
    scene.ends_at(flume, 96).await;
    assert_eq!(
        scene.story().await,
        ["all: up to a84", "all: a84 to a95", "all: a95 back to a94", "all: a94 to b96"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_safe_tag_confirms() {
    let scene = Scene::of(Settings { history: 100, finalized_depth: Some(20), ..Default::default() }).await;
    let flume = scene.start(&format!("confirmations = \"safe\"\n{POLLED}")).await;
    flume.until_tip("dev", 90).await;
    scene.reorg(10, 11);
    flume.until_tip("dev", 91).await;
    // Deeper than safe, and still above what is finalized.
    scene.reorg(14, 15);
    flume.until_tip("dev", 92).await;
    scene.ends_at(flume, 92).await;
    assert_eq!(
        scene.story().await,
        ["all: up to a84", "all: a84 to a90", "all: a90 to b91", "all: b91 back to a87", "all: a87 to c92"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_finalized_tag_confirms_and_nothing_is_ever_undone() {
    let scene = Scene::of(Settings { history: 100, finalized_depth: Some(20), ..Default::default() }).await;
    let flume = scene.start(&format!("confirmations = \"finalized\"\n{POLLED}")).await;
    flume.until_tip("dev", 80).await;
    scene.reorg(20, 21);
    flume.until_tip("dev", 81).await;
    scene.reorg(20, 23);
    flume.until_tip("dev", 84).await;
    scene.ends_at(flume, 84).await;
    assert_eq!(scene.story().await, ["all: up to a80", "all: a80 to b81", "all: b81 to c84"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_the_chain_lacks_confirms_nothing_and_is_reported() {
    for tag in ["safe", "finalized"] {
        let scene = Scene::new(100).await;
        let flume = scene.start(&format!("confirmations = \"{tag}\"\n{POLLED}")).await;
        flume.until("dev", "saw the head", |chain| chain.heads.latest == Some(100)).await;
        flume
            .until("dev", "reports why it waits", |chain| {
                chain.errors.last.as_ref().is_some_and(|error| error.contains(&format!("no `{tag}` block")))
            })
            .await;
        let polls = scene.chain.calls("eth_getBlockByNumber");
        until("it goes on asking", || scene.chain.calls("eth_getBlockByNumber") > polls + 4).await;
        flume.stop().await;
        assert_eq!(scene.story().await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_lower_than_its_confirmations_waits() {
    let scene = Scene::new(0).await;
    let flume = scene.start("confirmations = 3\n").await;
    flume.until("dev", "saw the head", |chain| chain.heads.latest == Some(0)).await;
    scene.mine(2);
    flume.until("dev", "saw the head", |chain| chain.heads.latest == Some(2)).await;
    assert_eq!((flume.chain("dev").heads.confirmed, scene.story().await.len()), (None, 0));
    scene.mine(1);
    flume.until_tip("dev", 0).await;
    scene.mine(3);
    scene.ends_at(flume, 3).await;
    assert_eq!(scene.story().await, ["all: up to a0", "all: a0 to a3"]);
}
