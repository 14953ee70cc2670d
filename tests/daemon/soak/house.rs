//! The real binary, and all that it lives on.

use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime};

use chainflume_core::domain::BlockRange;
use chainflume_devchain::{DevChain, Server};
use sqlx::postgres::PgPool;

use super::Soak;
use crate::daemon::{Daemon, Home, chain};
use crate::flume::{config, connect, devchain};
use crate::proxy::Proxy;
use crate::redis_server::RedisServer;
use crate::wait::until_ok_within;
use crate::{postgres, relays};

/// Blocks below the highest head there was that are not touched: what is deeper is final.
const WINDOW: u64 = 64;
/// How long the daemon may take for what is left when the weather is fine again: its pauses between errors are part of it.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(180);
/// How much of the daemons' logs is kept.
const LOG_BYTES: usize = 64 << 20;

pub struct House {
    pub chain: DevChain,
    /// `None` while it is away.
    pub node: Option<Server>,
    pub node_address: String,
    /// The database without the proxy.
    pub url: String,
    pub pool: PgPool,
    pub postgres: Proxy,
    pub redis: Proxy,
    pub redis_server: RedisServer,
    home: Home,
    /// `None` while it is dead.
    pub daemon: Option<Daemon>,
    /// When the daemon that lives was started.
    pub born: Instant,
    pub restarts: u64,
    /// What no daemon may do, whatever fails.
    pub complaints: Vec<String>,
    highest: u64,
    log: String,
}

impl House {
    pub async fn new(soak: Soak) -> Self {
        let (url, redis_server) = (postgres::database().await, RedisServer::start());
        let pool = connect(&url).await;
        let (postgres, database) = Proxy::before_postgres(&url).await;
        let (redis, redis_url) = Proxy::before_redis(redis_server.port).await;
        let (chain, node) = devchain(soak.seed, 400).await;
        let home = if soak.copied { Home::bare().with_own_binary() } else { Home::bare() };
        let sources = relays::sources_to(&format!("url = \"{redis_url}\"\nstream_length = 100000000\n"));
        home.write(&config_of(&node, &sources), Some(&database));
        let daemon = home.start();
        Self {
            highest: chain.head().number,
            node_address: node.address().to_string(),
            node: Some(node),
            daemon: Some(daemon),
            born: Instant::now(),
            restarts: 0,
            complaints: Vec::new(),
            log: String::new(),
            chain,
            url,
            pool,
            postgres,
            redis,
            redis_server,
            home,
        }
    }

    pub fn mine(&mut self) {
        self.chain.mine(1);
        self.highest = self.highest.max(self.chain.head().number);
    }

    /// How many blocks may be dropped now.
    pub fn loose(&self) -> u64 {
        self.chain.head().number.saturating_sub((self.highest + 4).saturating_sub(WINDOW))
    }

    /// Blocks that are confirmed now.
    pub fn confirmed(&self) -> u64 {
        self.chain.head().number - 2
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            self.note(&daemon, "killed");
            daemon.kill_9().await;
        }
    }

    pub fn start(&mut self) {
        if self.daemon.is_none() {
            self.daemon = Some(self.home.start());
            self.born = Instant::now();
            self.restarts += 1;
        }
    }

    /// As systemd does: who found no node or no database at its start is started again. No daemon may end for another reason.
    pub async fn look_after(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        if !daemon.is_over() {
            self.daemon = Some(daemon);
            return;
        }
        let code = daemon.ended(Duration::from_secs(60)).await;
        let (text, how) = (daemon.log(), format!("ended with {code:?}"));
        self.note(&daemon, &how);
        if code != Some(69) || text.contains("database is ready") {
            self.complaints.push(format!("a daemon {how}: {}", text.lines().last().unwrap_or_default()));
        }
        self.start();
    }

    /// Waits until everything is stored up to `tip`, and published above.
    pub async fn rest(&mut self, tip: u64) {
        let above = BlockRange::new(tip + 1, self.chain.head().number).expect("in order");
        let due = (3, self.chain.canonical_logs(above).len().try_into().expect("few"));
        let what = format!("{due:?} sources and pending events are stored at {tip}");
        until_ok_within(CATCH_UP_TIMEOUT, &what, async || {
            self.look_after().await;
            let sql = "select (select count(*) from checkpoints where block_number = $1), \
                (select count(*) from pending_events)";
            let counts: (i64, i64) =
                sqlx::query_as(sql).bind(tip.cast_signed()).fetch_one(&self.pool).await.expect("counts");
            if counts == due { Ok(()) } else { Err(counts) }
        })
        .await;
    }

    /// Keeps the log of a daemon that is not there any more.
    pub fn note(&mut self, daemon: &Daemon, how: &str) {
        let text = daemon.log();
        for words in ["panicked", "stored events differ", "chain is stopped"] {
            let lines = text.lines().filter(|line| line.contains(words));
            self.complaints.extend(lines.map(str::to_owned));
        }
        if self.log.len() + text.len() < LOG_BYTES {
            self.log += &text;
        }
        self.remark(how);
    }

    /// Notes what is done to them, and when; as a daemon's own line begins, so that the two can be sorted together.
    pub fn remark(&mut self, what: &str) {
        let now = humantime::format_rfc3339_micros(SystemTime::now());
        let _ = writeln!(self.log, "{{\"timestamp\":\"{now}\",\"weather\":\"{what}\"}}");
    }
}

/// A person who looks for the reason wants to read the logs of the daemons.
impl Drop for House {
    fn drop(&mut self) {
        let file = match std::env::var_os("SOAK_LOG") {
            Some(file) => file.into(),
            None if !std::thread::panicking() => return,
            None => std::env::temp_dir().join(format!("soak-{}.log", std::process::id())),
        };
        if let Some(daemon) = self.daemon.take() {
            self.note(&daemon, "still there");
        }
        let written = std::fs::write(&file, &self.log);
        eprintln!("the logs of the daemons are in {}: {written:?}", file.display());
    }
}

fn config_of(node: &Server, sources: &str) -> String {
    let keys = format!(
        "publish = \"pending_and_confirmed\"\nreorg_window = {WINDOW}\nws_silence = \"3s\"\nmax_response_bytes = \"1MiB\"\n\
         [chain.audit]\nevery = \"500ms\"\nblocks = 20\n"
    );
    chain(node, &keys, sources)
}

/// The same for a fresh sync in this process.
pub fn fresh(node: &Server) -> String {
    config(node, &format!("reorg_window = {WINDOW}\n"), &relays::sources(""))
}
