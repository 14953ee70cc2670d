//! At the head: the time from the announcement of a block to its commit, and the time of a reorg. It uses the
//! development chain, which supports both and runs in the process of the bench.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use chainflume_core::domain::{BlockRange, U256};
use chainflume_devchain::{Action, DEMO_TOKEN, DevChain, Server, wallet};
use serde::Serialize;
use tokio::time::timeout;

use super::committed::Watch;
use super::daemon::{self, Config, Daemon};
use super::database::{Database, Over, Postgres};
use super::process;
use super::published::Consumer;
use super::redis_server::RedisServer;

/// Logs in each block.
const LOGS: u64 = 200;
/// Wallets that transfer tokens.
const HOLDERS: u64 = 500;
/// Number of blocks that a reorg drops.
const DEPTH: u64 = 64;

/// Latencies at one rate.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// The connection of the daemon.
    pub over: Over,
    pub blocks_per_second: u32,
    pub blocks: usize,
    /// From the announcement of the head to its commit.
    pub committed: Percentiles,
    /// From the announcement of the head to the arrival of its last message at a consumer.
    pub published: Percentiles,
    pub load: f64,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p99: f64,
    pub worst: f64,
}

impl Percentiles {
    fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        let at = |percent: usize| all.get((all.len() * percent / 100).min(all.len().max(1) - 1));
        let at = |percent| at(percent).copied().unwrap_or(f64::NAN);
        Self { p50: at(50), p99: at(99), worst: at(100) }
    }
}

/// A daemon at the head.
pub struct Live {
    chain: DevChain,
    daemon: Daemon,
    database: Database,
    redis: RedisServer,
    over: Over,
    _server: Server,
    /// Number of actions so far, so that no two blocks are equal.
    turn: u64,
}

impl Live {
    /// Starts a chain with filled wallets, and a daemon that has caught up with it.
    pub async fn start(postgres: &Postgres, folder: &Path, over: Over) -> anyhow::Result<Self> {
        let database = postgres.create("bench_live", over).await?;
        let chain = DevChain::new(chainflume_devchain::Settings::default());
        let amount = U256::from(10).pow(U256::from(24));
        let mints = (0..HOLDERS).map(|holder| Action::Erc20Mint { to: wallet(holder), amount }).collect();
        chain.mine_with::<Action>(vec![mints]);
        chain.mine_empty(DEPTH);
        let server = chain.serve("127.0.0.1:0").await?;
        let redis = RedisServer::start();
        let config = Config {
            redis: Some(redis.url()),
            http: server.http_url(),
            ws: Some(server.ws_url()),
            database: database.url.clone(),
            // The head itself is committed, so that only the daemon's own work is measured; and a reorg of the measured
            // depth is within the window.
            chain: "confirmations = 0\nreorg_window = 128\nblock_time = \"1s\"\npoll_interval = \"12s\"\n",
            sources: format!(
                "[[source]]\nname = \"token\"\nchain = \"bench\"\nfamily = \"erc20\"\naddress = \"{DEMO_TOKEN}\"\nstart_block = 0\n"
            ),
        };
        daemon::migrate(&config, folder).await?;
        let daemon = Daemon::start(&config, folder)?;
        let mut live = Self { chain, daemon, database, redis, over, _server: server, turn: 0 };
        let mut watch = live.watch().await?;
        live.until_held(&mut watch).await?;
        // The first blocks after a start meet cold caches and unprepared statements.
        for _ in 0..10 {
            live.mine();
            live.until_held(&mut watch).await?;
        }
        Ok(live)
    }

    /// Mines at a steady rate for this long.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few thousand blocks")]
    pub async fn latency(&mut self, blocks_per_second: u32, lasting: Duration) -> anyhow::Result<Latency> {
        let (mut watch, mut consumer) = (self.watch().await?, Consumer::start(&self.redis, LOGS).await);
        let load = process::load();
        let blocks = ((lasting.as_secs_f64() * f64::from(blocks_per_second)) as usize).max(2);
        let mut tick = tokio::time::interval(Duration::from_secs(1) / blocks_per_second);
        let mut announced: Vec<(u64, Instant)> = Vec::new();
        let (mut committed, mut published) = (Vec::new(), Vec::new());
        while committed.len() < blocks || published.len() < blocks {
            tokio::select! {
                biased;
                _ = tick.tick(), if announced.len() < blocks => {
                    let number = self.mine();
                    announced.push((number, Instant::now()));
                }
                (number, at) = consumer.next() => {
                    let mine = announced.iter().find(|(known, _)| *known == number);
                    published.extend(mine.map(|(_, mined)| millis(at.saturating_duration_since(*mined))));
                }
                tip = watch.next(), if committed.len() < blocks => {
                    let tip = tip?;
                    let held = announced[committed.len()..].iter().take_while(|(number, _)| *number <= tip.number);
                    let fresh: Vec<f64> = held.map(|(_, mined)| millis(tip.at - *mined)).collect();
                    committed.extend(fresh);
                }
                // Checks that the daemon still runs.
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            self.daemon.check()?;
        }
        let (committed, published) = (Percentiles::of(committed), Percentiles::of(published));
        Ok(Latency { over: self.over, blocks_per_second, blocks, committed, published, load })
    }

    /// Replaces the top blocks by one block more of other traffic. Returns the milliseconds until the daemon has stored
    /// exactly the new branch.
    pub async fn reorg(&mut self) -> anyhow::Result<f64> {
        let mut watch = self.watch().await?;
        for _ in 0..DEPTH {
            self.mine();
        }
        self.until_held(&mut watch).await?;
        let branch: Vec<Vec<_>> = (0..=DEPTH)
            .map(|_| self.traffic().into_iter().map(|action| self.chain.sign(action)).collect())
            .collect();
        self.chain.reorg_with(DEPTH, &branch);
        let started = Instant::now();
        self.until_held(&mut watch).await?;
        let took = started.elapsed();
        let all = BlockRange::new(0, self.chain.head().number).expect("from 0 upwards");
        let logs = self.chain.canonical_logs(all).len();
        ensure!(self.database.events().await? == i64::try_from(logs)?, "the branch is not what is stored");
        Ok(millis(took))
    }

    /// Stops the daemon and removes its database.
    pub async fn stop(self, postgres: &Postgres) -> anyhow::Result<()> {
        self.daemon.stop().await?;
        postgres.remove(self.database).await
    }

    async fn watch(&self) -> anyhow::Result<Watch> {
        Watch::start(&self.database.pool).await
    }

    async fn until_held(&mut self, watch: &mut Watch) -> anyhow::Result<()> {
        let head = self.chain.head();
        loop {
            let Ok(tip) = timeout(Duration::from_secs(1), watch.next()).await else {
                self.daemon.check()?;
                continue;
            };
            let tip = tip?;
            if (tip.number, tip.hash) == (head.number, head.hash) {
                return Ok(());
            }
        }
    }

    fn mine(&mut self) -> u64 {
        let actions = self.traffic();
        self.chain.mine_with(vec![actions]).number
    }

    /// Four transfers to one approval.
    fn traffic(&mut self) -> Vec<Action> {
        let first = self.turn;
        self.turn += LOGS;
        let action = |turn: u64| {
            let (from, to) = (wallet(turn * 7 % HOLDERS), wallet(turn * 13 % HOLDERS));
            let amount = U256::from(turn + 1);
            if turn % 5 == 4 {
                Action::Erc20Approve { owner: from, spender: to, amount }
            } else {
                Action::Erc20Transfer { from, to, amount }
            }
        };
        (first..self.turn).map(action).collect()
    }
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}
