//! What the node answers at its newest blocks, and what asking costs.

use chainflume_devchain::{Action, Effect, RawLog, Request, RpcError, Rule, STAKE_VAULT, STAKED};

use super::{following, mine, published};
use crate::scene::{by_hash, height};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_fails_on_its_newest_block_delays_no_other() {
    let (scene, flume) = following(2).await;
    mine(&scene, 1);
    published(&scene, &["pending a101"]).await;
    let lacks = scene.chain.faults().add(Rule::on("eth_getBlockByNumber", Effect::Null).asking(height(103)));
    let refuses = Effect::Error(RpcError::new(-32000, "header not found"));
    let head = format!("{:#x}", 102);
    let asking = move |params: &serde_json::Value| params[0] == head.as_str();
    let other = scene.chain.faults().add(Rule::on("eth_getBlockByNumber", refuses).asking(asking).times(3));
    mine(&scene, 2);
    flume.until_tip("dev", 101).await;
    let health = flume.chain("dev");
    assert_eq!((health.errors.consecutive, health.errors.last), (0, None));
    assert!(!super::tale(&scene).await.contains(&"pending a103".to_owned()));
    lacks.lift();
    other.lift();
    let expected =
        ["pending a101", "confirmed a101", "confirmed user.activated", "pending a102", "pending a103"];
    let mut sorted = expected.to_vec();
    sorted.sort_unstable();
    let deadline = std::time::Instant::now() + crate::flume::WAIT_LIMIT;
    while super::tale(&scene).await.len() < expected.len() {
        assert!(std::time::Instant::now() < deadline, "{:?}", super::tale(&scene).await);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let mut tale = super::tale(&scene).await;
    tale.sort_unstable();
    assert_eq!(tale, sorted);
    super::assert_folds(&scene).await;
    scene.ends_at(flume, 101).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_head_costs_one_more_log_question_and_one_more_header() {
    let (scene, flume) = following(2).await;
    mine(&scene, 1);
    published(&scene, &["pending a101"]).await;
    flume.until_tip("dev", 99).await;
    drop(scene.chain.faults().journal());
    for tip in 100..105 {
        mine(&scene, 1);
        flume.until_tip("dev", tip).await;
        let deadline = std::time::Instant::now() + crate::flume::WAIT_LIMIT;
        while !super::tale(&scene).await.contains(&format!("pending a{}", tip + 2)) {
            assert!(std::time::Instant::now() < deadline, "{:?}", super::tale(&scene).await);
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
    let journal = scene.chain.faults().journal();
    let by_number = |request: &&Request| {
        let number = request.params[0].as_str().is_some_and(|number| number.starts_with("0x"));
        request.method == "eth_getBlockByNumber" && number
    };
    let logs = journal.iter().filter(|request| request.method == "eth_getLogs").count();
    // What is confirmed, and what is published.
    assert_eq!((logs, journal.iter().filter(by_number).count()), (10, 10));
    scene.ends_at(flume, 104).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undecodable_log_is_a_dead_letter_only_when_confirmed() {
    let (scene, flume) = following(2).await;
    let letters = async || -> i64 {
        sqlx::query_scalar("select count(*) from dead_letters").fetch_one(&scene.pool).await.expect("reads")
    };
    let malformed =
        RawLog::new(STAKE_VAULT, &[STAKED, chainflume_devchain::wallet(1).into_word()], &[1, 2, 3]);
    let block = vec![Action::Raw(Box::new(malformed)), super::stake(5)];
    scene.change(|chain| chain.mine_with(vec![block]));
    published(&scene, &["pending a101"]).await;
    assert_eq!(letters().await, 0);
    scene.change(|chain| chain.mine_empty(2));
    flume.until_tip("dev", 101).await;
    published(&scene, &["pending a101", "confirmed a101", "confirmed user.activated"]).await;
    assert_eq!(letters().await, 1);
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_between_header_and_logs_publishes_nothing_of_it() {
    let (scene, flume) = following(2).await;
    scene.once("eth_getLogs", by_hash, |_| {});
    mine(&scene, 1);
    published(&scene, &["pending a101"]).await;
    let gone = scene.change(|chain| {
        chain.mine_with(vec![vec![super::stake(9)]]);
        let hash = chain.head().hash;
        chain.truncate(1);
        hash
    });
    scene.once(
        "eth_getLogs",
        move |params| params[0]["blockHash"] == gone.to_string().as_str(),
        |_| panic!("it is not known"),
    );
    mine(&scene, 1);
    published(&scene, &["pending a101", "pending a102"]).await;
    scene.ends_at(flume, 100).await;
}
