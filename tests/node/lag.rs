//! A backend lags behind its load balancer, and `eth_getLogs` over a range does not show the blocks it lacks. What
//! decides how a block is read is its age, and not whether it is final.

use std::time::Duration;

use alloy_primitives::U256;
use chainflume::app::{self, RereadArgs};
use chainflume_devchain::{Action, Effect, Request, Rule, Settings, wallet};
use chainflume_index::Purpose;
use chainflume_ops::health::{ChainHealth, ChainState};
use serde_json::Value;

use crate::flume::Flume;
use crate::scene::Scene;
use crate::wait::until;

const LOGS: &str = "eth_getLogs";
const HEADER: &str = "eth_getBlockByNumber";
const RECEIPTS: &str = "eth_getBlockReceipts";

/// What the product has by default, and a poll that looks at the tags each time.
const DEFAULTS: &str = "reorg_window = 64\nbackend_lag = \"1m\"\nbackend_lag_blocks = 128\n\
                        ws = none\npoll_interval = \"50ms\"\n";

fn stake() -> Vec<Action> {
    vec![Action::Stake { developer: wallet(1), amount: U256::from(1_000_000) }]
}

fn by_range(params: &Value) -> bool {
    params[0]["fromBlock"].is_string()
}

/// A chain of blocks with one log each, whose `finalized` tag is so many blocks behind its head.
async fn scene(blocks: usize, tag: u64, blocks_per_timestamp: u64) -> Scene {
    let settings = Settings { finalized_depth: Some(tag), blocks_per_timestamp, ..Settings::default() };
    let scene = Scene::of(settings).await;
    scene.change(|chain| chain.mine_with(vec![stake(); blocks]));
    scene
}

