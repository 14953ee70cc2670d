//! Answers that look like answers. What contradicts the question or itself is never stored, and the question
//! is asked again until the node answers right. Logs that are left out cannot be distinguished from logs that never were.

use alloy_primitives::U256;
use chainflume_devchain::{Action, Effect, Lie, Rule, wallet};

use super::{LOGS, history, ranges};
use crate::scene::{Scene, by_hash, from_block};

const LIES: [Lie; 4] = [Lie::Duplicate, Lie::ForeignAddress, Lie::OutOfRange, Lie::WrongBlockHash];

fn stake() -> Vec<Action> {
    vec![Action::Stake { developer: wallet(1), amount: U256::from(1_000_000) }]
}

#[tokio::test(flavor = "multi_thread")]
async fn near_the_head_no_lie_is_stored() {
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    let mut story = vec!["all: up to a84".to_owned(), "all: a84 to a98".to_owned()];
    // The next two blocks are on the chain already; a lie needs a log to lie about.
    scene.change(|chain| chain.mine_with(vec![stake(), stake()]));
    flume.until_tip("dev", 100).await;
    story.push("all: a98 to a100".to_owned());
    for (lie, block) in LIES.into_iter().zip(101..) {
        let lying = scene.chain.faults().add(Rule::on(LOGS, Effect::Lie(lie)).asking(by_hash).times(2));
        scene.change(|chain| chain.mine_with(vec![stake()]));
        flume.until_tip("dev", block).await;
        assert_eq!(lying.fired(), 2, "{lie:?}");
        story.push(format!("all: a{} to a{block}", block - 1));
    }
    scene.ends_at(flume, 104).await;
    assert_eq!(scene.story().await, story);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_history_no_lie_is_stored() {
    let scene = Scene::new(100).await;
    // One range for each lie.
    let lying = LIES.into_iter().zip((0..).step_by(20)).map(|(lie, from)| {
        scene.chain.faults().add(Rule::on(LOGS, Effect::Lie(lie)).asking(from_block(from)).times(1))
    });
    let lying: Vec<_> = lying.collect();
    let flume = scene.start(&history(4, 20)).await;
    flume.until_tip("dev", 98).await;
    assert!(lying.iter().all(|fault| fault.fired() == 1));
    scene.ends_at(flume, 98).await;
    assert_eq!(scene.story().await, [ranges(20, 84), vec!["all: a84 to a98".to_owned()]].concat());
}
