//! A stop ends by itself, and one wrong answer about a tag makes nothing final.

use chainflume_devchain::{Effect, Rule, Settings};
use chainflume_ops::health::ChainState;
use serde_json::json;

use super::BLOCK;
use crate::flume::{Flume, all_sources, config, connect, devchain};
use crate::scene::Scene;
use crate::{postgres, tables};

#[tokio::test(flavor = "multi_thread")]
async fn a_finalized_tag_that_is_wrong_once_makes_nothing_final() {
    let settings = Settings { history: 100, finalized_depth: Some(30), ..Default::default() };
    let scene = Scene::of(settings).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    // Once the tag is at the head.
    let head = scene.chain.head();
    let edit = Effect::edit(move |header| {
        header["number"] = json!(format!("{:#x}", head.number));
        header["hash"] = json!(head.hash);
        header["parentHash"] = json!(head.parent_hash);
        header["timestamp"] = json!(format!("{:#x}", head.timestamp));
    });
    let of_tag = Rule::on(BLOCK, edit).asking(|params| params[0] == "finalized").times(1);
    let wrong = scene.chain.faults().add(of_tag);
    while wrong.fired() == 0 {
        scene.mine(1);
        flume.until_tip("dev", scene.chain.head().number - 2).await;
    }
    // What is stored after it would be final by it.
    scene.mine(2);
    let top = scene.chain.head().number;
    flume.until_tip("dev", top - 2).await;
    let depth = top - head.number + 5;
    scene.reorg(depth, depth + 1);
    scene.ends_at(flume, top - 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_stopped_by_its_database_goes_on_when_that_is_mended() {
    let (chain, server) = devchain(61, 60).await;
    let url = postgres::database().await;
    let pool = connect(&url).await;
    let flume = Flume::start(&config(&server, "", &all_sources()), &url).await;
    flume.until_tip("dev", 58).await;
    // Another program deleted rows that a reorg has to undo.
    for sql in ["create table saved as select * from token_balances", "delete from token_balances"] {
        sqlx::query(sql).execute(&pool).await.expect("runs");
    }
    chain.reorg(8, 9);
    flume.until("dev", "stopped", |chain| chain.state == ChainState::Stopped).await;
    let error = flume.chain("dev").errors.last.expect("it has a reason");
    assert!(error.contains("table token_balances does not agree"), "{error}");
    let columns = "chain_id, token, account, balance, events";
    let back = format!("insert into token_balances ({columns}) select {columns} from saved");
    sqlx::query(sqlx::AssertSqlSafe(back)).execute(&pool).await.expect("runs");
    flume.until_tip("dev", 59).await;
    flume.until("dev", "live", |chain| chain.state == ChainState::Live).await;
    flume.stop().await;
    tables::assert_equals_chain(&pool, &chain, 59).await;
}
