//! What a header says of its logs is held against the logs a node answers, and a check no chain could pass stops nobody.

use alloy_primitives::U256;
use chainflume::devchain::{Action, DevChain, Effect, Lie, RpcError, Rule, Settings, wallet};
use chainflume::health::ChainHealth;

use crate::flume::{Flume, all_sources, connect};
use crate::scene::{Scene, by_hash, until};
use crate::{postgres, tables};

const LOGS: &str = "eth_getLogs";
const RECEIPTS: &str = "eth_getBlockReceipts";

fn stake() -> Vec<Action> {
    vec![Action::Stake { developer: wallet(1), amount: U256::from(1_000_000) }]
}

fn asked(chain: &ChainHealth, method: &str) -> u64 {
    chain.rpc.iter().find(|usage| usage.method == method).map_or(0, |usage| usage.requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_a_node_leaves_out_near_the_head_are_missed_by_the_header_and_read_after_all() {
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    scene.change(|chain| chain.mine_empty(2));
    flume.until_tip("dev", 100).await;
    // A backend whose index of logs is behind: it knows the block and none of its logs.
    let lying = scene.chain.faults().add(Rule::on(LOGS, Effect::Lie(Lie::DropLogs)).asking(by_hash));
    scene.change(|chain| chain.mine_with(vec![stake(), Vec::new(), Vec::new()]));
    until("it is asked again and again", || lying.fired() >= 3).await;
    assert!(flume.chain("dev").sources.iter().all(|source| source.tip == Some(100)));
    lying.lift();
    scene.ends_at(flume, 103).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_near_the_head_are_read_whole_and_have_the_root_of_their_header() {
    let scene = Scene::new(100).await;
    let flume = scene.start("verify = \"receipts\"").await;
    flume.until_tip("dev", 98).await;
    let by_hash = scene.chain.faults().add(Rule::on(LOGS, Effect::Null).asking(by_hash));
    scene.mine(20);
    flume.until_tip("dev", 118).await;
    assert_eq!(by_hash.fired(), 0);
    assert!(scene.chain.calls(RECEIPTS) >= 20);
    scene.ends_at(flume, 118).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_receipts_is_asked_for_logs_and_the_check_is_given_up() {
    let scene = Scene::new(100).await;
    let off = RpcError::new(-32601, "the method eth_getBlockReceipts does not exist/is not available");
    scene.chain.faults().add(Rule::on(RECEIPTS, Effect::Error(off)));
    let flume = scene.start("verify = \"receipts\"").await;
    flume.until_tip("dev", 98).await;
    // Blocks that are read together fail together.
    let calls = scene.chain.calls(RECEIPTS);
    assert!((6..=16).contains(&calls), "{calls}");
    scene.mine(20);
    flume.until_tip("dev", 118).await;
    assert_eq!(scene.chain.calls(RECEIPTS), calls);
    scene.ends_at(flume, 118).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_provider_leaves_out_another_one_tells_and_the_first_is_left() {
    let chain = DevChain::new(Settings { history: 100, ..Settings::default() });
    let node = chain.another_node();
    let (one, other) = (
        chain.serve("127.0.0.1:0").await.expect("a free port"),
        node.serve("127.0.0.1:0").await.expect("a free port"),
    );
    let provider =
        |name: &str, url: String| format!("[[chain.provider]]\nname = \"{name}\"\nhttp = \"{url}\"\n");
    let config = format!(
        "[[chain]]\nname = \"dev\"\nchain_id = 31337\nreorg_window = 16\nblock_time = \"200ms\"\npoll_interval = \"200ms\"\n\
         request_timeout = \"1s\"\n[chain.failover]\nprobe_interval = \"100ms\"\nreturn_after = \"1h\"\n{}{}{}",
        provider("one", one.http_url()),
        provider("other", other.http_url()),
        all_sources()
    );
    let url = postgres::database().await;
    let flume = Flume::start(&config, &url).await;
    flume.until_tip("dev", 98).await;
    chain.mine_empty(2);
    flume.until_tip("dev", 100).await;
    chain.faults().add(Rule::on(LOGS, Effect::Lie(Lie::DropLogs)).asking(by_hash));
    chain.mine_with(vec![stake(), Vec::new(), Vec::new()]);
    let left = |chain: &ChainHealth| chain.providers.iter().any(|one| one.live && one.name == "other");
    flume.until("dev", "leaves the first", left).await;
    flume.until_tip("dev", 103).await;
    assert_eq!(asked(&flume.chain("dev"), RECEIPTS), 0);
    flume.stop().await;
    tables::assert_equals_chain(&connect(&url).await, &chain, 103).await;
}
