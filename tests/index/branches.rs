//! Blocks of two branches must never be held side by side: the walk back from a contradiction ends at the first block that agrees.

use chainflume_devchain::{DEMO_NFT, STAKE_VAULT};

use crate::flume::{Flume, all_sources, config, connect, devchain, source};
use crate::{journal, postgres};

#[tokio::test(flavor = "multi_thread")]
async fn changes_during_downtime_are_undone_before_a_source_finalizes() {
    let url = postgres::database().await;
    let (chain, server) = devchain(1, 12).await;
    let vault = source("vault", "stake", STAKE_VAULT, 0);
    let flume = Flume::start(&config(&server, "", &vault), &url).await;
    flume.until_tip("dev", 10).await;
    flume.stop().await;
    let pool = connect(&url).await;
    journal::install(&pool).await;
    chain.reorg(8, 40);
    let both = vault + &source("nft", "erc721", DEMO_NFT, 40);
    let flume = Flume::start(&config(&server, "", &both), &url).await;
    flume.until_tip("dev", 42).await;
    flume.stop().await;
    let moves = journal::moves(&pool).await;
    assert_eq!(moves[..2], ["vault: back from 10 to 4", "reorg: 6 deep, back to 4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_begun_where_nothing_is_held_respects_changed_blocks() {
    let url = postgres::database().await;
    let pool = connect(&url).await;
    journal::install(&pool).await;
    let (chain, server) = devchain(1, 20).await;
    let sources = source("vault", "stake", STAKE_VAULT, 0) + &source("nft", "erc721", DEMO_NFT, 45);
    let flume = Flume::start(&config(&server, "ws = none", &sources), &url).await;
    flume
        .until("dev", "reached 18", |dev| dev.sources.first().is_some_and(|vault| vault.tip == Some(18)))
        .await;
    chain.truncate(10);
    flume.until("dev", "saw the head fall", |dev| dev.heads.latest == Some(10)).await;
    chain.mine(40);
    flume.until_tip("dev", 48).await;
    flume.stop().await;
    let moves = journal::moves(&pool).await;
    let back = moves.iter().position(|line| line == "vault: back from 18 to 10").expect("undone");
    assert_eq!(moves[back + 1], "reorg: 8 deep, back to 10");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_shortened_below_the_next_read_is_noticed_in_time() {
    let url = postgres::database().await;
    let pool = connect(&url).await;
    journal::install(&pool).await;
    let (chain, server) = devchain(1, 20).await;
    let flume = Flume::start(&config(&server, "", &all_sources()), &url).await;
    flume.until_tip("dev", 18).await;
    let mut left = 1;
    // Between the look at the head and the question for the next block.
    chain.faults().on_call("eth_getBlockByNumber", move |chain, params| {
        if params[0] == "0x13" && left > 0 {
            left -= 1;
            chain.reorg(6, 2);
        }
    });
    chain.mine(1);
    flume.until_tip("dev", 15).await;
    flume.stop().await;
    let moves = journal::moves(&pool).await;
    assert_eq!(
        moves[moves.len() - 4..],
        [
            "vault: back from 18 to 15",
            "token: back from 18 to 15",
            "nft: back from 18 to 15",
            "reorg: 3 deep, back to 15"
        ]
    );
}
