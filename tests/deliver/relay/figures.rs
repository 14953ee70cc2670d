//! How fast messages leave the real binary. Nothing is asserted about time: machines differ. `make figures-relay` runs it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chainflume_core::domain::U256;
use chainflume_devchain::{Action, wallet};
use futures_util::StreamExt;
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;

use super::{outbox, sources, until_all, until_sent};
use crate::daemon::{Daemon, Home};
use crate::flume::{connect, devchain};
use crate::postgres;
use crate::redis_server::RedisServer;

const BACKLOG: i64 = 100_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn a_backlog() {
    let (url, server) = (postgres::database().await, RedisServer::start());
    let pool = connect(&url).await;
    let (_chain, node) = devchain(1, 3).await;
    let home = Home::new(&node, &sources(&server.url()), Some(&url));
    let daemon = home.start();
    daemon.until_tip(1).await;
    until_all(&pool, &server).await;
    let before = daemon.memory("VmRSS:").expect("it runs");
    daemon.stop_well().await;
    let first = outbox(&pool).await;
    sqlx::query(
        "insert into outbox (seq, chain_id, aggregate_type, type, state, message) \
         select $1 + n, 1, (array['user', 'token', 'nft', 'contract'])[1 + n % 4], 'erc20.transfer', 'confirmed', \
             '{\"seq\": ' || $1 + n || ', \"payload\": \"' || repeat('x', 700) || '\"}' from generate_series(1, $2) n",
    )
    .bind(i64::try_from(first).expect("few"))
    .bind(BACKLOG)
    .execute(&pool)
    .await
    .expect("inserts");
    sqlx::query("update outbox_head set seq = seq + $1").bind(BACKLOG).execute(&pool).await.expect("updates");
    let mut redis = server.connection().await;
    let daemon = home.start();
    until_sent(first + 1, &mut redis, &daemon).await;
    let started = Instant::now();
    until_all(&pool, &server).await;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "backlog of {BACKLOG} messages of 0.7 kB: {:.0} messages/s; memory {} MiB at most, {} MiB when idle",
        100_000.0 / seconds,
        daemon.memory("VmHWM:").expect("it runs") / 1024,
        before / 1024
    );
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn from_head_to_redis() {
    for (per_second, blocks) in [(1, 60), (20, 600)] {
        let server = RedisServer::start();
        let (chain, node) = devchain(2, 10).await;
        // Its private server: one whose commits wait for the disk.
        let home = Home::new(&node, &sources(&server.url()), None);
        let daemon = home.start();
        daemon.until_tip(chain.head().number - 2).await;
        let (heard, _listener) = listen(&server).await;
        let mut clock = tokio::time::interval(Duration::from_millis(1000 / per_second));
        let (mut mined, mut head) = (BTreeMap::new(), chain.head().number);
        for _ in 0..blocks {
            clock.tick().await;
            // What is confirmed by this block, two below it.
            mined.insert(head - 1, Instant::now());
            head = chain.mine_with(vec![block()]).number;
        }
        daemon.until_tip(head - 2).await;
        until_all(&connect(&home.private_url()).await, &server).await;
        let heard = heard.lock().expect("whole").clone();
        // The first ones are of history, and published in a batch.
        let took = |(number, at): (&u64, &Instant)| Some(heard.get(number)?.duration_since(*at));
        let mut times: Vec<Duration> = mined.iter().skip(3).filter_map(took).collect();
        times.sort();
        println!(
            "head to redis at {per_second} blocks/s, {} blocks: p50 {:?}, p99 {:?}, most {:?}",
            times.len(),
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            times[times.len() - 1]
        );
        println!(
            "  of which, on average: {:.1} ms from head to commit ({:.1} ms the transaction), {:.1} ms to redis",
            average(&daemon, "chainflume_head_to_commit_seconds", "{chain=\"dev\"}").await,
            average(&daemon, "chainflume_commit_duration_seconds", "{chain=\"dev\",kind=\"live\"}").await,
            average(&daemon, "chainflume_commit_to_publish_seconds", "{sink=\"redis\"}").await,
        );
        daemon.stop_well().await;
    }
}

/// Of a histogram, in milliseconds.
async fn average(daemon: &Daemon, name: &str, labels: &str) -> f64 {
    let part = async |part| daemon.metric(&format!("{name}_{part}{labels}")).await.unwrap_or_default();
    1000.0 * part("sum").await / part("count").await
}

/// A stake, three transfers' worth of mints: four events.
fn block() -> Vec<Action> {
    let amount = U256::from(5);
    let mint = |to| Action::Erc20Mint { to: wallet(to), amount };
    vec![Action::Stake { developer: wallet(1), amount }, mint(1), mint(2), mint(3)]
}

type Heard = Arc<Mutex<BTreeMap<u64, Instant>>>;

/// When the last message of each block was heard.
async fn listen(server: &RedisServer) -> (Heard, AbortOnDropHandle<()>) {
    let client = ::redis::Client::open(server.url()).expect("a url");
    let mut channel = client.get_async_pubsub().await.expect("connects");
    channel.psubscribe("events:*").await.expect("listens");
    let (heard, mut messages) = (Heard::default(), channel.into_on_message());
    let shared = heard.clone();
    let task = async move {
        while let Some(message) = messages.next().await {
            let now = Instant::now();
            let message: Value =
                serde_json::from_str(&message.get_payload::<String>().expect("text")).expect("json");
            let number = message["metadata"]["blockNumber"].as_u64().expect("a number");
            shared.lock().expect("whole").insert(number, now);
        }
    };
    (heard, AbortOnDropHandle::new(tokio::spawn(task)))
}
