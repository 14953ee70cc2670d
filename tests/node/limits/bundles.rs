//! What a quiet history costs at a node that answers for few blocks at once.

use alloy_primitives::U256;
use chainflume_devchain::{Action, Cap, Request, Settings, wallet};

use crate::scene::Scene;

const LOGS: &str = "eth_getLogs";
const HEADER: &str = "eth_getBlockByNumber";
/// Blocks in a question at most.
const CAP: u64 = 50;

/// A chain of 12,002 blocks, of which two have logs of ours, at a node with a cap.
async fn quiet() -> Scene {
    let scene = Scene::of(Settings::default()).await;
    let stake = |n: u64| vec![vec![Action::Stake { developer: wallet(n), amount: U256::from(n + 1) }]];
    scene.change(|chain| {
        chain.mine_empty(3_000);
        chain.mine_with(stake(1));
        chain.mine_empty(6_000);
        chain.mine_with(stake(2));
        chain.mine_empty(3_000);
    });
    scene.chain.faults().set(|node| node.max_range = Some(Cap::range(CAP)));
    scene
}

/// Calls for the logs of ranges, calls for headers of old blocks, and requests with any of them.
fn costs(asked: &[Request]) -> (usize, usize, f64) {
    let number = |call: &Request| u64::from_str_radix(call.params[0].as_str()?.strip_prefix("0x")?, 16).ok();
    let is_range = |call: &&Request| call.method == LOGS && call.params[0]["fromBlock"].is_string();
    let is_old = |call: &&Request| {
        call.method == HEADER && number(call).is_some_and(|number| (1..=11_980).contains(&number))
    };
    let share = |call: &Request| 1.0 / call.together as f64;
    let requests = asked.iter().filter(|call| is_range(call) || is_old(call)).map(share).sum();
    (asked.iter().filter(is_range).count(), asked.iter().filter(is_old).count(), requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capped_quiet_history_costs_few_headers() {
    let scene = quiet().await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 12_000).await;
    let (ranges, headers, requests) = costs(&scene.chain.faults().journal());
    println!(
        "12,000 blocks, {CAP} at once: {ranges} questions for logs, {headers} for headers, {requests:.0} requests"
    );
    // Each request has the headers of two ends. How many requests there are depends on how fast the answers come.
    assert!(ranges >= 240 && headers <= 100, "{ranges} questions for logs, {headers} for headers");
    assert!(requests <= 50.0, "{requests} requests");
    scene.ends_at(flume, 12_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_takes_no_batches_any_more_is_asked_one_by_one() {
    let scene = quiet().await;
    let mut calls = 0;
    scene.on_call(LOGS, move |chain, _| {
        calls += 1;
        if calls == 30 {
            chain.faults().set(|node| node.refuse_batches = true);
        }
    });
    let flume = scene.start("").await;
    flume.until_tip("dev", 12_000).await;
    let asked = scene.chain.faults().journal();
    assert!(asked.iter().any(|call| call.method == LOGS && call.together > 4), "none was with others");
    let wide = |call: &&Request| {
        let end =
            |name: &str| u64::from_str_radix(call.params[0][name].as_str()?.strip_prefix("0x")?, 16).ok();
        end("toBlock").zip(end("fromBlock")).is_some_and(|(to, from)| to - from >= CAP)
    };
    let refused = asked.iter().filter(|call| call.method == LOGS).filter(wide).count();
    assert!(refused <= 6, "{refused} questions were too wide");
    scene.ends_at(flume, 12_000).await;
}
