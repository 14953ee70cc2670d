//! The evidence of a header is compared with the logs that a node returns, and a check that no chain could pass stops no source.

use alloy_primitives::{Bloom, U256};
use chainflume_devchain::{
    Action, Behaviour, DevChain, Effect, Lie, RpcError, Rule, Server, Settings, wallet,
};
use chainflume_ops::health::ChainHealth;
use serde_json::json;

use crate::flume::{Flume, all_sources, connect};
use crate::scene::{Scene, by_hash};
use crate::{postgres, tables};

const LOGS: &str = "eth_getLogs";
const RECEIPTS: &str = "eth_getBlockReceipts";

fn stake() -> Vec<Action> {
    vec![Action::Stake { developer: wallet(1), amount: U256::from(1_000_000) }]
}

fn asked(chain: &ChainHealth, method: &str) -> u64 {
    chain.node.rpc.iter().find(|usage| usage.method == method).map_or(0, |usage| usage.requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bloom_shows_logs_omitted_near_the_head_for_a_later_read() {
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    scene.change(|chain| chain.mine_empty(2));
    flume.until_tip("dev", 100).await;
    // A backend whose index of logs is behind: it knows the block and none of its logs.
    let lying = scene.chain.faults().add(Rule::on(LOGS, Effect::Lie(Lie::DropLogs)).asking(by_hash));
    scene.change(|chain| chain.mine_with(vec![stake(), Vec::new(), Vec::new()]));
    // The receipts have the root of the header, so that no check waits for the index.
    flume.until_tip("dev", 103).await;
    assert!(lying.fired() >= 1 && scene.chain.calls(RECEIPTS) >= 1);
    scene.ends_at(flume, 103).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_near_the_head_are_whole_and_match_the_header_root() {
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
async fn a_block_without_logs_and_receipts_is_not_stored_as_empty() {
    let scene = Scene::new(100).await;
    let flume = scene.start("verify = \"off\"").await;
    flume.until_tip("dev", 98).await;
    // An index of logs that is lost, and receipts that were thrown away.
    let logs = scene.chain.faults().add(Rule::on(LOGS, Effect::Null));
    let receipts = scene.chain.faults().add(Rule::on(RECEIPTS, Effect::edit(|found| *found = json!([]))));
    scene.change(|chain| chain.mine_with(vec![stake(), stake(), Vec::new()]));
    flume.until("dev", "asks again and again", |chain| asked(chain, RECEIPTS) > 2).await;
    let tip = flume.chain("dev").sources.iter().filter_map(|source| source.tip).max();
    assert!(tip <= Some(100), "{tip:?} is stored");
    logs.lift();
    receipts.lift();
    scene.change(|chain| chain.mine_empty(2));
    flume.until_tip("dev", 103).await;
    scene.ends_at(flume, 103).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_receipts_is_asked_for_logs_unchecked() {
    let scene = Scene::new(100).await;
    let off = RpcError::new(-32601, "the method eth_getBlockReceipts does not exist/is not available");
    scene.chain.faults().add(Rule::on(RECEIPTS, Effect::Error(off)));
    let flume = scene.start("verify = \"receipts\"").await;
    flume.until_tip("dev", 98).await;
    // Blocks that are read together fail together.
    let calls = scene.chain.calls(RECEIPTS);
    assert!((1..=16).contains(&calls), "{calls}");
    scene.mine(20);
    flume.until_tip("dev", 118).await;
    assert_eq!(scene.chain.calls(RECEIPTS), calls);
    scene.ends_at(flume, 118).await;
}

/// Two nodes of one chain, the first preferred and never taken back.
struct Two {
    one: DevChain,
    other: DevChain,
    url: String,
    flume: Flume,
    _servers: [Server; 2],
}

impl Two {
    /// Caught up at the first, whose newest blocks have nothing of ours.
    async fn new(keys: &str) -> Self {
        let one = DevChain::new(Settings { history: 100, ..Settings::default() });
        let other = one.another_node();
        let servers = [
            one.serve("127.0.0.1:0").await.expect("a port"),
            other.serve("127.0.0.1:0").await.expect("a port"),
        ];
        let provider = |(name, server): (&str, &Server)| {
            format!("[[chain.provider]]\nname = \"{name}\"\nhttp = \"{}\"\n", server.http_url())
        };
        let providers: String = ["one", "other"].into_iter().zip(&servers).map(provider).collect();
        let config = format!(
            "[[chain]]\nname = \"dev\"\nchain_id = 31337\nreorg_window = 16\nblock_time = \"200ms\"\n\
             poll_interval = \"200ms\"\nrequest_timeout = \"1s\"\n{keys}\n[chain.failover]\n\
             probe_interval = \"100ms\"\nreturn_after = \"1h\"\n{providers}{}",
            all_sources()
        );
        let url = postgres::database().await;
        let flume = Flume::start(&config, &url).await;
        flume.until_tip("dev", 98).await;
        one.mine_empty(2);
        flume.until_tip("dev", 100).await;
        Self { one, other, url, flume, _servers: servers }
    }

    async fn leaves_the_first(&self) {
        let left =
            |chain: &ChainHealth| chain.node.providers.iter().any(|one| one.live && one.name == "other");
        self.flume.until("dev", "leaves the first", left).await;
    }

    async fn ends_at(self, tip: u64) {
        self.flume.until_tip("dev", tip).await;
        self.flume.stop().await;
        tables::assert_equals_chain(&connect(&self.url).await, &self.one, tip).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_one_provider_omits_come_from_another_and_it_is_left() {
    let two = Two::new("").await;
    two.one.faults().add(Rule::on(LOGS, Effect::Lie(Lie::DropLogs)).asking(by_hash));
    two.one.mine_with(vec![stake(), Vec::new(), Vec::new()]);
    two.leaves_the_first().await;
    assert_eq!(asked(&two.flume.chain("dev"), RECEIPTS), 0);
    two.ends_at(103).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_provider_shows_omissions_under_a_full_bloom() {
    let two = Two::new("").await;
    for node in [&two.one, &two.other] {
        let full = Effect::edit(|header| {
            if header.is_object() {
                header["logsBloom"] = json!(Bloom::repeat_byte(0xff));
            }
        });
        node.faults().add(Rule::on("eth_getBlockByNumber", full));
        node.faults().add(Rule::on(RECEIPTS, Effect::Error(RpcError::new(-32601, "not available"))));
    }
    two.one.faults().add(Rule::on(LOGS, Effect::Lie(Lie::DropLogs)).asking(by_hash));
    two.one.mine_with(vec![stake(), Vec::new(), Vec::new()]);
    two.leaves_the_first().await;
    two.ends_at(103).await;
}

/// A check, and a way to have headers wrong that it finds.
type Wrong = (&'static str, fn(&mut Behaviour));

const WRONG_HEADERS: [Wrong; 2] = [
    ("verify = \"bloom\"", |node| node.wrong_bloom = true),
    ("verify = \"receipts\"", |node| node.wrong_receipts_root = true),
];

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_fit_no_logs_of_their_provider_lead_to_another() {
    for (keys, wrong) in WRONG_HEADERS {
        let two = Two::new(keys).await;
        two.one.faults().set(wrong);
        two.one.mine_with(vec![stake(), stake(), stake(), Vec::new(), Vec::new()]);
        two.leaves_the_first().await;
        // The other one is held against its headers as ever.
        two.flume.until_tip("dev", 105).await;
        two.other.faults().add(Rule::on(LOGS, Effect::Lie(Lie::DropLogs)).asking(by_hash));
        two.other.faults().add(Rule::on(RECEIPTS, Effect::Error(RpcError::new(-32601, "not available"))));
        two.one.faults().clear();
        two.one.mine_with(vec![stake(), Vec::new(), Vec::new()]);
        two.ends_at(108).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_no_providers_logs_fit_are_a_warning_and_stop_nothing() {
    for (keys, wrong) in WRONG_HEADERS {
        let two = Two::new(keys).await;
        two.one.faults().set(wrong);
        two.other.faults().set(wrong);
        two.one.mine_with(vec![stake(), stake(), stake(), Vec::new(), Vec::new()]);
        two.flume.until_tip("dev", 105).await;
        two.one.mine_with(vec![stake(), Vec::new(), Vec::new()]);
        two.ends_at(108).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_the_only_providers_logs_miss_are_a_warning() {
    for (keys, wrong) in WRONG_HEADERS {
        let scene = Scene::new(100).await;
        scene.chain.faults().set(wrong);
        let flume = scene.start(keys).await;
        flume.until_tip("dev", 98).await;
        scene.mine(20);
        flume.until_tip("dev", 118).await;
        let well = |chain: &ChainHealth| {
            chain.errors.consecutive == 0 && chain.node.providers.iter().all(|one| one.state == "well")
        };
        flume.until("dev", "is well", well).await;
        scene.ends_at(flume, 118).await;
    }
}
