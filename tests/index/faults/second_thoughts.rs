//! The chain changes again while it is being looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chainflume_devchain::DevChain;

use super::BLOCK;
use crate::flume::Flume;
use crate::scene::{Scene, height};

async fn following() -> (Scene, Flume) {
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    (scene, flume)
}

/// Runs `change` at the second question for block 98: the first read of what we hold finds it replaced, and
/// what follows is the read that confirms.
fn between_the_reads<T>(
    scene: &Scene,
    change: impl FnOnce(&DevChain) -> T + Send + 'static,
) -> Arc<AtomicU64> {
    let reads = Arc::new(AtomicU64::new(0));
    let seen = reads.clone();
    let second =
        move |params: &serde_json::Value| height(98)(params) && seen.fetch_add(1, Ordering::Relaxed) == 1;
    scene.once(BLOCK, second, change);
    reads
}

fn then(lines: &[&str]) -> Vec<String> {
    ["all: up to a84", "all: a84 to a98"].iter().chain(lines).map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deeper_reorg_between_the_two_reads_is_what_is_undone() {
    let (scene, flume) = following().await;
    let reads = between_the_reads(&scene, |chain| chain.reorg(10, 11));
    scene.reorg(4, 5);
    flume.until_tip("dev", 100).await;
    assert!(reads.load(Ordering::Relaxed) >= 4, "two reads that differ, and two that agree");
    scene.ends_at(flume, 100).await;
    assert_eq!(scene.story().await, then(&["all: a98 back to a91", "all: a91 to c100"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_gone_at_the_second_read_undoes_nothing() {
    let (scene, flume) = following().await;
    let branch = scene.chain.branch();
    let reads = between_the_reads(&scene, move |chain| chain.restore(&branch));
    scene.reorg(5, 6);
    crate::wait::until("both reads are done", || reads.load(Ordering::Relaxed) >= 2).await;
    scene.mine(1);
    flume.until_tip("dev", 99).await;
    scene.ends_at(flume, 99).await;
    assert_eq!(scene.story().await, then(&["all: a98 to a99"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deeper_reorg_during_the_rewind_is_a_second_way_back() {
    let (scene, flume) = following().await;
    let mut stall = scene.pool.begin().await.expect("a connection");
    sqlx::query("select 1 from chains for update").execute(&mut *stall).await.expect("locks");
    scene.reorg(5, 6);
    scene.until_blocked().await;
    scene.reorg(12, 13);
    stall.rollback().await.expect("unlocks");
    flume.until_tip("dev", 100).await;
    scene.ends_at(flume, 100).await;
    assert_eq!(
        scene.story().await,
        then(&["all: a98 back to a95", "all: a95 back to a89", "all: a89 to c100"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_comes_back_during_the_rewind_is_read_again() {
    let (scene, flume) = following().await;
    let branch = scene.chain.branch();
    let mut stall = scene.pool.begin().await.expect("a connection");
    sqlx::query("select 1 from chains for update").execute(&mut *stall).await.expect("locks");
    scene.reorg(5, 6);
    scene.until_blocked().await;
    scene.change(|chain| chain.restore(&branch));
    scene.mine(1);
    stall.rollback().await.expect("unlocks");
    flume.until_tip("dev", 99).await;
    scene.ends_at(flume, 99).await;
    assert_eq!(scene.story().await, then(&["all: a98 back to a95", "all: a95 to a99"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_while_a_commit_waits_undoes_that_commit() {
    let (scene, flume) = following().await;
    let mut stall = scene.pool.begin().await.expect("a connection");
    sqlx::query("select 1 from chains for update").execute(&mut *stall).await.expect("locks");
    scene.mine(3);
    scene.until_blocked().await;
    scene.reorg(6, 7);
    stall.rollback().await.expect("unlocks");
    flume.until_tip("dev", 102).await;
    scene.ends_at(flume, 102).await;
    assert_eq!(scene.story().await, then(&["all: a98 to a101", "all: a101 back to a97", "all: a97 to b102"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_way_back_and_the_way_on_costs_nothing() {
    let (scene, flume) = following().await;
    flume.stop().await;
    for round in 0..4 {
        scene.reorg(6, 7);
        let flume = scene.start("").await;
        // Killed at some moment of its way back or on; what it does is the same from wherever it begins again.
        tokio::time::sleep(std::time::Duration::from_millis(40 + 30 * round)).await;
        flume.kill().await;
        scene.until_alone().await;
    }
    let flume = scene.start("").await;
    scene.ends_at(flume, 102).await;
    let story = scene.story().await;
    assert_eq!(story[..2], then(&[])[..]);
    assert!(
        story.len() > 2 && story.iter().filter(|line| line.contains("back to")).count() <= 4,
        "{story:?}"
    );
}
