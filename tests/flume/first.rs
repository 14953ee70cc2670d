use std::time::Duration;

use chainflume::devchain::Transport;
use serde_json::{Value, json};

use crate::flume::{Flume, all_sources, config, connect, devchain};
use crate::scene::Scene;
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
    let range = chainflume::domain::BlockRange::new(0, 99).expect("in order");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_block_at_the_head_takes_one_question_to_the_node() {
    let scene = Scene::new(20).await;
    let flume = scene.start("confirmations = 0\npoll_interval = \"60s\"\nws_silence = \"60s\"").await;
    flume.until_tip("dev", 20).await;
    while !flume.chain("dev").pushed {
        scene.mine(1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let head = scene.chain.head().number;
    flume.until_tip("dev", head).await;
    for number in head + 1..head + 6 {
        scene.chain.faults().journal();
        scene.mine(1);
        flume.until_tip("dev", number).await;
        let asked =
            scene.chain.faults().journal().into_iter().filter(|call| call.transport == Transport::Http);
        let asked: Vec<(String, Value)> =
            asked.map(|mut call| (call.method, call.params[0].take())).collect();
        let hash = scene.chain.head().hash;
        assert_eq!(asked[..2].iter().map(|(method, _)| method.as_str()).collect::<Vec<_>>(), [HEADER, LOGS]);
        assert_eq!((&asked[0].1, &asked[1].1["blockHash"]), (&json!("latest"), &json!(hash)));
        assert_eq!(asked.len(), 2, "{asked:?}");
    }
    scene.ends_at(flume, head + 5).await;
}
