//! A provider is left for what it answers, whatever its word for it, and for what it does not answer: by the clocks an operator
//! has who sets none, another one stores the next block within fifteen seconds.

use std::time::{Duration, Instant};

use chainflume_devchain::{DevChain, Effect, Lie, RpcError, Rule, Settings, Transport, Wire};
use chainflume_ops::health::ChainHealth;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::{Node, QUICK, in_use, provider};
use crate::flume::{Flume, all_sources, connect};
use crate::scene::by_hash;
use crate::wait::until;
use crate::{postgres, tables};

/// From the first wrong answer, or the silence in place of one, to a commit of what another provider answered.
pub(super) const SOON_ENOUGH: Duration = Duration::from_secs(15);
/// Daemons at once: what they do most of the time is to wait.
const AT_ONCE: usize = 3;

pub(super) const LOGS: &str = "eth_getLogs";

/// What is wrong with the first provider from one moment on.
pub(super) type Trouble = fn(&DevChain);

fn refuse(chain: &DevChain, code: i64, message: &str) {
    chain.faults().add(Rule::any(Effect::Error(RpcError::new(code, message))));
}

pub(super) fn status(chain: &DevChain, status: u16, headers: &[(&str, &str)], body: &str) {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let wire = Wire::Status { status, headers, body: body.to_owned() };
    chain.faults().add(Rule::any(Effect::Wire(wire)).over(Transport::Http));
}

fn of_logs(chain: &DevChain, effect: Effect) {
    chain.faults().add(Rule::on(LOGS, effect));
}

fn refuse_logs(chain: &DevChain, code: i64, message: &str) {
    of_logs(chain, Effect::Error(RpcError::new(code, message)));
}

/// Refusals of all work, in many words.
const REFUSALS: &[(&str, Trouble)] = &[
    ("429", |one| status(one, 429, &[], "too many requests")),
    ("429 for a day", |one| status(one, 429, &[("retry-after", "86400")], "too many requests")),
    ("429 for four seconds", |one| status(one, 429, &[("retry-after", "4")], "slow down")),
    ("503 for an hour", |one| status(one, 503, &[("retry-after", "3600")], "")),
    ("402", |one| status(one, 402, &[], "payment required")),
    ("403", |one| status(one, 403, &[], "monthly quota exceeded")),
    ("-32005", |one| refuse(one, -32005, "limit exceeded")),
    ("rate", |one| refuse(one, -32005, "daily request count exceeded, request rate limited")),
    ("capacity", |one| refuse(one, -32000, "exceeded capacity, try later")),
    ("busy", |one| refuse(one, -32000, "server busy")),
    ("no method", |one| refuse(one, -32601, "the method is not available")),
];

/// Refusals of logs alone, or of those of one block.
pub(super) const OF_LOGS: &[(&str, Trouble)] = &[
    ("logs: -32005", |one| refuse_logs(one, -32005, "rate limit exceeded")),
    ("logs: range", |one| refuse_logs(one, -32602, "block range is too large, maximum is 0 blocks")),
    ("logs: results", |one| refuse_logs(one, -32005, "query returned more than 0 results")),
    ("logs: time", |one| refuse_logs(one, -32000, "query timed out")),
    ("logs: pruned", |one| refuse_logs(one, -32000, "this needs an archive node, history is pruned")),
    ("logs: unknown block", |one| refuse_logs(one, -32000, "unknown block")),
    ("logs: null", |one| of_logs(one, Effect::Null)),
];

/// Answers that cannot be believed, beside others that can.
const LIES: &[(&str, Trouble)] = &[
    ("twice", |one| of_logs(one, Effect::Lie(Lie::Duplicate))),
    ("foreign address", |one| of_logs(one, Effect::Lie(Lie::ForeignAddress))),
    ("foreign hash", |one| of_logs(one, Effect::Lie(Lie::WrongBlockHash))),
    ("out of range", |one| of_logs(one, Effect::Lie(Lie::OutOfRange))),
];

