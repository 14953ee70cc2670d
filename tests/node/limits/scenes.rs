//! The whole daemon against a node with limits.

use std::time::{Duration, Instant, SystemTime};

use alloy_primitives::U256;
use chainflume::app::{self, RereadArgs};
use chainflume_devchain::{Action, Cap, Effect, RpcError, Rule, Settings, Wire, wallet};

use chainflume_index::Purpose;

use crate::scene::{Asked, Scene};
use crate::wait::until;

const LOGS: &str = "eth_getLogs";
const RECEIPTS: &str = "eth_getBlockReceipts";

fn refuse_with(status: Option<u16>, code: i64, message: &str, max: u64) -> Cap {
    Cap { max, error: RpcError { status, ..RpcError::new(code, message) } }
}

/// Widths asked for that are wider than `cap`.
fn wider(asked: &[Asked], cap: u64) -> usize {
    asked.iter().filter_map(Asked::width).filter(|width| *width > cap).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_is_refused_without_a_reason_is_narrowed() {
    for status in [Some(503), Some(400), None] {
        let scene = Scene::new(216).await;
        let cap = refuse_with(status, -32011, "no backend is currently healthy to serve traffic", 30);
        scene.chain.faults().set(|node| node.max_range = Some(cap));
        let flume = scene.start("").await;
        flume.until_tip("dev", 214).await;
        let refused = wider(&scene.asked(), 30);
        assert!(refused <= 12, "{refused} refusals with {status:?}");
        scene.ends_at(flume, 214).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_for_wide_ranges_narrows_them() {
    let scene = Scene::new(216).await;
    let wide = |params: &serde_json::Value| {
        let end = |name: &str| u64::from_str_radix(params[0][name].as_str()?.strip_prefix("0x")?, 16).ok();
        end("toBlock").zip(end("fromBlock")).is_some_and(|(to, from)| to - from >= 30)
    };
    let cut = scene.chain.faults().add(Rule::on(LOGS, Effect::Wire(Wire::Close)).asking(wide));
    let flume = scene.start("").await;
    flume.until_tip("dev", 214).await;
    assert!((1..=12).contains(&cut.fired()), "{} connections were cut", cut.fired());
    scene.ends_at(flume, 214).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_node_are_known_after_a_restart() {
    let scene = Scene::new(216).await;
    let cap = refuse_with(None, -32000, "block range is too large", 30);
    scene.chain.faults().set(|node| {
        node.max_range = Some(cap);
        node.max_addresses = Some(Cap::addresses(2));
    });
    let flume = scene.start("").await;
    flume.until_tip("dev", 214).await;
    flume.stop().await;
    let learning = scene.asked();
    let refused = learning.iter().filter(|asked| asked.addresses.len() > 2).count();
    assert!(wider(&learning, 30) > 0 && refused > 0, "{learning:?}");
    scene.mine(300);
    let flume = scene.start("").await;
    flume.until_tip("dev", 514).await;
    let again = scene.asked();
    let refused = again.iter().filter(|asked| asked.addresses.len() > 2).count();
    assert_eq!((wider(&again, 30), refused), (0, 0), "{again:?}");
    scene.ends_at(flume, 514).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_know_the_limits_that_the_daemon_found() {
    let scene = Scene::new(216).await;
    let cap = refuse_with(None, -32000, "block range is too large", 30);
    scene.chain.faults().set(|node| node.max_range = Some(cap));
    let flume = scene.start("").await;
    flume.until_tip("dev", 214).await;
    flume.stop().await;
    assert!(wider(&scene.asked(), 30) > 0, "nothing was learnt");
    let loaded = scene.loaded();
    for purpose in [Purpose::Compare, Purpose::Add] {
        let give_up_after = Duration::from_mins(2);
        let args = RereadArgs { sources: vec!["vault".into()], from: None, to: None, purpose, give_up_after };
        let found = app::reread(&loaded, &args, |_| {}).await.expect("the node answers");
        assert!(found[0].report.agrees());
        let asked = scene.asked();
        assert_eq!((wider(&asked, 30), asked.is_empty()), (0, false), "{asked:?}");
    }
    app::check(&loaded, app::CheckScope::Everything, |report| assert!(report.ok, "{report:?}"))
        .await
        .expect("all is well");
    let asked = scene.asked();
    assert_eq!((wider(&asked, 30), asked.is_empty()), (0, false), "{asked:?}");
}

/// A chain whose block 5 has 60 logs of one contract and one event, and blocks without any up to 40.
async fn full_block() -> Scene {
    let scene = Scene::of(Settings::default()).await;
    let stake = |n: u64| Action::Stake { developer: wallet(n % 20), amount: U256::from(n + 1) };
    scene.change(|chain| {
        chain.mine_empty(4);
        chain.mine_with(vec![(0..60).map(stake).collect()]);
        chain.mine_empty(40);
    });
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_with_too_many_logs_is_read_from_its_receipts() {
    let scene = full_block().await;
    scene.chain.faults().set(|node| node.max_logs = Some(Cap::logs(20)));
    let flume = scene.start("").await;
    flume.until_tip("dev", 43).await;
    assert_eq!(scene.chain.calls(RECEIPTS), 1);
    scene.ends_at(flume, 43).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_logs_near_the_head_are_read_by_transaction() {
    let scene = full_block().await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 43).await;
    let off = RpcError::new(-32601, "the method eth_getBlockReceipts does not exist/is not available");
    scene.chain.faults().add(Rule::on(RECEIPTS, Effect::Error(off)));
    scene.chain.faults().set(|node| node.max_logs = Some(Cap::logs(20)));
    let stake = |n: u64| Action::Stake { developer: wallet(n), amount: U256::from(n + 1) };
    scene.change(|chain| chain.mine_with(vec![(0..30).map(stake).collect(), Vec::new(), Vec::new()]));
    flume.until_tip("dev", 46).await;
    assert!(scene.chain.calls("eth_getTransactionReceipt") >= 30);
    scene.ends_at(flume, 46).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_asked_in_a_second_than_the_config_allows() {
    let scene = Scene::new(216).await;
    let started = Instant::now();
    let keys = "poll_interval = \"10s\"\n[chain.history]\nranges_in_flight = 8\ninitial_range = 5\nmax_range = 5\n\
                [chain.pace]\nrequests_per_second = 40\n";
    let flume = scene.start(keys).await;
    flume.until_tip("dev", 214).await;
    let (requests, took) = (scene.chain.faults().journal().len(), started.elapsed());
    // The first second's worth is there at once.
    let most = 40.0 * (took.as_secs_f64() + 1.5);
    assert!(requests > 120, "only {requests} requests: nothing to be slow about");
    assert!((requests as f64) <= most, "{requests} requests in {took:?}");
    let spent = flume.chain("dev").node.rpc;
    let counted: u64 = spent.iter().map(|method| method.requests).sum();
    let logs = spent.iter().find(|method| method.method == LOGS).expect("it was asked");
    assert!(counted >= requests as u64 / 2, "{spent:?}");
    assert_eq!(logs.compute_units, 60 * logs.requests);
    scene.ends_at(flume, 214).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_in_retry_after_is_waited_for_by_all_questions() {
    let scene = Scene::new(216).await;
    let at = SystemTime::now() + Duration::from_secs(3);
    let limited = Wire::Status {
        status: 429,
        headers: vec![("retry-after".to_owned(), httpdate::fmt_http_date(at))],
        body: String::new(),
    };
    let fault = scene.chain.faults().add(Rule::on(LOGS, Effect::Wire(limited)).times(1));
    let flume = scene.start("").await;
    until("it is refused", || fault.fired() == 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    scene.chain.faults().journal();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let early = scene.chain.faults().journal();
    let http: Vec<_> = early.iter().filter(|request| request.method.starts_with("eth_get")).collect();
    assert!(http.is_empty(), "asked before its time: {http:?}");
    flume.until_tip("dev", 214).await;
    assert!(SystemTime::now() + Duration::from_secs(1) >= at);
    scene.ends_at(flume, 214).await;
}
