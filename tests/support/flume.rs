//! A daemon inside the test: the real loops, configured by TOML like a user's daemon.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use chainflume::app::{self, Loaded};
use chainflume::config::{Config, ProcessEnvironment};
use chainflume_devchain::{DEMO_NFT, DEMO_TOKEN, DevChain, STAKE_VAULT, Server};
use chainflume_ops::health::{Board, ChainHealth};
use chainflume_store::Store;
use sqlx::postgres::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::root;

/// Timeout of every wait in a test.
pub const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// Loops that run until dropped, stopped or killed.
pub struct Flume {
    pub board: Board,
    pub store: Store,
    stop: CancellationToken,
    loops: JoinSet<()>,
}

impl Flume {
    /// Starts one loop for each chain of the configuration, on the database at `url`.
    pub async fn start(config: &str, url: &str) -> Self {
        Self::start_fused(config, url, None).await
    }

    /// As [`Self::start`]; each loop is dropped, in the middle of its work, after this many polls.
    pub async fn start_fused(config: &str, url: &str, polls: Option<u64>) -> Self {
        let path = root().join("chainflume.toml");
        let config =
            Config::parse(&path, config, &ProcessEnvironment).unwrap_or_else(|problems| panic!("{problems}"));
        let loaded = Loaded { path, config };
        let settings = chainflume_db::Settings {
            url: url.to_owned(),
            max_connections: 4,
            acquire_timeout: Duration::from_secs(5),
        };
        let store = Store::connect(&settings).await.expect("the database is there");
        store.migrate().await.expect("migrations run");
        let (board, stop, mut loops) = (Board::default(), CancellationToken::new(), JoinSet::new());
        for indexer in app::indexers(&loaded, &store, &board).expect("the config is right") {
            loops.spawn(Fuse { inner: Some(Box::pin(indexer.run(stop.clone()))), left: polls });
        }
        Self { board, store, stop, loops }
    }

    /// Whether no loop is left.
    pub fn has_ended(&mut self) -> bool {
        while self.loops.try_join_next().is_some() {}
        self.loops.is_empty()
    }

    /// The health of a chain.
    pub fn chain(&self, name: &str) -> ChainHealth {
        self.board.chains().remove(name).expect("the chain is configured")
    }

    /// Waits until a chain satisfies `is`.
    pub async fn until(&self, chain: &str, what: &str, is: impl Fn(&ChainHealth) -> bool) {
        let deadline = Instant::now() + WAIT_LIMIT;
        while !is(&self.chain(chain)) {
            assert!(Instant::now() < deadline, "{chain} never {what}: {:#?}", self.chain(chain));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until every source of the chain has stored exactly up to block `number`.
    pub async fn until_tip(&self, chain: &str, number: u64) {
        let at = |chain: &ChainHealth| {
            !chain.sources.is_empty() && chain.sources.iter().all(|source| source.tip == Some(number))
        };
        self.until(chain, &format!("reached block {number}"), at).await;
    }

    /// Like SIGTERM: each step is finished.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.loops.join_next().await {
            ended.expect("no loop panics");
        }
        self.store.close().await;
    }

    /// Like `kill -9` for the loops: they end at any point.
    pub async fn kill(mut self) {
        self.loops.shutdown().await;
        self.store.close().await;
    }

    /// Like `kill -9` for the process: the connections end too, without a message to the server.
    pub fn vanish(self) {}
}

/// A future that drops its inner future after this many polls.
struct Fuse<F> {
    inner: Option<Pin<Box<F>>>,
    left: Option<u64>,
}

impl<F: Future<Output = ()>> Future for Fuse<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(left) = &mut self.left {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => self.inner = None,
            }
        }
        match &mut self.inner {
            Some(inner) => inner.as_mut().poll(context),
            None => Poll::Ready(()),
        }
    }
}

/// A connection of the test.
pub async fn connect(url: &str) -> PgPool {
    PgPool::connect(url).await.expect("the database is there")
}

/// A configuration of the chain `dev` (id 31337): two confirmations, a window of 16 blocks, ranges below it, and short
/// intervals. `sources` are `[[source]]` tables, `keys` are more keys of the chain.
pub fn config(server: &Server, keys: &str, sources: &str) -> String {
    let ws = if keys.contains("ws =") { String::new() } else { format!("ws = \"{}\"", server.ws_url()) };
    let defaults = [
        ("confirmations", "2"),
        ("reorg_window", "16"),
        ("backend_lag", "\"0s\""),
        ("backend_lag_blocks", "0"),
        ("block_time", "\"200ms\""),
        ("poll_interval", "\"200ms\""),
        ("request_timeout", "\"2s\""),
    ];
    let defaults: String = defaults
        .iter()
        .filter(|(key, _)| {
            !keys.lines().any(|line| line.split('=').next().is_some_and(|given| given.trim() == *key))
        })
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    let keys = keys.replace("ws = none", "");
    let http = server.http_url();
    format!(
        "[[chain]]\nname = \"dev\"\nchain_id = 31337\nhttp = \"{http}\"\n{ws}\n{defaults}{keys}\n{sources}"
    )
}

/// A `[[source]]` table on the chain `dev`.
pub fn source(name: &str, family: &str, address: impl std::fmt::Display, start_block: u64) -> String {
    format!(
        "[[source]]\nname = \"{name}\"\nchain = \"dev\"\nfamily = \"{family}\"\naddress = \"{address}\"\nstart_block = {start_block}\n"
    )
}

/// The three contracts of the development chain, each from its genesis.
pub fn all_sources() -> String {
    source("vault", "stake", STAKE_VAULT, 0)
        + &source("token", "erc20", DEMO_TOKEN, 0)
        + &source("nft", "erc721", DEMO_NFT, 0)
}

/// A development chain with `history` blocks of traffic above its genesis, served.
pub async fn devchain(seed: u64, history: u64) -> (DevChain, Server) {
    let settings = chainflume_devchain::Settings { seed, history, ..Default::default() };
    let chain = DevChain::new(settings);
    let server = chain.serve("127.0.0.1:0").await.expect("a free port");
    (chain, server)
}
