//! The messages as a consumer reads them, compared with the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use serde_json::Value;
use sqlx::postgres::PgPool;

use crate::daemon::Daemon;
use crate::flume::WAIT_LIMIT;
use crate::redis_server::RedisServer;
use crate::redis_sets::Streams;

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
pub async fn published(server: &RedisServer) -> Vec<String> {
    in_order(server.streams().await)
}

/// As [`published`], of any streams.
pub fn in_order(streams: Streams) -> Vec<String> {
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

/// Number of the newest message.
pub async fn outbox(pool: &PgPool) -> u64 {
    let seq: i64 = sqlx::query_scalar("select seq from outbox_head").fetch_one(pool).await.expect("one row");
    seq.unsigned_abs()
}

/// Entries in all streams.
pub async fn entries(redis: &mut MultiplexedConnection) -> u64 {
    let mut pipe = redis::pipe();
    for stream in ["user", "token", "nft", "contract"] {
        pipe.cmd("XLEN").arg(format!("events:{stream}"));
    }
    let counts: Vec<u64> = pipe.query_async(redis).await.expect("counts");
    counts.iter().sum()
}

/// Waits until the streams have so many entries.
pub async fn until_sent(count: u64, redis: &mut MultiplexedConnection, daemon: &Daemon) {
    let deadline = Instant::now() + WAIT_LIMIT;
    while entries(redis).await < count {
        assert!(Instant::now() < deadline, "{} of {count}: {}", entries(redis).await, daemon.log());
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Waits until as much was sent as there is.
pub async fn until_all(pool: &PgPool, server: &RedisServer) {
    let (deadline, mut redis) = (Instant::now() + WAIT_LIMIT, server.connection().await);
    while entries(&mut redis).await != outbox(pool).await {
        assert!(Instant::now() < deadline, "{} of {}", entries(&mut redis).await, outbox(pool).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
