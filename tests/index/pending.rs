//! Events at the head are published before they are confirmed, and retracted when their block goes.

mod kill;
mod node;
mod reorgs;
mod restarts;

use std::time::{Duration, Instant};

use chainflume_core::domain::{B256, U256};
use chainflume_devchain::{Action, wallet};
use serde_json::Value;

use crate::flume::{Flume, WAIT_LIMIT};
use crate::fold::{Folded, fold, held};
use crate::scene::Scene;

const TOLD: &str = "publish = \"pending_and_confirmed\"";

/// One stake, of a wallet nothing else is heard of.
fn stake(amount: u64) -> Action {
    Action::Stake { developer: wallet(4_711), amount: U256::from(amount) }
}

/// Blocks with one stake each.
fn mine(scene: &Scene, count: u64) {
    scene.change(|chain| chain.mine_with((1..=count).map(|amount| vec![stake(amount)]).collect()));
}

/// `depth` blocks go, and as many with one stake each come.
fn reorg(scene: &Scene, depth: u64, count: u64) {
    scene.change(|chain| {
        let blocks: Vec<_> = (1..=count).map(|amount| vec![chain.sign(stake(100 + amount))]).collect();
        chain.reorg_with(depth, &blocks)
    });
}

/// A daemon that follows a chain of 100 blocks, of which nothing is published, with so many confirmations.
async fn following(confirmations: u64) -> (Scene, Flume) {
    let scene = Scene::new(100).await;
    let flume = scene.start(&format!("{TOLD}\nconfirmations = {confirmations}")).await;
    flume.until_tip("dev", 100 - confirmations).await;
    (scene, flume)
}

async fn messages(scene: &Scene) -> Vec<String> {
    sqlx::query_scalar("select message from outbox order by seq").fetch_all(&scene.pool).await.expect("reads")
}

/// State and block of each message about an event, state and type of each about a user.
async fn tale(scene: &Scene) -> Vec<String> {
    let line = |text: &String| {
        let message: Value = serde_json::from_str(text).expect("json");
        let word = |key: &str| message[key].as_str().expect("text").to_owned();
        let hash: B256 = serde_json::from_value(message["metadata"]["blockHash"].clone()).expect("a hash");
        let what = Some(word("type")).filter(|kind| kind.starts_with("user."));
        format!("{} {}", word("state"), what.unwrap_or_else(|| scene.name(&hash)))
    };
    messages(scene).await.iter().map(line).collect()
}

/// Waits until so much was published, and compares; every message in its turn is what the tables hold.
async fn published(scene: &Scene, expected: &[&str]) {
    let deadline = Instant::now() + WAIT_LIMIT;
    while tale(scene).await.len() < expected.len() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(tale(scene).await, expected);
    assert_folds(scene).await;
}

/// The messages fold to the tables, all of them as they are at one moment.
async fn assert_folds(scene: &Scene) {
    let mut tx =
        scene.pool.begin_with("begin isolation level repeatable read read only").await.expect("begins");
    let mut read = async |sql: &'static str| -> Vec<String> {
        sqlx::query_scalar(sql).fetch_all(&mut *tx).await.expect("reads")
    };
    let confirmed = read(
        "select event_id(e.chain_id, block_number, block_hash, tx_index, log_index)::text from events e \
         join event_kinds k on k.id = e.kind_id join sources s on s.name = k.source where block_number >= publish_from",
    )
    .await;
    let pending = read(
        "select event_id(chain_id, block_number, block_hash, tx_index, log_index)::text from pending_events",
    )
    .await;
    let messages = read("select message from outbox order by seq").await;
    let found = Folded { confirmed: confirmed.into_iter().collect(), pending: pending.into_iter().collect() };
    assert_eq!(fold(&messages), Ok(found));
}
