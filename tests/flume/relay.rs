//! Messages leave the house: once, in order, whatever fails.

mod chaos;
mod cluster;
mod contract;
mod cuts;
pub mod end_to_end;
mod figures;
mod kills;
mod metrics;
mod order;
mod redis_sink;
mod redis_states;
mod restore;
mod retention;
mod sentinel;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chainflume::app::{self, Loaded};
use chainflume::config::{Config, ProcessEnvironment};
use chainflume_deliver::sink::Bus;
use chainflume_devchain::{DEMO_NFT, DEMO_TOKEN, STAKE_VAULT};
use chainflume_ops::health::{Board, SinkHealth};
use chainflume_store::Store;
use serde_json::Value;
use sqlx::postgres::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::flume::{WAIT_LIMIT, source};
pub use kills::until_all;

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
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("chainflume.toml");
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
    let told = |name, family, address| source(name, family, address, 0) + "publish_from = \"start\"\n";
    format!("[redis]\n{redis}")
        + &told("vault", "stake", STAKE_VAULT)
        + &told("token", "erc20", DEMO_TOKEN)
        + &told("nft", "erc721", DEMO_NFT)
}

/// What is left when the messages are taken one after the other, as a consumer would: ids of the events that are
/// confirmed and were not taken back. Numbers must rise by one from the first, an event must not be confirmed
/// twice in a row, and nothing be taken back that was not there.
pub fn fold(messages: &[String]) -> BTreeSet<String> {
    let mut standing = BTreeSet::new();
    let mut expected = None;
    for message in messages {
        let message: Value = serde_json::from_str(message).expect("json");
        let seq = message["seq"].as_u64().expect("a number");
        assert_eq!(seq, *expected.get_or_insert(seq), "numbers have no gaps and no repeats");
        expected = Some(seq + 1);
        if message["type"].as_str().expect("a type").starts_with("user.") {
            continue;
        }
        let id = message["id"].as_str().expect("an id").to_owned();
        match message["state"].as_str() {
            Some("confirmed") => assert!(standing.insert(id), "confirmed twice: {message}"),
            Some("retracted") => {
                assert!(standing.remove(&id), "retracted before it was published: {message}")
            }
            other => panic!("state {other:?}"),
        }
    }
    standing
}

/// Wallet to stake, as the messages about users leave it. Each is activated before it is updated, and while it is not.
pub fn fold_users(messages: &[String]) -> Result<BTreeMap<String, String>, String> {
    let mut active = BTreeMap::new();
    for message in messages {
        let message: Value = serde_json::from_str(message).expect("json");
        let word = |of: &Value| of.as_str().expect("text").to_owned();
        let wallet = word(&message["aggregateId"]);
        let stake = || word(&message["payload"]["stakeAmount"]);
        let known = match (word(&message["type"]).as_str(), word(&message["state"]).as_str()) {
            ("user.activated", "confirmed") => active.insert(wallet, stake()).is_none(),
            ("user.updated", "confirmed") => active.insert(wallet, stake()).is_some(),
            ("user.activated", "retracted") => active.remove(&wallet).is_some(),
            _ => !word(&message["type"]).starts_with("user."),
        };
        if !known {
            return Err(format!("out of turn: {message}"));
        }
    }
    Ok(active)
}

/// The same of the table.
pub async fn users(pool: &PgPool) -> BTreeMap<String, String> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select '0x' || encode(wallet, 'hex'), stake_amount::text from users where staked_at is not null",
    )
    .fetch_all(pool)
    .await
    .expect("reads");
    rows.into_iter().collect()
}

/// Ids of the events the database holds.
pub async fn canonical(pool: &PgPool) -> BTreeSet<String> {
    let ids: Vec<String> = sqlx::query_scalar(
        "select event_id(chain_id, block_number, block_hash, tx_index, log_index)::text from events",
    )
    .fetch_all(pool)
    .await
    .expect("reads");
    let count = ids.len();
    let ids: BTreeSet<String> = ids.into_iter().collect();
    assert_eq!(ids.len(), count);
    ids
}

/// All messages of a server's streams by their numbers, each stream checked for its order.
pub async fn published(server: &crate::redis_server::RedisServer) -> Vec<String> {
    in_order(server.streams().await)
}

/// As [`published`], of any streams.
pub fn in_order(streams: crate::redis_sets::Streams) -> Vec<String> {
    let mut all = Vec::new();
    for (stream, entries) in streams {
        assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "{stream} is in order");
        for (seq, message) in entries {
            let value: Value = serde_json::from_str(&message).expect("json");
            assert_eq!(value["seq"].as_u64(), Some(seq));
            assert_eq!(
                Some(stream.as_str()),
                value["aggregateType"].as_str().map(|t| format!("events:{t}")).as_deref()
            );
            all.push((seq, message));
        }
    }
    all.sort();
    all.into_iter().map(|(_, message)| message).collect()
}
