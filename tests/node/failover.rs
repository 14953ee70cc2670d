//! Several providers for one chain: one that fails, lags, lies about its chain or cannot do what is needed is replaced
//! within seconds and taken back when it is well, and whichever is asked, the tables are the chain's.

mod answers;
mod blooms;
mod commands;
mod hangs;

use chainflume_devchain::{DEMO_TOKEN, DevChain, Effect, RpcError, Rule, Server, Settings};
use chainflume_ops::health::{ChainHealth, ChainState, ProviderHealth};

use crate::flume::{Flume, all_sources, connect, source};
use crate::wait::until;
use crate::{postgres, tables};

/// Clocks of a test: a look at each provider every 100 ms, and half a second until one is trusted again.
const QUICK: &str = "[chain.failover]\nprobe_interval = \"100ms\"\nmax_lag = 3\nreturn_after = \"500ms\"\n";

/// A node behind its own port.
struct Node {
    chain: DevChain,
    server: Server,
}

impl Node {
    async fn of(chain: &DevChain) -> Self {
        Self { chain: chain.clone(), server: chain.serve("127.0.0.1:0").await.expect("a free port") }
    }

    /// `[[chain.provider]]`, called so.
    fn provider(&self, name: &str, more: &str) -> String {
        let (http, ws) = (self.server.http_url(), self.server.ws_url());
        format!("[[chain.provider]]\nname = \"{name}\"\nhttp = \"{http}\"\nws = \"{ws}\"\n{more}\n")
    }

    /// How often it was asked for its head or a block.
    fn looks(&self) -> u64 {
        self.chain.calls("eth_getBlockByNumber")
    }
}

/// The chain `dev` with these providers and all three contracts.
fn config(providers: &[String]) -> String {
    config_of(providers, &all_sources())
}

fn config_of(providers: &[String], sources: &str) -> String {
    format!(
        "[[chain]]\nname = \"dev\"\nchain_id = 31337\nconfirmations = 2\nreorg_window = 16\nblock_time = \"200ms\"\n\
         poll_interval = \"200ms\"\nrequest_timeout = \"1s\"\n{QUICK}{}\n{sources}",
        providers.concat()
    )
}

/// Two nodes of one chain of 100 blocks, `one` preferred, and a daemon that has caught up at the first.
struct Two {
    one: Node,
    other: Node,
    flume: Flume,
    url: String,
}

impl Two {
    async fn new() -> Self {
        let chain = DevChain::new(Settings { history: 100, ..Settings::default() });
        let (one, other) = (Node::of(&chain).await, Node::of(&chain.another_node()).await);
        let url = postgres::database().await;
        let config = config(&[one.provider("one", ""), other.provider("other", "")]);
        let flume = Flume::start(&config, &url).await;
        flume.until_tip("dev", 98).await;
        flume.until("dev", "knows both heads", |chain| provider(chain, "other").head == Some(100)).await;
        let two = Self { one, other, flume, url };
        two.uses("one").await;
        two
    }

    async fn uses(&self, name: &'static str) {
        self.flume.until("dev", name, |chain| in_use(chain) == name).await;
    }

    /// Mines and waits until it is stored; then all is as the chain is.
    async fn goes_on(&self, blocks: u64) {
        self.one.chain.mine(blocks);
        self.flume.until_tip("dev", self.one.chain.head().number - 2).await;
    }

    async fn ends(self) {
        let tip = self.one.chain.head().number - 2;
        self.flume.until_tip("dev", tip).await;
        self.flume.stop().await;
        tables::assert_equals_chain(&connect(&self.url).await, &self.one.chain, tip).await;
    }
}

fn provider(chain: &ChainHealth, name: &str) -> ProviderHealth {
    let unknown = ProviderHealth {
        name: String::new(),
        role: "any",
        live: false,
        history: false,
        state: "unknown",
        head: None,
        behind: 0,
        latency: None,
        failures: 0,
        last_error: None,
        rpc: Vec::new(),
    };
    chain.node.providers.iter().find(|provider| provider.name == name).cloned().unwrap_or(unknown)
}

fn in_use(chain: &ChainHealth) -> String {
    chain.node.providers.iter().find(|provider| provider.live).map(|p| p.name.clone()).unwrap_or_default()
}

