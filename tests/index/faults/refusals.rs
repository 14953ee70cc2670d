//! Answers that are no answers: none of them is ever "no logs".

use chainflume_devchain::{Effect, RpcError, Rule, Wire};

use super::{BLOCK, LOGS, history, ranges};
use crate::scene::{Scene, by_hash, from_block, height};

/// Every way an answer fails to be one, but for those that take long.
fn failures() -> Vec<Effect> {
    let status = |status| Wire::Status { status, headers: Vec::new(), body: "upstream is away".to_owned() };
    let mut effects: Vec<Effect> =
        [Wire::Close, Wire::Truncate, Wire::CutOff, Wire::page(), status(503)].map(Effect::Wire).into();
    effects.extend([Effect::Null, Effect::WrongId, Effect::Error(RpcError::new(-32603, "internal error"))]);
    effects
}

#[tokio::test(flavor = "multi_thread")]
async fn in_history_every_failure_is_asked_again() {
    let scene = Scene::new(100).await;
    let mut faults = Vec::new();
    for (effect, from) in failures().into_iter().zip((0..).step_by(10)) {
        faults.push(scene.chain.faults().add(Rule::on(LOGS, effect).asking(from_block(from)).times(1)));
    }
    let flume = scene.start(&history(8, 10)).await;
    flume.until_tip("dev", 98).await;
    assert!(faults.iter().all(|fault| fault.fired() == 1));
    scene.ends_at(flume, 98).await;
    assert_eq!(scene.story().await, [ranges(10, 84), vec!["all: a84 to a98".to_owned()]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn near_the_head_every_failure_is_asked_again() {
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    let mut story = vec!["all: up to a84".to_owned(), "all: a84 to a98".to_owned()];
    for (effect, block) in failures().into_iter().zip(99..) {
        let rules =
            [Rule::on(LOGS, effect.clone()).asking(by_hash), Rule::on(BLOCK, effect).asking(height(block))];
        let faults = rules.map(|rule| scene.chain.faults().add(rule.times(1)));
        scene.mine(1);
        flume.until_tip("dev", block).await;
        assert_eq!(faults.map(|fault| fault.fired()), [1, 1]);
        story.push(format!("all: a{} to a{block}", block - 1));
    }
    flume
        .until("dev", "recovered", |chain| chain.errors.consecutive == 0 && chain.errors.last.is_none())
        .await;
    scene.ends_at(flume, 106).await;
    assert_eq!(scene.story().await, story);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_restarted_on_its_port_is_used_from_where_it_was_left() {
    let mut scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    let address = scene.server.address().to_string();
    let chain = scene.chain.clone();
    let stopped =
        std::mem::replace(&mut scene.server, chain.serve("127.0.0.1:0").await.expect("a free port"));
    stopped.stop().await;
    scene.mine(3);
    flume.until("dev", "missed its node", |chain| chain.errors.consecutive > 0).await;
    scene.server = chain.serve(&address).await.expect("the port is free again");
    flume.until_tip("dev", 101).await;
    let subscribed = chain.calls("eth_subscribe");
    crate::wait::until("the socket is taken back", || chain.calls("eth_subscribe") > subscribed.min(1)).await;
    scene.ends_at(flume, 101).await;
    assert_eq!(scene.story().await, ["all: up to a84", "all: a84 to a98", "all: a98 to a101"]);
}
