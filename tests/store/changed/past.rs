//! What is new has a past, and gets it by itself.

use super::{
    A, B, BOTH, TRANSFER, before, mine, of, other, run, scene, source, source_of, texts, until_whole,
};
use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn an_address_more_gets_its_past_beside_the_live_blocks() {
    let scene = scene(60).await;
    run(&scene, &before(), &["usd", "other"]).await;
    run(&scene, &(source("usd", &[A, B], TRANSFER) + &other()), &["usd", "other"]).await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_event_gets_its_past_and_keeps_newer_approvals() {
    let scene = scene(60).await;
    run(&scene, &before(), &["usd", "other"]).await;
    let flume = scene.start_with("", &(source("usd", &[A], BOTH) + &other())).await;
    for _ in 0..5 {
        mine(&scene, 1);
    }
    until_whole(&flume, "usd", 63).await;
    flume.stop().await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_start_gets_the_blocks_below_by_itself() {
    let scene = scene(60).await;
    let from = |start| source_of("usd", &[A], (TRANSFER, start, "erc20")) + &other();
    run(&scene, &from(30), &["usd", "other"]).await;
    run(&scene, &from(0), &["usd", "other"]).await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_out_for_a_while_gets_the_hole_between() {
    let scene = scene(40).await;
    let both = source("usd", &[A, B], BOTH) + &other();
    run(&scene, &both, &["usd", "other"]).await;
    mine(&scene, 30);
    run(&scene, &before(), &["usd", "other"]).await;
    // Stored all the same.
    assert_eq!(
        texts(
            &scene,
            "select count(*)::text from events where address = '\\xb2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2'"
        )
        .await,
        ["38"]
    );
    mine(&scene, 30);
    run(&scene, &both, &["usd", "other"]).await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_that_was_half_read_goes_on_after_a_kill() {
    let scene = scene(200).await;
    run(&scene, &before(), &["usd", "other"]).await;
    let keys = "[chain.history]\ncommit_logs = 0\nranges_in_flight = 1\ninitial_range = 10\nmax_range = 10\n";
    let after = source("usd", &[A, B], BOTH) + &other();
    let flume = scene.start_with(keys, &after).await;
    let half = |chain: &chainflume_ops::health::ChainHealth| {
        of(chain, "usd").and_then(|source| source.unread.as_ref()).is_some_and(|unread| unread.next > 50)
    };
    flume.until("dev", "read half of it", half).await;
    flume.kill().await;
    scene.until_alone().await;
    scene.asked();
    run(&scene, &after, &["usd", "other"]).await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_into_an_added_past_leaves_nothing_of_the_old_branch() {
    let scene = scene(60).await;
    run(&scene, &before(), &["usd", "other"]).await;
    let flume = scene.start_with("", &(source("usd", &[A, B], BOTH) + &other())).await;
    until_whole(&flume, "usd", 58).await;
    scene.reorg(8, 9);
    mine(&scene, 3);
    let tip = scene.chain.head().number - 2;
    until_whole(&flume, "usd", tip).await;
    flume.stop().await;
    scene.equals_fresh_sync().await;
}

/// The blocks of which events of the second contract were announced.
async fn announced(scene: &Scene) -> Vec<u64> {
    let sql = "select distinct (message::jsonb->'metadata'->>'blockNumber')::bigint from outbox \
               where lower(message::jsonb->>'aggregateId') = $1 and message::jsonb->>'state' = 'confirmed' order by 1";
    let token = B.to_string().to_lowercase();
    let blocks: Vec<i64> =
        sqlx::query_scalar(sql).bind(token).fetch_all(&scene.pool).await.expect("the query runs");
    blocks.into_iter().map(i64::unsigned_abs).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_of_an_added_event_is_published_as_configured() {
    for (publish_from, first) in [("\"head\"", None), ("\"start\"", Some(1)), ("20", Some(20))] {
        let scene = scene(60).await;
        let usd = |addresses| {
            source("usd", addresses, TRANSFER) + &format!("publish_from = {publish_from}\n") + &other()
        };
        run(&scene, &usd(&[A]), &["usd", "other"]).await;
        let flume = scene.start_with("", &usd(&[A, B])).await;
        until_whole(&flume, "usd", 58).await;
        let expected: Vec<u64> = first.map_or_else(Vec::new, |first| (first..=58).collect());
        assert_eq!(announced(&scene).await, expected, "publish_from = {publish_from}");
        // What was stored without a word leaves without one.
        scene.reorg(6, 7);
        mine(&scene, 1);
        let tip = scene.chain.head().number - 2;
        until_whole(&flume, "usd", tip).await;
        flume.stop().await;
        scene.equals_fresh_sync().await;
        let unheard = "select count(*)::text from outbox r where r.message::jsonb->>'state' = 'retracted' and not exists \
                       (select from outbox c where c.message::jsonb->>'id' = r.message::jsonb->>'id' and c.message::jsonb->>'state' = 'confirmed')";
        assert_eq!(texts(&scene, unheard).await, ["0"], "publish_from = {publish_from}");
    }
}
