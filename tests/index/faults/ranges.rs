//! History: order, bounds, and where it goes on.

use std::time::Duration;

use alloy_primitives::U256;
use chainflume_devchain::{Action, ActiveFault, Effect, Rule, Settings, wallet};
use tokio_util::sync::CancellationToken;

use super::{BLOCK, LOGS, history, ranges};
use crate::flume::Flume;
use crate::scene::{Scene, from_block, height};
use crate::wait::until;

/// Counts the questions for the header of a height.
fn headers(scene: &Scene, number: u64) -> ActiveFault {
    scene.chain.faults().add(Rule::on(BLOCK, Effect::Delay(Duration::ZERO)).asking(height(number)))
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_answered_in_reverse_are_committed_in_order() {
    let scene = Scene::new(100).await;
    let gates = [10, 20, 30].map(|from| {
        let gate = CancellationToken::new();
        scene.chain.faults().add(Rule::on(LOGS, Effect::Until(gate.clone())).asking(from_block(from)));
        gate
    });
    let flume = scene.start(&history(4, 10)).await;
    // The fourth reader goes on to the end of the history meanwhile, and what it reads waits.
    until("all ranges are asked for", || scene.chain.calls(LOGS) == 9).await;
    until_past(&flume, 9).await;
    for gate in gates.iter().rev() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!((scene.story().await.len(), scene.chain.calls(LOGS)), (1, 9));
        gate.cancel();
    }
    scene.ends_at(flume, 98).await;
    assert_eq!(scene.story().await, [ranges(10, 84), vec!["all: a84 to a98".to_owned()]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_waiting_for_the_database_are_bounded_by_bytes() {
    // Blocks of about 220 kB in memory, eight in flight, and a budget of 1 MiB. Above what is final the header of a range's last
    // block is asked for before the logs and after them, in one request.
    let scene = Scene::of(Settings { finalized_depth: Some(1000), ..Default::default() }).await;
    let stake = |n: u64| Action::Stake { developer: wallet(n), amount: U256::from(n + 1) };
    scene.change(|chain| chain.mine_with((0..12).map(|_| (0..1200).map(stake).collect()).collect()));
    scene.change(|chain| chain.mine_empty(16));
    let answered: Vec<ActiveFault> = (1..=8).map(|number| headers(&scene, number)).collect();
    let stall = lock_checkpoints(&scene.pool).await;
    let flume = scene.start(&(history(8, 1) + "buffer_bytes = \"1MiB\"\n")).await;
    scene.until_blocked().await;
    until("eight are answered", || answered.iter().all(|headers| headers.fired() >= 2)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    // One commit is let through. Seven answers wait then, more than the budget: none is asked for in place of the eighth.
    let pool = scene.pool.clone();
    let next = tokio::spawn(async move { lock_checkpoints(&pool).await });
    scene.until_waiting(2).await;
    stall.rollback().await.expect("unlocks");
    let stall = next.await.expect("locks in turn");
    scene.until_blocked().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked: Vec<_> = scene.asked().iter().filter_map(|asked| asked.range).map(|(from, _)| from).collect();
    assert_eq!((scene.story().await, asked.iter().max()), (vec!["all: up to a0".to_owned()], Some(&8)));
    stall.rollback().await.expect("unlocks");
    scene.ends_at(flume, 26).await;
    let blocks = (1..=12).map(|n| format!("all: a{} to a{n}", n - 1));
    let rest = ["all: a12 to a26".to_owned()];
    assert_eq!(
        scene.story().await,
        std::iter::once("all: up to a0".to_owned()).chain(blocks).chain(rest).collect::<Vec<_>>()
    );
}

type Stall = sqlx::Transaction<'static, sqlx::Postgres>;

/// While this is held no checkpoint moves. Sessions that wait for the lock get it in turn.
async fn lock_checkpoints(pool: &sqlx::PgPool) -> Stall {
    let mut stall = pool.begin().await.expect("a connection");
    sqlx::query("lock table source_groups in share row exclusive mode")
        .execute(&mut *stall)
        .await
        .expect("locks");
    stall
}

/// Waits until block `number` is stored, and maybe more.
async fn until_past(flume: &Flume, number: u64) {
    let past = |chain: &chainflume_ops::health::ChainHealth| {
        chain.sources.iter().all(|source| source.tip >= Some(number)) && !chain.sources.is_empty()
    };
    flume.until("dev", &format!("passed {number}"), past).await;
}

async fn checkpoint(scene: &Scene) -> u64 {
    let tips: Vec<i64> = sqlx::query_scalar("select distinct block_number from checkpoints")
        .fetch_all(&scene.pool)
        .await
        .expect("the table is there");
    assert_eq!(tips.len(), 1, "the sources are together");
    tips[0].cast_unsigned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_after_a_stop_asks_from_the_checkpoint_on() {
    let scene = Scene::new(200).await;
    scene.chain.faults().add(Rule::on(LOGS, Effect::Delay(Duration::from_millis(20))));
    for past in [40, 100] {
        let flume = scene.start(&history(4, 10)).await;
        until_past(&flume, past).await;
        flume.stop().await;
        let (checkpoint, _) = (checkpoint(&scene).await, scene.asked());
        let flume = scene.start(&history(4, 10)).await;
        until("it asks again", || scene.chain.calls(LOGS) > 0).await;
        until_past(&flume, checkpoint + 10).await;
        flume.stop().await;
        let first: Vec<_> = scene.asked().iter().filter_map(|asked| asked.range).collect();
        assert_eq!(first.iter().map(|(from, _)| *from).min(), Some(checkpoint + 1), "{first:?}");
    }
    let flume = scene.start(&history(4, 10)).await;
    scene.ends_at(flume, 198).await;
    assert_eq!(scene.story().await, [ranges(10, 184), vec!["all: a184 to a198".to_owned()]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_after_a_kill_asks_from_the_checkpoint_on() {
    let scene = Scene::new(200).await;
    scene.chain.faults().add(Rule::on(LOGS, Effect::Delay(Duration::from_millis(5))));
    for past in [5, 30, 60, 90, 120] {
        let flume = scene.start(&history(4, 10)).await;
        until_past(&flume, past).await;
        flume.kill().await;
        scene.until_alone().await;
        let (checkpoint, _) = (checkpoint(&scene).await, scene.asked());
        let flume = scene.start(&history(4, 10)).await;
        until_past(&flume, checkpoint + 1).await;
        flume.kill().await;
        scene.until_alone().await;
        let first: Vec<_> = scene.asked().iter().filter_map(|asked| asked.range).collect();
        assert_eq!(first.iter().map(|(from, _)| *from).min(), Some(checkpoint + 1), "{first:?}");
    }
    let flume = scene.start(&history(4, 10)).await;
    scene.ends_at(flume, 198).await;
    assert_eq!(scene.story().await, [ranges(10, 184), vec!["all: a184 to a198".to_owned()]].concat());
}
