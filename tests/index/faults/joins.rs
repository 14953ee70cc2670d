//! Sources at different blocks.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use chainflume_devchain::{
    APPROVAL, APPROVAL_FOR_ALL, CONSECUTIVE_TRANSFER, DEMO_NFT, DEMO_TOKEN, Effect, Rule, STAKE_VAULT,
    STAKED, TRANSFER,
};
use tokio_util::sync::CancellationToken;

use super::LOGS;
use crate::flume::{all_sources, source};
use crate::scene::{Asked, Scene, from_block};

const VAULT: Address = STAKE_VAULT;

fn addresses(asked: &Asked) -> BTreeSet<Address> {
    asked.addresses.iter().copied().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_start_at_different_blocks_join_in_turn() {
    let scene = Scene::new(100).await;
    let sources = source("vault", "stake", STAKE_VAULT, 0)
        + &source("token", "erc20", DEMO_TOKEN, 30)
        + &source("nft", "erc721", DEMO_NFT, 60);
    let flume = scene.start_with("", &sources).await;
    flume.until_tip("dev", 98).await;
    let asked: Vec<_> =
        scene.asked().iter().filter_map(|asked| Some((asked.range?, addresses(asked)))).collect();
    assert_eq!(
        asked,
        [
            ((0, 29), [VAULT].into()),
            ((30, 59), [VAULT, DEMO_TOKEN].into()),
            ((60, 84), [VAULT, DEMO_TOKEN, DEMO_NFT].into()),
        ]
    );
    flume.stop().await;
    scene.equals_fresh_sync().await;
    assert_eq!(
        scene.story().await,
        [
            "vault: up to a29",
            "token: up to a59; vault: a29 to a59",
            "nft: up to a84; token vault: a59 to a84",
            "all: a84 to a98"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn caught_up_sources_share_one_question_a_block() {
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    let before = scene.asked();
    for block in 99..=103 {
        scene.mine(1);
        flume.until_tip("dev", block).await;
    }
    let asked = scene.asked();
    let hashes: Vec<_> = asked.iter().map(|asked| asked.hash).collect();
    assert_eq!(hashes, (99..=103).map(|n| scene.chain.block(n).map(|b| b.hash)).collect::<Vec<_>>());
    let topics = |asked: &Asked| -> BTreeSet<String> {
        asked.topics[0]
            .as_array()
            .expect("a list")
            .iter()
            .map(|topic| topic.as_str().expect("hex").to_owned())
            .collect()
    };
    let all_topics: BTreeSet<String> = [STAKED, TRANSFER, APPROVAL, APPROVAL_FOR_ALL, CONSECUTIVE_TRANSFER]
        .iter()
        .map(ToString::to_string)
        .collect();
    for asked in before.iter().chain(&asked) {
        assert_eq!(addresses(asked), [VAULT, DEMO_TOKEN, DEMO_NFT].into());
        assert_eq!((asked.topics.as_array().map(Vec::len), topics(asked)), (Some(1), all_topics.clone()));
    }
    scene.ends_at(flume, 103).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_added_later_catches_up_while_others_stay_live() {
    let scene = Scene::new(100).await;
    let flume = scene.start_with("", &source("vault", "stake", STAKE_VAULT, 0)).await;
    flume.until_tip("dev", 98).await;
    flume.stop().await;
    let gate = CancellationToken::new();
    scene.chain.faults().add(Rule::on(LOGS, Effect::Until(gate.clone())).asking(from_block(40)));
    let keys = "request_timeout = \"20s\"\n[chain.history]\ncommit_logs = 0\nranges_in_flight = 1\ninitial_range = 40\nmax_range = 40\n";
    let flume = scene.start_with(keys, &all_sources()).await;
    let tips = |chain: &chainflume_ops::health::ChainHealth| -> Vec<_> {
        chain.sources.iter().map(|s| s.tip).collect()
    };
    flume.until("dev", "half way", |chain| tips(chain) == [Some(98), Some(39), Some(39)]).await;
    for head in 101..=103 {
        scene.mine(1);
        let live = |chain: &_| tips(chain) == [Some(head - 2), Some(39), Some(39)];
        flume.until("dev", "kept the vault live", live).await;
    }
    gate.cancel();
    flume.until_tip("dev", 101).await;
    scene.mine(1);
    scene.ends_at(flume, 102).await;
    assert_eq!(
        scene.story().await,
        [
            "vault: up to a84",
            "vault: a84 to a98",
            "nft token: up to a39",
            "vault: a98 to a99",
            "vault: a99 to a100",
            "vault: a100 to a101",
            // The range that was held ends where history ended when it was asked for.
            "nft token: a39 to a79",
            "nft token: a79 to a84",
            "nft token: a84 to a87",
            "nft token: a87 to a101",
            "all: a101 to a102"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_starts_in_the_future_waits_and_then_joins() {
    let scene = Scene::new(100).await;
    let sources = source("vault", "stake", STAKE_VAULT, 0) + &source("token", "erc20", DEMO_TOKEN, 101);
    let flume = scene.start_with("", &sources).await;
    let tips = |chain: &chainflume_ops::health::ChainHealth| -> Vec<_> {
        chain.sources.iter().map(|s| s.tip).collect()
    };
    flume.until("dev", "caught up", |chain| tips(chain) == [Some(98), None]).await;
    assert_eq!(flume.chain("dev").lag(), 0);
    scene.mine(2);
    flume.until("dev", "went on", |chain| tips(chain) == [Some(100), None]).await;
    scene.mine(1);
    flume.until_tip("dev", 101).await;
    flume.stop().await;
    scene.equals_fresh_sync().await;
    assert_eq!(
        scene.story().await,
        [
            "vault: up to a84",
            "vault: a84 to a98",
            "vault: a98 to a100",
            "token: up to a101; vault: a100 to a101"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_far_in_the_future_is_passed_by_history_too() {
    let scene = Scene::new(100).await;
    let sources = source("vault", "stake", STAKE_VAULT, 0) + &source("token", "erc20", DEMO_TOKEN, 150);
    let flume = scene.start_with("", &sources).await;
    let tips = |chain: &chainflume_ops::health::ChainHealth| -> Vec<_> {
        chain.sources.iter().map(|s| s.tip).collect()
    };
    flume.until("dev", "caught up", |chain| tips(chain) == [Some(98), None]).await;
    flume.stop().await;
    scene.mine(200);
    let flume = scene.start_with("", &sources).await;
    flume.until_tip("dev", 298).await;
    flume.stop().await;
    scene.equals_fresh_sync().await;
    assert_eq!(
        scene.story().await,
        [
            "vault: up to a84",
            "vault: a84 to a98",
            "vault: a98 to a149",
            "token: up to a284; vault: a149 to a284",
            "all: a284 to a298"
        ]
    );
}
