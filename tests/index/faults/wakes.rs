//! Live: what wakes the daemon.

use std::time::{Duration, Instant};

use chainflume_ops::health::ChainHealth;

use crate::flume::Flume;
use crate::scene::Scene;
use crate::wait::until;

/// No loop polls within a test, and no socket is taken for dead.
const NO_POLL: &str = "poll_interval = \"5m\"\nws_silence = \"5m\"\n";
/// A socket counts as dead soon.
const IMPATIENT: &str = "ws_silence = \"2s\"\nrequest_timeout = \"3s\"\npoll_interval = \"100ms\"\n";

fn pushed(chain: &ChainHealth) -> bool {
    chain.heads.pushed
}

/// A daemon at block 98 of 100 that listens to the node's WebSocket.
async fn listening(scene: &Scene, keys: &str) -> Flume {
    let flume = scene.start(keys).await;
    flume.until_tip("dev", 98).await;
    until("it subscribes", || scene.chain.calls("eth_subscribe") >= 1).await;
    flume
}

/// The story of a start at head 100 and of steps to each of these blocks.
fn steps(to: &[u64]) -> Vec<String> {
    let mut story = vec!["all: up to a84".to_owned(), "all: a84 to a98".to_owned()];
    for (from, to) in std::iter::once(&98).chain(to).zip(to) {
        story.push(format!("all: a{from} to a{to}"));
    }
    story
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_on_the_websocket_wakes_at_once() {
    let scene = Scene::new(100).await;
    let flume = listening(&scene, NO_POLL).await;
    for block in 99..=103 {
        let mined = Instant::now();
        scene.mine(1);
        flume.until_tip("dev", block).await;
        assert!(mined.elapsed() < Duration::from_secs(5), "block {block} took {:?}", mined.elapsed());
    }
    assert!(flume.chain("dev").heads.pushed);
    scene.ends_at(flume, 103).await;
    assert_eq!(scene.story().await, steps(&[99, 100, 101, 102, 103]));
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_were_missed_are_read_with_the_next_one() {
    let scene = Scene::new(100).await;
    let flume = listening(&scene, NO_POLL).await;
    scene.mine(1);
    flume.until_tip("dev", 99).await;
    scene.chain.faults().set(|node| node.ws_silent = true);
    scene.mine(5);
    assert_eq!(flume.chain("dev").heads.latest, Some(101));
    scene.chain.faults().set(|node| node.ws_silent = false);
    // The socket still has the heads of the time without a reader; what it lost is seen with the next head.
    scene.mine(1);
    flume.until_tip("dev", 105).await;
    scene.ends_at(flume, 105).await;
    let story = scene.story().await;
    assert_eq!(story[..3], steps(&[99]));
    assert_eq!(story.last().map(|line| line.ends_with("to a105")), Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_socket_is_replaced_by_polling_and_taken_back() {
    let scene = Scene::new(100).await;
    let flume = listening(&scene, IMPATIENT).await;
    scene.mine(1);
    flume.until("dev", "listened", pushed).await;
    scene.chain.faults().set(|node| node.ws_silent = true);
    flume.until_tip("dev", 99).await;
    scene.mine(1);
    flume.until_tip("dev", 100).await;
    flume.until("dev", "polled", |chain| !pushed(chain)).await;
    for block in [101, 102] {
        scene.mine(1);
        flume.until_tip("dev", block).await;
    }
    assert!(!flume.chain("dev").heads.pushed);
    scene.chain.faults().set(|node| node.ws_silent = false);
    let again = scene.chain.calls("eth_subscribe");
    until("it subscribes again", || scene.chain.calls("eth_subscribe") > again).await;
    scene.mine(1);
    flume.until("dev", "listened again", pushed).await;
    scene.ends_at(flume, 103).await;
    assert_eq!(scene.story().await, steps(&[99, 100, 101, 102, 103]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_closes_is_opened_again() {
    let scene = Scene::new(100).await;
    let flume = listening(&scene, NO_POLL).await;
    scene.mine(1);
    flume.until_tip("dev", 99).await;
    for (round, block) in [(2, 100), (3, 101)] {
        scene.chain.faults().disconnect_ws();
        until("it subscribes again", || scene.chain.calls("eth_subscribe") >= round).await;
        scene.mine(1);
        flume.until_tip("dev", block).await;
    }
    assert!(flume.chain("dev").heads.pushed);
    scene.ends_at(flume, 101).await;
    assert_eq!(scene.story().await, steps(&[99, 100, 101]));
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_mined_while_no_socket_is_open_are_polled_for() {
    let scene = Scene::new(100).await;
    scene.chain.faults().set(|node| node.ws_refuse = true);
    let flume = scene.start(IMPATIENT).await;
    flume.until_tip("dev", 98).await;
    scene.mine(1);
    flume.until_tip("dev", 99).await;
    assert!(!flume.chain("dev").heads.pushed);
    scene.chain.faults().set(|node| node.ws_refuse = false);
    until("it subscribes", || scene.chain.calls("eth_subscribe") >= 1).await;
    scene.mine(1);
    flume.until("dev", "listened", pushed).await;
    scene.ends_at(flume, 100).await;
    assert_eq!(scene.story().await, steps(&[99, 100]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_websocket_the_head_is_polled_for() {
    let scene = Scene::new(100).await;
    let flume = scene.start("ws = none\npoll_interval = \"50ms\"\n").await;
    flume.until_tip("dev", 98).await;
    for block in [99, 100, 101] {
        scene.mine(1);
        flume.until_tip("dev", block).await;
    }
    assert!(!flume.chain("dev").heads.pushed);
    assert_eq!(scene.chain.calls("eth_subscribe"), 0);
    scene.ends_at(flume, 101).await;
    assert_eq!(scene.story().await, steps(&[99, 100, 101]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_new_heads_is_polled() {
    use chainflume_devchain::{Effect, RpcError, Rule};
    let scene = Scene::new(100).await;
    let off = RpcError::new(-32601, "the method eth_subscribe does not exist/is not available");
    scene.chain.faults().add(Rule::on("eth_subscribe", Effect::Error(off)));
    let flume = listening(&scene, IMPATIENT).await;
    scene.mine(1);
    flume.until_tip("dev", 99).await;
    assert!(!flume.chain("dev").heads.pushed);
    scene.ends_at(flume, 99).await;
    assert_eq!(scene.story().await, steps(&[99]));
}
