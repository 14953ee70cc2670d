//! A chain, a database with a journal, and the daemon between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use alloy_primitives::{Address, B256};
use chainflume::app::Loaded;
use chainflume::config::{Config, ProcessEnvironment};
use chainflume_devchain::{DevChain, Request, Server, Settings};
use serde_json::Value;
use sqlx::postgres::PgPool;

use crate::daemon::database;
use crate::flume::{Flume, all_sources, config, connect};
use crate::story::{self, Blocks};
use crate::wait::until_async;
use crate::{journal, postgres, root, tables};

/// See the module. Sources are named `vault`, `token` and `nft`.
pub struct Scene {
    pub chain: DevChain,
    pub server: Server,
    pub url: String,
    pub pool: PgPool,
    blocks: Arc<Mutex<Blocks>>,
    /// The configuration of the last start.
    config: Mutex<String>,
}

impl Scene {
    /// A chain with this many blocks of traffic above its genesis. Every call to its node is recorded.
    pub async fn new(history: u64) -> Self {
        Self::of(Settings { history, ..Default::default() }).await
    }

    /// As [`Self::new`] with other settings.
    pub async fn of(settings: Settings) -> Self {
        let chain = DevChain::new(settings);
        let server = chain.serve("127.0.0.1:0").await.expect("a free port");
        chain.faults().record();
        let url = postgres::database().await;
        let pool = connect(&url).await;
        journal::install(&pool).await;
        let scene = Self { chain, server, url, pool, blocks: Arc::default(), config: Mutex::default() };
        scene.change(|_| {});
        scene
    }

    /// Starts a daemon with all three sources from genesis; `keys` as in [`config`].
    pub async fn start(&self, keys: &str) -> Flume {
        self.start_with(keys, &all_sources()).await
    }

    /// As [`Self::start`] with these sources.
    pub async fn start_with(&self, keys: &str, sources: &str) -> Flume {
        let config = config(&self.server, keys, sources);
        self.config.lock().expect("no test panicked").clone_from(&config);
        Flume::start(&config, &self.url).await
    }

    /// The configuration for a command beside the daemon: that of the last start, with this database.
    pub fn loaded(&self) -> Loaded {
        let config = self.config.lock().expect("no test panicked").clone();
        let config = database(&self.url) + &config;
        let path = root().join("chainflume.toml");
        let config = Config::parse(&path, &config, &ProcessEnvironment);
        Loaded { path, config: config.unwrap_or_else(|problems| panic!("{problems}")) }
    }

    /// Changes the chain and records its blocks for the story.
    pub fn change<T>(&self, change: impl FnOnce(&DevChain) -> T) -> T {
        let changed = change(&self.chain);
        self.blocks.lock().expect("no test panicked").note(&self.chain);
        changed
    }

    pub fn mine(&self, count: u64) {
        self.change(|chain| chain.mine(count));
    }

    /// Drops the top `depth` blocks and mines `new_len` others.
    pub fn reorg(&self, depth: u64, new_len: u64) {
        self.change(|chain| chain.reorg(depth, new_len));
    }

    /// Runs `hook` before a call of `method` is answered, with the parameters; it may change the chain.
    pub fn on_call(&self, method: &str, mut hook: impl FnMut(&DevChain, &Value) + Send + 'static) {
        let blocks = self.blocks.clone();
        self.chain.faults().on_call(method, move |chain, params| {
            hook(chain, params);
            blocks.lock().expect("no test panicked").note(chain);
        });
    }

    /// Runs `change` once, before the first call of `method` whose parameters are such is answered.
    pub fn once<T>(
        &self,
        method: &str,
        such: impl Fn(&Value) -> bool + Send + 'static,
        change: impl FnOnce(&DevChain) -> T + Send + 'static,
    ) {
        let mut change = Some(change);
        self.on_call(method, move |chain, params| {
            if such(params)
                && let Some(change) = change.take()
            {
                change(chain);
            }
        });
    }

    /// Everything that was committed and undone so far, checked; see [`story::describe`].
    pub async fn story(&self) -> Vec<String> {
        let sources: Vec<(String, i64)> = sqlx::query_as("select name, start_block from sources")
            .fetch_all(&self.pool)
            .await
            .expect("the table is there");
        let sources: BTreeMap<_, _> =
            sources.into_iter().map(|(name, at)| (name, at.cast_unsigned())).collect();
        let entries = journal::entries(&self.pool).await;
        story::describe(&entries, &self.blocks.lock().expect("no test panicked"), &sources)
    }

