use chainflume_devchain::{Request, Transport};
use serde_json::{Value, json};

use crate::flume::{Flume, all_sources, config, connect, devchain};
use crate::scene::Scene;
use crate::wait::until_async;
use crate::{journal, postgres};

#[tokio::test(flavor = "multi_thread")]
async fn history_is_synced_and_the_head_followed() {
    let url = postgres::database().await;
    let pool = connect(&url).await;
    journal::install(&pool).await;
    let (chain, server) = devchain(1, 100).await;
    let flume = Flume::start(&config(&server, "", &all_sources()), &url).await;
    flume.until_tip("dev", 98).await;
    chain.mine(1);
    flume.until_tip("dev", 99).await;
    flume.stop().await;
    let stored: i64 =
        sqlx::query_scalar("select count(*) from events").fetch_one(&pool).await.expect("a count");
    let range = chainflume_core::domain::BlockRange::new(0, 99).expect("in order");
    assert_eq!(stored, i64::try_from(chain.canonical_logs(range).len()).expect("few"));
    let moves = journal::moves(&pool).await;
    assert_eq!(moves[..3], ["vault: starts, at 84", "token: starts, at 84", "nft: starts, at 84"]);
    assert_eq!(
        moves[moves.len() - 3..],
        ["vault: on from 98 to 99", "token: on from 98 to 99", "nft: on from 98 to 99"]
    );
}

const HEADER: &str = "eth_getBlockByNumber";
const LOGS: &str = "eth_getLogs";

/// A daemon that receives heads and uses them.
async fn told_of_heads(confirmations: u64) -> (Scene, Flume) {
    let scene = Scene::new(20).await;
    let keys = format!("confirmations = {confirmations}\npoll_interval = \"60s\"\nws_silence = \"60s\"");
    let flume = scene.start(&keys).await;
    flume.until_tip("dev", 20 - confirmations).await;
    let is_pushed = async || {
        scene.mine(1);
        flume.chain("dev").heads.pushed
    };
    until_async("heads are announced", is_pushed).await;
    // An announcement that comes late is not made use of, and nor are some after it.
    for _ in 0..20 {
        scene.mine(1);
        flume.until_tip("dev", scene.chain.head().number - confirmations).await;
    }
    scene.chain.faults().journal();
    (scene, flume)
}

/// What was asked over HTTP since this was last called.
fn asked(scene: &Scene) -> Vec<Request> {
    let journal = scene.chain.faults().journal().into_iter();
    journal.filter(|call| call.transport == Transport::Http).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_at_the_head_takes_one_round_trip_to_the_node() {
    for (confirmations, wanted) in [(0, vec![HEADER, LOGS]), (2, vec![HEADER, HEADER, LOGS])] {
        let (scene, flume) = told_of_heads(confirmations).await;
        scene.mine(1);
        let tip = scene.chain.head().number - confirmations;
        flume.until_tip("dev", tip).await;
        let asked = asked(&scene);
        let methods: Vec<&str> = asked.iter().map(|call| call.method.as_str()).collect();
        assert_eq!(methods, wanted, "{asked:?}");
        assert!(asked.iter().all(|call| call.together == wanted.len()), "{asked:?}");
        let logs = asked.last().map(|call| call.params[0]["blockHash"].clone());
        assert_eq!(logs, scene.chain.block(tip).map(|block| json!(block.hash)));
        scene.ends_at(flume, tip).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_since_an_announcement_are_each_asked_for_once() {
    let (scene, flume) = told_of_heads(2).await;
    let tip = scene.chain.head().number + 1;
    scene.once(HEADER, |params| params[0] == "latest", |chain| chain.mine(2));
    scene.mine(1);
    flume.until_tip("dev", tip).await;
    let mut asked = asked(&scene);
    // The other announcements may have it look once more by now.
    asked.truncate(asked.iter().rposition(|call| call.method == LOGS).expect("they were asked for") + 1);
    assert!(asked[..3].iter().all(|call| call.together == 3) && asked[0].params[0] == "latest", "{asked:?}");
    let params = |method: &str| -> Vec<Value> {
        asked.iter().filter(|call| call.method == method).map(|call| call.params[0].clone()).collect()
    };
    let headers: Vec<_> = (tip - 2..=tip).map(|number| json!(format!("{number:#x}"))).collect();
    assert_eq!(params(HEADER)[1..], headers, "{asked:?}");
    let hashes: Vec<_> = params(LOGS).iter().map(|query| query["blockHash"].clone()).collect();
    let blocks: Vec<_> = (tip - 2..=tip).map(|n| json!(scene.chain.block(n).expect("mined").hash)).collect();
    assert_eq!(hashes, blocks, "{asked:?}");
    scene.ends_at(flume, tip).await;
}
