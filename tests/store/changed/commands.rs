//! What an operator decides about a stored source.

use chainflume::app::{self, Emptying};

use super::{A, TRANSFER, before, mine, other, run, scene, source, source_of, texts, until_whole};

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_source_keeps_its_data_and_a_running_daemon_goes_on() {
    let scene = scene(40).await;
    run(&scene, &before(), &["usd", "other"]).await;
    let refused = app::rename_source(&scene.loaded(), "usd", "usdc").await.expect_err("it is configured");
    assert!(refused.to_string().contains("configured under this name"), "{refused}");
    let flume = scene.start_with("", &(source("usdc", &[A], TRANSFER) + &other())).await;
    let loaded = scene.loaded();
    let listed = app::sources(&loaded).await.expect("a list");
    let names: Vec<_> = listed.iter().map(|source| (source.name.as_str(), source.configured)).collect();
    assert_eq!(names, [("other", true), ("usd", false), ("usdc", true)]);
    app::rename_source(&loaded, "usd", "other").await.expect_err("that name is stored");
    app::rename_source(&loaded, "none", "usdc").await.expect_err("that source is not stored");
    app::rename_source(&loaded, "usd", "usdc").await.expect("it is renamed");
    mine(&scene, 5);
    until_whole(&flume, "usdc", 43).await;
    flume.stop().await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_reset_is_read_anew_by_a_running_daemon() {
    let scene = scene(40).await;
    run(&scene, &(source_of("usd", &[A], (TRANSFER, 0, "generic")) + &other()), &["usd", "other"]).await;
    let flume = scene.start_with("", &before()).await;
    let loaded = scene.loaded();
    let refused =
        app::empty_source(&loaded, "usd", Emptying::Remove, |_| {}).await.expect_err("it is configured");
    assert!(refused.to_string().contains("sources reset usd"), "{refused}");
    let emptied = app::empty_source(&loaded, "usd", Emptying::Reset, |_| {}).await.expect("it is reset");
    assert_eq!(emptied.events, 38);
    mine(&scene, 5);
    until_whole(&flume, "usd", 43).await;
    flume.stop().await;
    assert_eq!(texts(&scene, "select count(distinct token)::text from token_balances").await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_removed_leaves_nothing_behind() {
    let scene = scene(40).await;
    run(&scene, &before(), &["usd", "other"]).await;
    run(&scene, &other(), &["other"]).await;
    let loaded = scene.loaded();
    app::empty_source(&loaded, "usd", Emptying::Reset, |_| {}).await.expect_err("it is not configured");
    assert_eq!(
        app::empty_source(&loaded, "usd", Emptying::Remove, |_| {}).await.expect("it is removed").events,
        38
    );
    app::empty_source(&loaded, "usd", Emptying::Remove, |_| {}).await.expect_err("it is gone");
    run(&scene, &other(), &["other"]).await;
    scene.equals_fresh_sync().await;
}