    /// The name of a block, see [`story::describe`].
    pub fn name(&self, hash: &B256) -> String {
        self.blocks.lock().expect("no test panicked").name(hash)
    }

    /// Stops the daemon, then compares every table with the chain up to `tip` and with a new sync.
    pub async fn ends_at(&self, flume: Flume, tip: u64) {
        flume.until_tip("dev", tip).await;
        flume.stop().await;
        self.chain.faults().clear();
        tables::assert_equals_chain(&self.pool, &self.chain, tip).await;
        self.equals_fresh_sync().await;
    }

    /// Compares every table with those of a new sync with the same configuration.
    pub async fn equals_fresh_sync(&self) {
        let url = postgres::database().await;
        let config = self.config.lock().expect("no test panicked").clone();
        let flume = Flume::start(&config, &url).await;
        let tips: Vec<(String, i64)> = sqlx::query_as("select source, block_number from checkpoints")
            .fetch_all(&self.pool)
            .await
            .expect("the table is there");
        let tips: BTreeMap<_, _> = tips.into_iter().map(|(name, tip)| (name, tip.cast_unsigned())).collect();
        let caught_up = |chain: &chainflume_ops::health::ChainHealth| {
            chain.sources.iter().all(|source| source.tip == tips.get(&source.name).copied())
                && !chain.sources.is_empty()
        };
        flume.until("dev", "synced afresh", caught_up).await;
        flume.stop().await;
        let fresh = connect(&url).await;
        tables::assert_same("a fresh sync", &tables::all(&self.pool).await, &tables::all(&fresh).await);
    }

    /// The requests of `eth_getLogs` since the start, or since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        let requests = self.chain.faults().journal();
        requests.iter().filter(|request| request.method == "eth_getLogs").map(Asked::read).collect()
    }

    /// Waits until a statement of the daemon waits for a lock of the test.
    pub async fn until_blocked(&self) {
        self.until_waiting(1).await;
    }

    /// Waits until this many statements wait for locks.
    pub async fn until_waiting(&self, statements: i64) {
        let blocked = "select count(*) from pg_stat_activity \
                       where datname = current_database() and wait_event_type = 'Lock'";
        self.until_count(blocked, statements).await;
    }

    /// Waits until only the connections of the test are left: all work is committed or undone.
    pub async fn until_alone(&self) {
        let others = "select count(*) from pg_stat_activity where datname = current_database() \
                      and backend_type = 'client backend' and pid <> pg_backend_pid() and state <> 'idle'";
        self.until_count(others, 0).await;
    }

    async fn until_count(&self, sql: &'static str, wanted: i64) {
        let count = async || sqlx::query_scalar::<_, i64>(sql).fetch_one(&self.pool).await.expect("a count");
        until_async(&format!("{wanted}: {sql}"), async || count().await == wanted).await;
    }
}

/// One request for logs.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub range: Option<(u64, u64)>,
    pub hash: Option<B256>,
    /// None where all contracts are asked for.
    pub addresses: Vec<Address>,
    pub topics: Value,
}

impl Asked {
    fn read(request: &Request) -> Self {
        let filter = &request.params[0];
        let end = |name: &str| {
            let text = filter[name].as_str()?.strip_prefix("0x")?;
            u64::from_str_radix(text, 16).ok()
        };
        Self {
            range: end("fromBlock").zip(end("toBlock")),
            hash: filter["blockHash"].as_str().and_then(|text| text.parse().ok()),
            addresses: serde_json::from_value::<Option<_>>(filter["address"].clone())
                .expect("addresses")
                .unwrap_or_default(),
            topics: filter["topics"].clone(),
        }
    }

    /// Number of blocks in its range.
    pub fn width(&self) -> Option<u64> {
        self.range.map(|(from, to)| to - from + 1)
    }
}

/// Whether `eth_getLogs` requests a range that begins at this block.
pub fn from_block(number: u64) -> impl Fn(&Value) -> bool + Send + Sync + 'static {
    let wanted = format!("{number:#x}");
    move |params| params[0]["fromBlock"] == wanted.as_str()
}

/// Whether `eth_getLogs` requests a block by its hash.
pub fn by_hash(params: &Value) -> bool {
    params[0]["blockHash"].is_string()
}

/// Whether `eth_getBlockByNumber` requests this height.
pub fn height(number: u64) -> impl Fn(&Value) -> bool + Send + Sync + 'static {
    let wanted = format!("{number:#x}");
    move |params| params[0] == wanted.as_str()
}