fn internal_error() -> Effect {
    Effect::Error(RpcError::new(-32603, "internal error"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_goes_away_is_replaced_and_later_taken_back() {
    let mut two = Two::new().await;
    let address = two.one.server.address().to_string();
    two.one.server.stop().await;
    two.one.server = two.other.chain.serve("127.0.0.1:0").await.expect("a free port");
    two.one.chain.mine(3);
    two.flume.until_tip("dev", 101).await;
    two.uses("other").await;
    two.one.server = two.one.chain.serve(&address).await.expect("the port is free again");
    two.uses("one").await;
    two.goes_on(3).await;
    two.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_with_headers_but_no_logs_is_replaced() {
    let two = Two::new().await;
    two.one.chain.faults().add(Rule::on("eth_getLogs", internal_error()));
    two.one.chain.mine(5);
    two.uses("other").await;
    two.goes_on(1).await;
    // Its heads are as good as ever. Only when it shows logs again is it trusted.
    let looked = two.one.looks();
    until("it is looked at for two seconds", || two.one.looks() >= looked + 20).await;
    assert_eq!(in_use(&two.flume.chain("dev")), "other");
    two.one.chain.faults().clear();
    two.uses("one").await;
    two.goes_on(3).await;
    two.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_provider_is_replaced_and_taken_back_caught_up() {
    let two = Two::new().await;
    two.one.chain.faults().set(|node| node.lag = 10);
    two.one.chain.mine(10);
    two.uses("other").await;
    two.goes_on(1).await;
    two.one.chain.faults().clear();
    two.uses("one").await;
    two.goes_on(1).await;
    two.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_without_new_heads_anywhere_switches_no_provider() {
    let two = Two::new().await;
    let (one, other) = (two.one.looks(), two.other.looks());
    until("both are looked at for two seconds", || {
        two.one.looks() > one + 20 && two.other.looks() > other + 20
    })
    .await;
    assert_eq!(in_use(&two.flume.chain("dev")), "one");
    two.one.chain.faults().set(|node| node.lag = 2);
    let one = two.one.looks();
    until("a lag within the limit is looked at", || two.one.looks() > one + 20).await;
    assert_eq!(in_use(&two.flume.chain("dev")), "one");
    two.one.chain.faults().clear();
    two.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_lacks_a_needed_ability_is_not_taken() {
    let mut two = Two::new().await;
    let refused = two.other.chain.faults().add(Rule::on("eth_getLogs", internal_error()));
    let address = two.one.server.address().to_string();
    two.one.server.stop().await;
    two.one.server = two.other.chain.another_node().serve("127.0.0.1:0").await.expect("a free port");
    two.one.chain.mine(3);
    // A probe finds it incapable. Where the audit was reading from it, its refusal counts first, and it is failing.
    let unfit = |chain: &ChainHealth| matches!(provider(chain, "other").state, "incapable" | "failing");
    two.flume.until("dev", "finds it unfit", unfit).await;
    assert_eq!(in_use(&two.flume.chain("dev")), "one");
    refused.lift();
    two.uses("other").await;
    two.flume.until_tip("dev", 101).await;
    two.one.server = two.one.chain.serve(&address).await.expect("the port is free again");
    two.uses("one").await;
    two.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_on_another_chain_is_never_asked_for_anything_else() {
    let chain = DevChain::new(Settings { history: 100, ..Settings::default() });
    let one = Node::of(&chain).await;
    let wrong_id =
        Node::of(&DevChain::new(Settings { chain_id: 1, history: 500, ..Settings::default() })).await;
    let wrong_genesis =
        Node::of(&DevChain::new(Settings { seed: 9, history: 500, ..Settings::default() })).await;
    let url = postgres::database().await;
    let flume = Flume::start(&config(&[one.provider("one", "")]), &url).await;
    flume.until_tip("dev", 98).await;
    flume.stop().await;
    // What block 0 is is known by now, and being preferred proves nothing.
    let providers =
        [wrong_genesis.provider("genesis", ""), wrong_id.provider("id", ""), one.provider("one", "")];
    let flume = Flume::start(&config(&providers), &url).await;
    chain.mine(1);
    flume.until_tip("dev", 99).await;
    let wrong = |name| move |chain: &ChainHealth| provider(chain, name).state == "wrong_chain";
    flume.until("dev", "finds the wrong id", wrong("id")).await;
    flume.until("dev", "finds the wrong genesis", wrong("genesis")).await;
    // Not even when the right one is away.
    let address = one.server.address().to_string();
    one.server.stop().await;
    chain.mine(5);
    flume.until("dev", "is without a node", |chain| chain.errors.consecutive > 5).await;
    assert_eq!(in_use(&flume.chain("dev")), "one");
    let _server = chain.serve(&address).await.expect("the port is free again");
    flume.until_tip("dev", 104).await;
    assert_eq!((wrong_id.chain.calls("eth_getLogs"), wrong_genesis.chain.calls("eth_getLogs")), (0, 0));
    flume.stop().await;
    tables::assert_equals_chain(&connect(&url).await, &chain, 104).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_with_different_block_0_are_named_and_not_used() {
    let chain = DevChain::new(Settings { history: 100, ..Settings::default() });
    let stranger = DevChain::new(Settings { seed: 9, history: 100, ..Settings::default() });
    let (one, mut other) = (Node::of(&stranger).await, Node::of(&chain).await);
    let url = postgres::database().await;
    let flume = Flume::start(&config(&[one.provider("one", ""), other.provider("other", "")]), &url).await;
    let genesis = |chain: &DevChain| chain.block(0).expect("it is there").hash;
    let text = format!("one has {}, other has {}", genesis(&stranger), genesis(&chain));
    let named = |chain: &ChainHealth| chain.errors.last.as_ref().is_some_and(|error| error.contains(&text));
    flume.until("dev", "names both", named).await;
    let stored: i64 = sqlx::query_scalar("select count(*) from chains")
        .fetch_one(&connect(&url).await)
        .await
        .expect("a count");
    assert_eq!((stored, stranger.calls("eth_getLogs"), chain.calls("eth_getLogs")), (0, 0, 0));
    // Once the second is corrected it goes on by itself, on the chain of the first.
    let address = other.server.address().to_string();
    other.server.stop().await;
    other.server = stranger.another_node().serve(&address).await.expect("the port is free again");
    flume.until_tip("dev", 98).await;
    flume.stop().await;
    tables::assert_equals_chain(&connect(&url).await, &stranger, 98).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_returned_provider_with_another_block_0_is_left() {
    comes_back_as(Settings { seed: 9, history: 500, ..Settings::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preferred_provider_on_another_chain_is_left() {
    comes_back_as(Settings { chain_id: 1, history: 500, ..Settings::default() }).await;
}

/// The preferred provider goes away and comes back as a node of this other chain.
async fn comes_back_as(stranger: Settings) {
    let chain = DevChain::new(Settings { history: 100, ..Settings::default() });
    let (one, other) = (Node::of(&chain).await, Node::of(&chain.another_node()).await);
    let url = postgres::database().await;
    let flume = Flume::start(&config(&[one.provider("one", ""), other.provider("other", "")]), &url).await;
    flume.until_tip("dev", 98).await;
    let address = one.server.address().to_string();
    one.server.stop().await;
    // The provider moved its address to another network.
    let stranger = DevChain::new(stranger);
    let _server = stranger.serve(&address).await.expect("the port is free again");
    chain.mine(5);
    flume.until_tip("dev", 103).await;
    let left = |chain: &ChainHealth| in_use(chain) == "other" && chain.state == ChainState::Live;
    flume.until("dev", "is live at the other", left).await;
    let named = |chain: &ChainHealth| ["wrong_chain", "contradicts"].contains(&provider(chain, "one").state);
    flume.until("dev", "names it", named).await;
    assert_eq!(stranger.calls("eth_getLogs"), 0);
    flume.stop().await;
    tables::assert_equals_chain(&connect(&url).await, &chain, 103).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_provider_does_the_work_of_its_role() {
    let chain = DevChain::new(Settings { history: 200, ..Settings::default() });
    let archive = Node::of(&chain).await;
    let (live, audit) = (Node::of(&chain.another_node()).await, Node::of(&chain.another_node()).await);
    for node in [&archive, &live, &audit] {
        node.chain.faults().record();
    }
    let providers = [
        archive.provider("archive", "role = \"history\""),
        live.provider("live", "role = \"live\""),
        audit.provider("audit", "role = \"audit\""),
    ];
    let url = postgres::database().await;
    let sources = source("token", "erc20", DEMO_TOKEN, 0);
    let flume = Flume::start(&config_of(&providers, &sources), &url).await;
    flume.until_tip("dev", 198).await;
    chain.mine(3);
    flume.until_tip("dev", 201).await;
    flume.until("dev", "names the working provider", |chain| provider(chain, "live").live).await;
    let health = flume.chain("dev");
    let work = |name| (provider(&health, name).live, provider(&health, name).history);
    assert_eq!(
        [work("archive"), work("live"), work("audit")],
        [(false, true), (true, false), (false, false)]
    );
    flume.stop().await;
    let asked = |node: &Node| {
        let logs =
            node.chain.faults().journal().into_iter().filter(|request| request.method == "eth_getLogs");
        let (ranges, blocks): (Vec<_>, Vec<_>) =
            logs.partition(|request| request.params[0]["blockHash"].is_null());
        (!ranges.is_empty(), !blocks.is_empty())
    };
    // The youngest of its blocks, and the end of a range that may be wrong, the archive is asked for by hash as well.
    assert!(asked(&archive).0);
    assert_eq!([asked(&live), asked(&audit)], [(false, true), (false, false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_contradicts_final_is_left_and_all_stop() {
    let two = Two::new().await;
    let reorged = two.one.chain.branch();
    // One chain behind both: each of them contradicts.
    two.one.chain.reorg(60, 70);
    let contradict = |chain: &ChainHealth| {
        ["one", "other"].iter().all(|name| provider(chain, name).state == "contradicts")
    };
    let stopped = |chain: &ChainHealth| chain.state == ChainState::Stopped && contradict(chain);
    two.flume.until("dev", "stops", stopped).await;
    two.one.chain.restore(&reorged);
    two.flume.stop().await;
    tables::assert_equals_chain(&connect(&two.url).await, &two.one.chain, 98).await;
}