/// No answers, or none that come to an end.
const SILENCES: &[(&str, Trouble)] = &[
    ("hangs", |one| drop(one.faults().add(Rule::any(Effect::Wire(Wire::Hang)).over(Transport::Http)))),
    ("hangs and announces nothing", |one| {
        one.faults().set(|node| node.ws_silent = true);
        one.faults().add(Rule::any(Effect::Wire(Wire::Hang)));
    }),
    ("logs hang", |one| of_logs(one, Effect::Wire(Wire::Hang))),
    ("late", |one| drop(one.faults().add(Rule::any(Effect::Delay(Duration::from_secs(30)))))),
    ("closes", |one| drop(one.faults().add(Rule::any(Effect::Wire(Wire::Close)).over(Transport::Http)))),
    ("cuts off", |one| drop(one.faults().add(Rule::any(Effect::Wire(Wire::CutOff)).over(Transport::Http)))),
    ("a page", |one| drop(one.faults().add(Rule::any(Effect::Wire(Wire::page())).over(Transport::Http)))),
];

/// With every clock as it is where none is set.
pub(super) fn config(providers: &[String], keys: &str) -> String {
    format!(
        "[[chain]]\nname = \"dev\"\nchain_id = 31337\nconfirmations = 2\nreorg_window = 16\n{keys}\n{}\n{}",
        providers.concat(),
        all_sources()
    )
}

/// Catches up at the first of two, has it begin to fail, and returns how long the next blocks take.
async fn live(trouble: Trouble) -> Duration {
    let chain = DevChain::new(Settings { history: 60, ..Settings::default() });
    let (one, other) = (Node::of(&chain).await, Node::of(&chain.another_node()).await);
    let url = postgres::database().await;
    let flume =
        Flume::start(&config(&[one.provider("one", ""), other.provider("other", "")], ""), &url).await;
    flume.until_tip("dev", 58).await;
    flume.until("dev", "knows both", |chain| provider(chain, "other").head == Some(60)).await;
    assert_eq!(in_use(&flume.chain("dev")), "one");
    trouble(&one.chain);
    let began = Instant::now();
    chain.mine(5);
    flume.until_tip("dev", 63).await;
    let took = began.elapsed();
    flume.stop().await;
    tables::assert_equals_chain(&connect(&url).await, &chain, 63).await;
    took
}

/// Begins a chain of many ranges with this wrong with the first one's ranges, and returns how long it takes to get past them.
async fn history(trouble: Trouble, roles: &[&str]) -> Duration {
    let chain = DevChain::new(Settings { history: 120, ..Settings::default() });
    let (mut nodes, mut providers) = (Vec::new(), Vec::new());
    for (index, role) in roles.iter().enumerate() {
        let node = Node::of(&if index == 0 { chain.clone() } else { chain.another_node() }).await;
        providers.push(node.provider(&format!("n{index}"), &format!("role = \"{role}\"")));
        nodes.push(node);
    }
    trouble(&nodes[0].chain);
    let url = postgres::database().await;
    let began = Instant::now();
    providers.push("[chain.history]\ninitial_range = 20\nmax_range = 20\n".to_owned());
    // Else all of so short a chain would be read block by block.
    let by_range = "backend_lag = \"0s\"\nbackend_lag_blocks = 0\n";
    let flume = Flume::start(&config(&providers, by_range), &url).await;
    let past = |chain: &ChainHealth| {
        !chain.sources.is_empty() && chain.sources.iter().all(|source| source.tip >= Some(59))
    };
    flume.until("dev", "gets past what the first cannot read", past).await;
    let took = began.elapsed();
    flume.until_tip("dev", 118).await;
    flume.stop().await;
    tables::assert_equals_chain(&connect(&url).await, &chain, 118).await;
    took
}

/// Prints how long each took, so that what is close to the limit is seen before it is beyond.
pub(super) async fn all_soon_enough(what: &str, runs: Vec<(String, impl Future<Output = Duration>)>) {
    let timed = runs.into_iter().map(|(name, run)| async move {
        let took = run.await;
        eprintln!("{what}, {name}: {:.1} s", took.as_secs_f32());
        (name, took)
    });
    let took: Vec<(String, Duration)> = stream::iter(timed).buffer_unordered(AT_ONCE).collect().await;
    let late: Vec<_> = took.iter().filter(|(_, took)| *took > SOON_ENOUGH).collect();
    assert!(late.is_empty(), "{what}: {late:?}");
}

