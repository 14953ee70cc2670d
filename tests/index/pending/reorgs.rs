//! Reorgs above, below and across the line between what is pending and what is confirmed.

use super::{following, mine, published, reorg};

#[tokio::test(flavor = "multi_thread")]
async fn a_log_at_the_head_is_pending_and_confirmed_when_deep() {
    let (scene, flume) = following(2).await;
    mine(&scene, 1);
    published(&scene, &["pending a101"]).await;
    let known: i64 = sqlx::query_scalar(
        "select (select count(*) from events where block_number > 100) \
             + (select count(*) from users where stake_amount = 1)",
    )
    .fetch_one(&scene.pool)
    .await
    .expect("a count");
    assert_eq!(known, 0, "nothing but messages");
    scene.change(|chain| chain.mine_empty(1));
    flume.until_tip("dev", 100).await;
    assert_eq!(super::tale(&scene).await, ["pending a101"]);
    scene.change(|chain| chain.mine_empty(1));
    published(&scene, &["pending a101", "confirmed a101", "confirmed user.activated"]).await;
    scene.ends_at(flume, 101).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_gone_before_confirmation_is_retracted_and_may_return() {
    let (scene, flume) = following(2).await;
    mine(&scene, 2);
    let mut tale = vec!["pending a101", "pending a102"];
    published(&scene, &tale).await;
    let branch = scene.chain.branch();
    reorg(&scene, 1, 1);
    tale.extend(["retracted a102", "pending b102"]);
    published(&scene, &tale).await;
    scene.change(|chain| chain.restore(&branch));
    tale.extend(["retracted b102", "pending a102"]);
    published(&scene, &tale).await;
    scene.change(|chain| chain.mine_empty(2));
    tale.extend(["confirmed a101", "confirmed user.activated", "confirmed a102", "confirmed user.updated"]);
    flume.until_tip("dev", 102).await;
    // One commit or two: each has one message about a user.
    let output = super::tale(&scene).await;
    let of_events = |line: &&String| !line.contains("user.");
    let expected: Vec<_> = tale.iter().filter(|line| !line.contains("user.")).collect();
    assert_eq!(output.iter().filter(of_events).collect::<Vec<_>>(), expected);
    super::assert_folds(&scene).await;
    let reorgs: i64 =
        sqlx::query_scalar("select count(*) from reorgs").fetch_one(&scene.pool).await.expect("reads");
    assert_eq!(reorgs, 0, "nothing that was stored was undone");
    scene.ends_at(flume, 102).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_of_all_that_is_pending_stops_at_what_is_confirmed() {
    let (scene, flume) = following(3).await;
    mine(&scene, 3);
    published(&scene, &["pending a101", "pending a102", "pending a103"]).await;
    reorg(&scene, 3, 3);
    let tale = [
        "pending a101",
        "pending a102",
        "pending a103",
        "retracted a103",
        "retracted a102",
        "retracted a101",
        "pending b101",
        "pending b102",
        "pending b103",
    ];
    published(&scene, &tale).await;
    scene.ends_at(flume, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_across_the_line_retracts_pending_then_confirmed() {
    let (scene, flume) = following(2).await;
    mine(&scene, 1);
    published(&scene, &["pending a101"]).await;
    scene.change(|chain| chain.mine_empty(1));
    flume.until_tip("dev", 100).await;
    mine(&scene, 1);
    let before = ["pending a101", "confirmed a101", "confirmed user.activated", "pending a103"];
    published(&scene, &before).await;
    reorg(&scene, 3, 3);
    flume.until_tip("dev", 101).await;
    let then = [
        "retracted a103",
        "retracted a101",
        "retracted user.activated",
        "confirmed b101",
        "confirmed user.activated",
        "pending b102",
        "pending b103",
    ];
    let expected: Vec<&str> = before.into_iter().chain(then).collect();
    published(&scene, &expected).await;
    scene.ends_at(flume, 101).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_head_retracts_nothing_and_another_branch_does() {
    let (scene, flume) = following(2).await;
    mine(&scene, 2);
    published(&scene, &["pending a101", "pending a102"]).await;
    scene.change(|chain| chain.truncate(1));
    flume.until("dev", "sees the lower head", |chain| chain.heads.latest == Some(101)).await;
    scene.change(|chain| chain.truncate(1));
    flume.until("dev", "sees the lower head", |chain| chain.heads.latest == Some(100)).await;
    published(&scene, &["pending a101", "pending a102"]).await;
    reorg(&scene, 0, 2);
    let tale =
        ["pending a101", "pending a102", "retracted a102", "retracted a101", "pending b101", "pending b102"];
    published(&scene, &tale).await;
    scene.ends_at(flume, 100).await;
}
