//! What is pending outlives the daemon.

use std::time::{Duration, Instant};

use chainflume_devchain::{DEMO_TOKEN, STAKE_VAULT, Settings};

use super::{TOLD, following, mine, published, reorg, tale};
use crate::flume::{WAIT_LIMIT, source};
use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_neither_doubles_nor_loses_what_is_pending() {
    let (scene, flume) = following(2).await;
    mine(&scene, 2);
    published(&scene, &["pending a101", "pending a102"]).await;
    flume.kill().await;
    let flume = scene.start(TOLD).await;
    mine(&scene, 1);
    flume.until_tip("dev", 101).await;
    let expected =
        ["pending a101", "pending a102", "confirmed a101", "confirmed user.activated", "pending a103"];
    published(&scene, &expected).await;
    scene.ends_at(flume, 101).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_while_the_daemon_was_down_is_taken_back_first() {
    for (blocks, tip) in [(1, 100), (3, 101), (200, 298)] {
        let (scene, flume) = following(2).await;
        mine(&scene, 2);
        published(&scene, &["pending a101", "pending a102"]).await;
        flume.kill().await;
        scene.change(|chain| {
            let block = vec![chain.sign(super::stake(7))];
            chain.reorg_with(2, &[block])
        });
        scene.change(|chain| chain.mine_empty(blocks - 1));
        let flume = scene.start(TOLD).await;
        flume.until_tip("dev", tip).await;
        let mut expected = vec!["pending a101", "pending a102", "retracted a102", "retracted a101"];
        match blocks {
            1 => expected.push("pending b101"),
            _ => expected.extend(["confirmed b101", "confirmed user.activated"]),
        }
        published(&scene, &expected).await;
        // The shorter chain catches up with our tip.
        scene.change(|chain| chain.mine_empty(u64::from(blocks == 1)));
        scene.ends_at(flume, tip).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_events_are_not_published_as_pending() {
    let (scene, flume) = following(2).await;
    flume.stop().await;
    mine(&scene, 30);
    let flume = scene.start(TOLD).await;
    flume.until_tip("dev", 128).await;
    let deadline = Instant::now() + WAIT_LIMIT;
    while tale(&scene).await.last().is_none_or(|last| last != "pending a130") && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    super::assert_folds(&scene).await;
    let mut pending = tale(&scene).await;
    pending.retain(|line| line.starts_with("pending"));
    assert_eq!(pending, ["pending a129", "pending a130"]);
    scene.ends_at(flume, 128).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_source_retracts_pending_and_confirms_on_return() {
    let (vault, token) = (source("vault", "stake", STAKE_VAULT, 0), source("token", "erc20", DEMO_TOKEN, 0));
    let scene = Scene::new(100).await;
    let flume = scene.start_with(TOLD, &(vault.clone() + &token)).await;
    flume.until_tip("dev", 98).await;
    mine(&scene, 1);
    published(&scene, &["pending a101"]).await;
    flume.stop().await;
    let flume = scene.start_with(TOLD, &token).await;
    published(&scene, &["pending a101", "retracted a101"]).await;
    scene.change(|chain| chain.mine_empty(30));
    flume.until_tip("dev", 129).await;
    flume.stop().await;
    let flume = scene.start_with(TOLD, &(vault + &token)).await;
    flume.until_tip("dev", 129).await;
    published(&scene, &["pending a101", "retracted a101", "confirmed a101", "confirmed user.activated"])
        .await;
    flume.stop().await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pending_when_the_setting_goes_is_ended_all_the_same() {
    let (scene, flume) = following(2).await;
    mine(&scene, 2);
    published(&scene, &["pending a101", "pending a102"]).await;
    flume.stop().await;
    let flume = scene.start("").await;
    reorg(&scene, 1, 1);
    published(&scene, &["pending a101", "pending a102", "retracted a102"]).await;
    mine(&scene, 1);
    let expected =
        ["pending a101", "pending a102", "retracted a102", "confirmed a101", "confirmed user.activated"];
    published(&scene, &expected).await;
    scene.ends_at(flume, 101).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_head_itself_is_confirmed_nothing_is_pending() {
    let (scene, flume) = following(0).await;
    mine(&scene, 1);
    published(&scene, &["confirmed a101", "confirmed user.activated"]).await;
    scene.ends_at(flume, 101).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_confirms_and_only_the_reorg_window_is_pending() {
    let scene = Scene::of(Settings { history: 100, finalized_depth: Some(40), ..Settings::default() }).await;
    let keys = format!("{TOLD}\nconfirmations = \"finalized\"");
    let vault = source("vault", "stake", STAKE_VAULT, 0) + "publish_from = \"start\"\n";
    let flume = scene.start_with(&keys, &vault).await;
    flume.until_tip("dev", 60).await;
    mine(&scene, 1);
    let head = "select count(*) from pending_events where block_number = 101";
    let deadline = std::time::Instant::now() + crate::flume::WAIT_LIMIT;
    while sqlx::query_scalar::<_, i64>(head).fetch_one(&scene.pool).await.expect("reads") == 0 {
        assert!(std::time::Instant::now() < deadline, "{:?}", flume.chain("dev"));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    super::assert_folds(&scene).await;
    let lowest: i64 = sqlx::query_scalar("select min(block_number) from pending_events")
        .fetch_one(&scene.pool)
        .await
        .expect("reads");
    assert!(lowest > 84, "block {lowest} is not in the window of 16");
    reorg(&scene, 10, 11);
    scene.change(|chain| chain.mine_empty(40));
    flume.until_tip("dev", 102).await;
    super::assert_folds(&scene).await;
    let left: i64 = sqlx::query_scalar("select count(*) from pending_events")
        .fetch_one(&scene.pool)
        .await
        .expect("reads");
    assert_eq!(left, 0, "the last forty blocks are empty");
    flume.stop().await;
    scene.equals_fresh_sync().await;
}