async fn live_is_soon_enough(what: &str, troubles: &[(&str, Trouble)]) {
    all_soon_enough(
        what,
        troubles.iter().map(|(name, trouble)| ((*name).to_owned(), live(*trouble))).collect(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_all_work_is_left_whatever_its_word() {
    live_is_soon_enough("refuses", REFUSALS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_logs_alone_is_left_whatever_its_word() {
    live_is_soon_enough("refuses logs", OF_LOGS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_with_wrong_logs_is_left() {
    live_is_soon_enough("lies", LIES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_answer_is_left() {
    live_is_soon_enough("is silent", SILENCES).await;
}

/// Of ranges alone.
pub(super) fn of_ranges(chain: &DevChain, effect: Effect) {
    chain.faults().add(Rule::on(LOGS, effect).asking(|params: &Value| !by_hash(params)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_without_history_is_left_for_another_in_each_role() {
    let troubles: [(&str, Trouble); 5] = [
        ("429 for a day", |one| status(one, 429, &[("retry-after", "86400")], "too many requests")),
        ("ranges: pruned", |one| {
            of_ranges(one, Effect::Error(RpcError::new(-32000, "history is pruned, use an archive node")));
        }),
        ("ranges: quota", |one| of_ranges(one, Effect::Error(RpcError::new(-32005, "daily limit reached")))),
        ("ranges: twice", |one| of_ranges(one, Effect::Lie(Lie::Duplicate))),
        ("one range: foreign address", |one| {
            let lie = Rule::on(LOGS, Effect::Lie(Lie::ForeignAddress));
            one.faults().add(lie.asking(|params: &Value| params[0]["fromBlock"] == "0x28"));
        }),
    ];
    let roles: [&[&str]; 3] = [&["any", "any"], &["history", "any"], &["history", "history", "live", "live"]];
    let mut runs = Vec::new();
    for (name, trouble) in troubles {
        runs.extend(roles.map(|roles| (format!("{name} {roles:?}"), history(trouble, roles))));
    }
    all_soon_enough("history", runs).await;
}

/// A range may take its time, ten seconds by default. A probe asks for one block of it long before, and one block does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_ranges_hang_is_left_before_a_timeout() {
    let hangs: Trouble = |one| of_ranges(one, Effect::Wire(Wire::Hang));
    let roles: [&[&str]; 2] = [&["any", "any"], &["history", "any"]];
    let runs = roles.map(|roles| (format!("ranges hang {roles:?}"), history(hangs, roles)));
    all_soon_enough("history", runs.into()).await;
}

/// Takes connections, and answers as a provider never should: not at all, or one byte after the other.
struct Front {
    address: String,
    _serving: AbortOnDropHandle<()>,
}

impl Front {
    async fn new(drips: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let serving = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    while client.read(&mut request).await.is_ok_and(|read| read > 0) {
                        if !drips {
                            continue;
                        }
                        let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
                        let mut sent = client.write_all(head.as_bytes()).await;
                        while sent.is_ok() {
                            tokio::time::sleep(Duration::from_millis(200)).await;
                            sent = client.write_all(b" ").await;
                        }
                    }
                });
            }
        });
        Self { address, _serving: AbortOnDropHandle::new(serving) }
    }
}

/// Begins with a first provider at this address that was never any good.
pub(super) async fn begins(address: &str, scheme: &str) -> Duration {
    let chain = DevChain::new(Settings { history: 60, ..Settings::default() });
    let other = Node::of(&chain).await;
    let first = format!("[[chain.provider]]\nname = \"one\"\nhttp = \"{scheme}://{address}\"\n");
    let url = postgres::database().await;
    let began = Instant::now();
    let flume = Flume::start(&config(&[first, other.provider("other", "")], ""), &url).await;
    flume.until_tip("dev", 58).await;
    let took = began.elapsed();
    flume.stop().await;
    tables::assert_equals_chain(&connect(&url).await, &chain, 58).await;
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_first_provider_does_not_delay_the_start() {
    let mut runs = Vec::new();
    for (name, drips, scheme) in
        [("is silent", false, "http"), ("drips", true, "http"), ("shakes no hands", false, "https")]
    {
        let front = Front::new(drips).await;
        runs.push((name.to_owned(), async move { begins(&front.address, scheme).await }));
    }
    all_soon_enough("begins", runs).await;
}

/// Two nodes at quick clocks, the first in use.
async fn two(timeouts: &str) -> (Node, Node, Flume, String) {
    let chain = DevChain::new(Settings { history: 60, ..Settings::default() });
    let (one, other) = (Node::of(&chain).await, Node::of(&chain.another_node()).await);
    let url = postgres::database().await;
    let keys = format!("block_time = \"200ms\"\npoll_interval = \"200ms\"\n{QUICK}{timeouts}");
    let config = config(&[one.provider("one", ""), other.provider("other", "")], &keys);
    let flume = Flume::start(&config, &url).await;
    flume.until_tip("dev", 58).await;
    (one, other, flume, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_returns_when_its_logs_are_right() {
    let (one, _other, flume, url) = two("").await;
    let lie = one.chain.faults().add(Rule::on(LOGS, Effect::Lie(Lie::Duplicate)));
    one.chain.mine(5);
    flume.until("dev", "leaves the first", |chain| in_use(chain) == "other").await;
    flume.until_tip("dev", 63).await;
    let (looked, lied) = (one.looks(), lie.fired());
    until("it is looked at for two seconds", || one.looks() >= looked + 20 && lie.fired() > lied).await;
    assert_eq!(in_use(&flume.chain("dev")), "other");
    lie.lift();
    flume.until("dev", "takes it back", |chain| in_use(chain) == "one").await;
    flume.stop().await;
    tables::assert_equals_chain(&connect(&url).await, &one.chain, 63).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_refusing_providers_wait_and_the_first_to_answer_is_used() {
    let (one, other, flume, url) = two("").await;
    let refused = || Effect::Error(RpcError::new(-32005, "rate limit exceeded"));
    let (_here, there) =
        (one.chain.faults().add(Rule::any(refused())), other.chain.faults().add(Rule::any(refused())));
    one.chain.mine(5);
    let (began, mut switches, mut before) = (Instant::now(), 0, "one".to_owned());
    while began.elapsed() < Duration::from_secs(12) {
        let now = in_use(&flume.chain("dev"));
        switches += u32::from(now != before);
        before = now;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(switches <= 1, "{switches} switches while no provider answers");
    let asked = other.looks();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = other.looks() - asked;
    assert!(asked <= 50, "asked {asked} times in five seconds");
    there.lift();
    let began = Instant::now();
    flume.until_tip("dev", 63).await;
    assert!(began.elapsed() < SOON_ENOUGH, "{:?}", began.elapsed());
    flume.stop().await;
    tables::assert_equals_chain(&connect(&url).await, &one.chain, 63).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_throttles_now_and_then_is_kept() {
    let (one, _other, flume, url) = two("probe_timeout = \"10s\"\n").await;
    // A third of the time, as a limit by the second does. Not of each second: a caller that waits for the second that is asked for
    // would come back to the same part of it, and be refused for ever.
    let began = Instant::now();
    one.chain.faults().decide(move |_| {
        (began.elapsed().as_millis() % 1_300 < 430).then(|| Effect::Wire(Wire::rate_limited(1)))
    });
    for tip in (59..70).step_by(2) {
        one.chain.mine(2);
        flume.until_tip("dev", tip + 1).await;
        assert_eq!(in_use(&flume.chain("dev")), "one");
    }
    flume.stop().await;
    one.chain.faults().clear();
    tables::assert_equals_chain(&connect(&url).await, &one.chain, 70).await;
}
