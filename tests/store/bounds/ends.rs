//! A source that has an end reads up to it and no block more, and holds nothing up.

use chainflume::admin::{Limits, Report};
use chainflume_devchain::{DEMO_NFT, DEMO_TOKEN};
use chainflume_ops::health::{ChainHealth, DatabaseHealth, SourceHealth, SourceIdle};

use crate::daemon::Home;
use crate::flume::{Flume, devchain, source};
use crate::postgres;
use crate::random::{self, Random};
use crate::scene::Scene;

fn token(end: Option<u64>) -> String {
    let end = end.map(|end| format!("end_block = {end}\n")).unwrap_or_default();
    source("token", "erc20", DEMO_TOKEN, 0) + &end
}

fn nft() -> String {
    source("nft", "erc721", DEMO_NFT, 0)
}

fn of<'a>(chain: &'a ChainHealth, name: &str) -> Option<&'a SourceHealth> {
    chain.sources.iter().find(|source| source.name == name)
}

async fn until_complete(flume: &Flume, block: u64) {
    let is_complete = |chain: &ChainHealth| {
        of(chain, "token").is_some_and(|token| token.idle == Some(SourceIdle::Complete { block }))
    };
    flume.until("dev", &format!("completed at {block}"), is_complete).await;
}

async fn until_tip(flume: &Flume, name: &str, tip: u64) {
    let is_there = |chain: &ChainHealth| of(chain, name).is_some_and(|source| source.tip == Some(tip));
    flume.until("dev", &format!("had {name} at {tip}"), is_there).await;
}

async fn blocks_above(scene: &Scene, block: i64) -> i64 {
    let sql = "select count(*) from events e join event_kinds k on k.id = e.kind_id where k.source = 'token' and block_number > $1";
    sqlx::query_scalar(sql).bind(block).fetch_one(&scene.pool).await.expect("reads")
}