async fn has_seen(flume: &Flume, head: u64) {
    flume.until("dev", &format!("saw block {head}"), |chain| chain.heads.latest == Some(head)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_a_lagging_backend_lacks_are_read_whole_at_any_tag() {
    for (tag, confirmations) in [(0, "0"), (0, "\"finalized\""), (1, "0"), (2, "\"finalized\""), (64, "0")] {
        let scene = scene(20, tag, 1).await;
        let behind = if confirmations == "0" { 0 } else { tag };
        let flume = scene.start(&format!("{DEFAULTS}confirmations = {confirmations}\n")).await;
        flume.until_tip("dev", 20 - behind).await;
        let lagging = scene.chain.faults().add(Rule::on(LOGS, Effect::Lag(3)));
        // The newest block has no logs: its header does not show that those of the block below are missing.
        for head in [22, 24, 26, 28] {
            let before = lagging.fired();
            scene.change(|chain| chain.mine_with(vec![stake(), vec![]]));
            has_seen(&flume, head).await;
            until("its logs are asked for", || lagging.fired() > before).await;
        }
        lagging.lift();
        scene.change(|chain| chain.mine_with(vec![stake()]));
        scene.ends_at(flume, 29 - behind).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_are_asked_for_at_and_below_the_tag() {
    for tag in [0, 2] {
        let scene = scene(20, tag, 1).await;
        let flume = scene.start(&format!("{DEFAULTS}confirmations = 0\nverify = \"receipts\"\n")).await;
        flume.until_tip("dev", 20).await;
        let lagging = scene.chain.faults().add(Rule::on(LOGS, Effect::Lag(3)));
        for head in 21..=30 {
            scene.change(|chain| chain.mine_with(vec![stake()]));
            flume.until_tip("dev", head).await;
        }
        assert_eq!(lagging.fired(), 0);
        assert!(scene.chain.calls(RECEIPTS) >= 30, "{}", scene.chain.calls(RECEIPTS));
        scene.ends_at(flume, 30).await;
    }
}

/// Catches up with so many blocks while every backend for logs is so far behind; then it is not any more. The newest blocks
/// have no logs, so that the header of the last one does not show that others are missing.
async fn catches_up(scene: Scene, keys: &str, lag: u64) {
    scene.change(|chain| chain.mine_empty(4));
    let head = scene.chain.head().number;
    let lagging = scene.chain.faults().add(Rule::on(LOGS, Effect::Lag(lag)));
    let flume = scene.start(&format!("{DEFAULTS}{keys}")).await;
    until("a block it lacks is asked for", || lagging.fired() > 0).await;
    let waits = |chain: &ChainHealth| chain.errors.consecutive > 1;
    flume.until("dev", "waits for the backend", waits).await;
    lagging.lift();
    scene.ends_at(flume, head - 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_loses_nothing_to_a_backend_100_blocks_behind() {
    catches_up(scene(600, 800, 4).await, "", 100).await;
    catches_up(scene(600, 0, 4).await, "", 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_of_a_fast_chain_is_more_blocks_than_the_window() {
    // 230 blocks are 57 seconds.
    catches_up(scene(600, 1, 4).await, "", 230).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_whose_last_header_shows_missing_logs_is_asked_again() {
    let scene = scene(300, 0, 1).await;
    // Further behind than any backend may be, and headers come from another one.
    let lagging = scene.chain.faults().add(Rule::on(LOGS, Effect::Lag(200)).asking(by_range));
    let flume = scene.start(DEFAULTS).await;
    until("it is asked again", || lagging.fired() > 2).await;
    assert!(flume.chain("dev").sources.iter().all(|source| source.tip.is_none_or(|tip| tip <= 100)));
    lagging.lift();
    scene.ends_at(flume, 298).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_and_its_last_header_come_from_one_backend() {
    let scene = scene(300, 0, 1).await;
    // The backend that is asked about a range lags, and what comes in the same request is asked of the same backend.
    scene.chain.faults().decide(|request: &Request| (request.together >= 3).then_some(Effect::Lag(200)));
    let flume = scene.start(DEFAULTS).await;
    let lacks = |chain: &ChainHealth| {
        chain.errors.last.as_ref().is_some_and(|error| error.contains("it has no block"))
    };
    flume.until("dev", "learns that the end is not there", lacks).await;
    scene.chain.faults().clear();
    scene.ends_at(flume, 298).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_costs_one_request_a_range_and_no_header_beside_it() {
    let scene = scene(400, 0, 1).await;
    // Without polls, which look whether what is held is still there.
    let keys = DEFAULTS.replace("ws = none\n", "").replace("50ms", "1m");
    let flume = scene.start(&format!("{keys}\n[chain.history]\ninitial_range = 50\nmax_range = 50\n")).await;
    flume.until_tip("dev", 398).await;
    flume.stop().await;
    let journal = scene.chain.faults().journal();
    let height = |request: &Request| {
        let text = request.params[0].as_str()?.strip_prefix("0x")?;
        u64::from_str_radix(text, 16).ok()
    };
    let ranges: Vec<&Request> =
        journal.iter().filter(|request| request.method == LOGS && by_range(&request.params)).collect();
    assert_eq!(ranges.len(), 6, "blocks 0 to 272");
    assert!(ranges.iter().all(|request| request.together == 3));
    let beside = journal.iter().filter(|request| {
        request.method == HEADER
            && request.together == 1
            && height(request).is_some_and(|height| (1..272).contains(&height))
    });
    assert_eq!(beside.count(), 0);
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_look_at_young_blocks_is_by_hash() {
    let scene = scene(20, 0, 1).await;
    let keys = format!("{DEFAULTS}confirmations = 0\n");
    let flume = scene.start(&keys).await;
    flume.until_tip("dev", 20).await;
    flume.stop().await;
    scene.asked();
    let lagging = scene.chain.faults().add(Rule::on(LOGS, Effect::Lag(3)));
    let loaded = scene.loaded();
    let (purpose, give_up_after) = (Purpose::Compare, Duration::from_mins(2));
    let args = RereadArgs { sources: vec!["vault".into()], from: None, to: None, purpose, give_up_after };
    let catching_up = async {
        until("a block it lacks is asked for", || lagging.fired() > 1).await;
        scene.chain.faults().clear();
    };
    let (found, ()) = tokio::join!(app::reread(&loaded, &args, |_| {}), catching_up);
    let found = found.expect("a report");
    assert!(found[0].report.agrees() && found[0].report.present == 20, "{found:?}");
    // Block 0 is in every backend.
    assert!(scene.asked().iter().all(|asked| asked.hash.is_some() || asked.range == Some((0, 0))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_node_on_a_dead_branch_does_not_stop_a_chain() {
    let scene = scene(20, 2, 1).await;
    let flume = scene.start(&format!("{DEFAULTS}confirmations = 2\n")).await;
    flume.until_tip("dev", 18).await;
    let branch = scene.chain.branch();
    // Two blocks short of where block 18 is final to it, it has another one there.
    scene.reorg(3, 2);
    let has_failed = |chain: &ChainHealth| chain.errors.consecutive > 2;
    flume.until("dev", "reads of the node fail", has_failed).await;
    assert_ne!(flume.chain("dev").state, ChainState::Stopped);
    scene.change(|chain| chain.restore(&branch));
    scene.mine(3);
    scene.ends_at(flume, 21).await;
}
