//! The tasks that deliver messages, inside the test: the real ones, configured by TOML like a user's daemon.

use std::time::{Duration, Instant};

use chainflume::app::{self, Loaded};
use chainflume::config::{Config, ProcessEnvironment};
use chainflume_deliver::sink::Bus;
use chainflume_devchain::{DEMO_NFT, DEMO_TOKEN, STAKE_VAULT};
use chainflume_ops::health::{Board, SinkHealth};
use chainflume_store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::flume::{WAIT_LIMIT, source};
use crate::root;

/// Everything that delivers messages, as the daemon starts it.
pub struct Relays {
    pub board: Board,
    pub bus: Option<Bus>,
    store: Store,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Relays {
    pub async fn start(config: &str, url: &str) -> Self {
        let path = root().join("chainflume.toml");
        let config =
            Config::parse(&path, config, &ProcessEnvironment).unwrap_or_else(|problems| panic!("{problems}"));
        let (board, stop, mut tasks) = (Board::default(), CancellationToken::new(), JoinSet::new());
        let store = connect(url).await;
        let bus = app::deliver(&Loaded { path, config }, &store, &board, &mut tasks, &stop).expect("right");
        Self { board, bus, store, stop, tasks }
    }

    pub fn sink(&self, name: &str) -> SinkHealth {
        self.board.sinks().remove(name).expect("the sink is configured")
    }

    /// Waits until the sink has everything the outbox ever had.
    pub async fn until_all(&self, sink: &str) -> u64 {
        let last = self.store.outbox().state().await.expect("reads").last;
        let all = |sink: &SinkHealth| sink.delivered >= Some(last) && sink.waiting_since.is_none();
        self.until(sink, "has everything", all).await;
        last
    }

    pub async fn until(&self, sink: &str, what: &str, is: impl Fn(&SinkHealth) -> bool) {
        let deadline = Instant::now() + WAIT_LIMIT;
        while !is(&self.sink(sink)) {
            assert!(Instant::now() < deadline, "{sink} never {what}: {:#?}", self.sink(sink));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// As SIGTERM does.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no task panics");
        }
        self.store.close().await;
    }

    /// As `kill -9` does to the tasks: they end wherever they are.
    pub async fn kill(mut self) {
        self.tasks.shutdown().await;
        self.store.close().await;
    }
}

pub async fn connect(url: &str) -> Store {
    let settings = chainflume_db::Settings {
        url: url.to_owned(),
        max_connections: 3,
        acquire_timeout: Duration::from_secs(5),
    };
    Store::connect(&settings).await.expect("the database is there")
}

/// The three contracts of the development chain, published from the start; the chain's `[redis]` before them.
pub fn sources(redis: &str) -> String {
    let redis = if redis.is_empty() { String::new() } else { format!("url = \"{redis}\"\n") };
    sources_to(&redis)
}

/// As [`sources`], with these lines for `[redis]`.
pub fn sources_to(redis: &str) -> String {
    let published = |name, family, address| source(name, family, address, 0) + "publish_from = \"start\"\n";
    format!("[redis]\n{redis}")
        + &published("vault", "stake", STAKE_VAULT)
        + &published("token", "erc20", DEMO_TOKEN)
        + &published("nft", "erc721", DEMO_NFT)
}