fn report(flume: &Flume) -> Report {
    flume.board.set_database(DatabaseHealth { writable: true, ..DatabaseHealth::default() });
    Report::of(&flume.board, &Limits { max_lag: 5, ..Limits::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_complete_at_its_end_and_the_others_go_on() {
    let scene = Scene::new(100).await;
    let flume = scene.start_with("", &(token(Some(50)) + &nft())).await;
    until_tip(&flume, "nft", 98).await;
    scene.mine(20);
    until_tip(&flume, "nft", 118).await;
    until_complete(&flume, 50).await;
    let report = report(&flume);
    assert!(report.ready, "{:?}", report.chains["dev"].not_ready);
    let token_report = &report.chains["dev"].sources["token"];
    assert_eq!(
        (token_report.tip, token_report.lag, token_report.eta_seconds, token_report.state.as_str()),
        (Some(50), 0, None, "complete")
    );
    assert_eq!(token_report.waits.as_deref(), Some("complete at block 50"));
    // No question about blocks above names its contract.
    let asked = scene.asked();
    let above = asked.iter().filter(|asked| asked.range.map_or(asked.hash.is_some(), |(from, _)| from > 50));
    assert!(above.clone().count() > 0);
    assert!(above.clone().all(|asked| !asked.addresses.contains(&DEMO_TOKEN)), "{asked:#?}");
    flume.stop().await;
    assert_eq!(blocks_above(&scene, 50).await, 0);
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_near_the_head_ends_with_that_block_through_reorgs() {
    let scene = Scene::new(60).await;
    let flume = scene.start_with("", &(token(Some(62)) + &nft())).await;
    scene.mine(4);
    until_tip(&flume, "nft", 62).await;
    until_tip(&flume, "token", 62).await;
    let waits = report(&flume).chains["dev"].sources["token"].waits.clone();
    assert_eq!(waits.as_deref(), Some("has stored up to its end_block 62, which is not final yet"));
    // The last block leaves the chain, with some below it, and later with all above it.
    for depth in [5, 8, 6] {
        scene.reorg(depth, depth + 1);
        let tip = scene.chain.head().number - 2;
        until_tip(&flume, "nft", tip).await;
        until_tip(&flume, "token", 62).await;
    }
    scene.mine(20);
    until_complete(&flume, 62).await;
    until_tip(&flume, "nft", scene.chain.head().number - 2).await;
    flume.stop().await;
    assert_eq!(blocks_above(&scene, 62).await, 0);
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_is_complete_is_asked_for_its_head_alone() {
    let scene = Scene::new(60).await;
    let flume = scene.start_with("", &token(Some(59))).await;
    scene.mine(1);
    until_tip(&flume, "token", 59).await;
    // Not final: a reorg counts, and nothing else is stored meanwhile that would show what is final.
    scene.reorg(4, 5);
    scene.mine(30);
    until_complete(&flume, 59).await;
    let head = scene.chain.head().number;
    flume.until("dev", "saw the head", |chain| chain.heads.latest == Some(head)).await;
    // What was asked before does not count.
    requests(&scene);
    for _ in 0..5 {
        scene.mine(1);
        let head = scene.chain.head().number;
        flume.until("dev", "saw the head", |chain| chain.heads.latest == Some(head)).await;
    }
    let asked = requests(&scene);
    let others =
        asked.iter().filter(|asked| !asked.contains("\"latest\"") && !asked.contains("\"finalized\""));
    let others: Vec<_> = others
        .filter(|asked| asked.starts_with("eth_getBlock") || asked.starts_with("eth_getLogs"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(report(&flume).ready);
    flume.stop().await;
    let final_number: i64 =
        sqlx::query_scalar("select final_number from chains").fetch_one(&scene.pool).await.expect("reads");
    assert!(final_number >= 59, "{final_number}");
    scene.equals_fresh_sync().await;
}

fn requests(scene: &Scene) -> Vec<String> {
    let requests = scene.chain.faults().journal();
    requests.iter().map(|request| format!("{} {}", request.method, request.params)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_end_and_none_continue_without_a_gap() {
    let scene = Scene::new(100).await;
    let flume = scene.start_with("", &(token(Some(40)) + &nft())).await;
    until_complete(&flume, 40).await;
    until_tip(&flume, "nft", 98).await;
    flume.stop().await;
    scene.mine(10);
    let flume = scene.start_with("", &(token(Some(70)) + &nft())).await;
    until_complete(&flume, 70).await;
    until_tip(&flume, "nft", 108).await;
    flume.stop().await;
    scene.equals_fresh_sync().await;
    let flume = scene.start_with("", &(token(None) + &nft())).await;
    flume.until_tip("dev", 108).await;
    flume.stop().await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_below_what_is_stored_deletes_nothing_and_is_named() {
    let (chain, server) = devchain(66, 100).await;
    let url = postgres::empty_database().await;
    let home = Home::new(&server, &(token(Some(80)) + &nft()), Some(&url));
    let daemon = home.start();
    let complete = |block: &'static str| {
        move |_, report: &serde_json::Value| report["chains"]["dev"]["sources"]["token"]["waits"] == block
    };
    daemon.until("it is complete", complete("complete at block 80")).await;
    daemon.stop_well().await;
    home.rewrite("end_block = 80", "end_block = 30");
    let text = "source token has stored blocks up to 80, and its end_block is 30: they stay, and nothing more is read; \
                `chainflume sources reset token` deletes them";
    let check = home.run(&["check"]).await.fine();
    assert!(check.contains(text) && check.contains(", from block 0 to block 30\n"), "{check}");
    let daemon = home.start();
    chain.mine(3);
    daemon.until("it is complete where it is", complete("complete at block 80")).await;
    let status = home.run(&["status"]).await.fine();
    assert!(status.contains(text) && status.contains("source token: complete at block 80"), "{status}");
    home.run(&["sources", "reset", "token", "--yes"]).await.fine();
    daemon.until("it is read anew", complete("complete at block 30")).await;
    daemon.stop_well().await;
}

/// Ends, starts, reorgs and restarts at random: what is stored is what a fresh sync stores.
#[tokio::test(flavor = "multi_thread")]
async fn any_row_of_ends_reorgs_and_restarts_ends_as_a_fresh_sync() {
    let mut random = Random::new(random::seed("ends"));
    for _ in 0..4 {
        let scene = Scene::new(40).await;
        let mut end = 30 + random.below(20);
        for _ in 0..4 {
            let sources = token(Some(end)) + &nft();
            let flume = scene.start_with("", &sources).await;
            for _ in 0..3 {
                match random.below(3) {
                    0 => scene.mine(1 + random.below(6)),
                    _ => {
                        let depth = 1 + random.below(9);
                        scene.reorg(depth, depth + random.below(4));
                    }
                }
                if random.below(2) == 0 {
                    let tip = scene.chain.head().number - 2;
                    until_tip(&flume, "nft", tip).await;
                    until_tip(&flume, "token", tip.min(end)).await;
                }
            }
            match random.below(2) {
                0 => flume.stop().await,
                _ => flume.kill().await,
            }
            scene.until_alone().await;
            end += random.below(12);
        }
        // A block above all that is stored: the last reorg may have left the chain as long as it was.
        scene.mine(1);
        let flume = scene.start_with("", &(token(Some(end)) + &nft())).await;
        let tip = scene.chain.head().number - 2;
        until_tip(&flume, "nft", tip).await;
        until_tip(&flume, "token", tip.min(end)).await;
        flume.stop().await;
        scene.equals_fresh_sync().await;
    }
}
