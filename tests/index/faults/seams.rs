//! Reorgs during history, and where history ends and single blocks begin.

use chainflume_devchain::{DEMO_TOKEN, DevChain, STAKE_VAULT, Settings};

use super::{BLOCK, LOGS, history};
use crate::flume::source;
use crate::scene::{Scene, by_hash, from_block, height};

/// 300 blocks of which only 100 are finalized: history runs up to 284, and above 100 its ranges may change.
async fn hardly_final(block_timestamp_in_logs: bool) -> Scene {
    let finalized_depth = Some(200);
    Scene::of(Settings { history: 300, finalized_depth, block_timestamp_in_logs, ..Default::default() }).await
}

/// The highest block up to `number` that is held of ranges that end at 49, 99, …: one with logs, or a range's last.
fn held(chain: &DevChain, number: u64) -> u64 {
    (0..=number).rev().find(|n| n % 50 == 49 || !chain.transactions(*n).is_empty()).expect("49 is one")
}

/// The story of the first ranges of 50 blocks.
fn begun(ranges: u64) -> Vec<String> {
    super::ranges(50, ranges * 50 - 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_whose_blocks_change_while_it_is_read_is_read_again() {
    for timed in [false, true] {
        let scene = hardly_final(timed).await;
        // Between the range's headers and its logs: blocks 181 to 300 are replaced.
        scene.once(LOGS, from_block(150), |chain| chain.reorg(120, 121));
        let flume = scene.start(&history(1, 50)).await;
        flume.until_tip("dev", 299).await;
        scene.ends_at(flume, 299).await;
        let rest = [
            "all: a149 to b199",
            "all: b199 to b249",
            "all: b249 to b284",
            "all: b284 to b285",
            "all: b285 to b299",
        ];
        assert_eq!(scene.story().await[3..], rest);
        assert_eq!(scene.story().await[..3], begun(3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_from_before_a_reorg_does_not_follow_a_later_one() {
    let scene = hardly_final(false).await;
    // Four ranges are in flight when the first above 150 sees the reorg; those behind it are of the old branch.
    scene.once(BLOCK, height(284), |chain| chain.reorg(120, 121));
    let flume = scene.start(&history(6, 50)).await;
    flume.until_tip("dev", 299).await;
    scene.ends_at(flume, 299).await;
    let story = scene.story().await;
    assert_eq!(story[..3], begun(3));
    assert!(story.iter().filter(|line| line.contains("back to")).count() <= 1, "{story:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_branch_during_a_range_leaves_no_log_behind() {
    for timed in [false, true] {
        let scene = hardly_final(timed).await;
        let branch = scene.chain.branch();
        // The logs are of another branch than the headers before and after them.
        scene.once(LOGS, from_block(150), |chain| chain.reorg(120, 120));
        let (mut seen, restored) = (0, branch.clone());
        scene.on_call(BLOCK, move |chain, params| {
            if height(199)(params) {
                seen += 1;
                if seen == 2 {
                    chain.restore(&restored);
                }
            }
        });
        let flume = scene.start(&history(1, 50)).await;
        flume.until_tip("dev", 298).await;
        scene.ends_at(flume, 298).await;
        let rest = ["all: a149 to a199", "all: a199 to a249", "all: a249 to a284", "all: a284 to a298"];
        assert_eq!(scene.story().await[3..], rest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_into_stored_ranges_is_undone_amid_history() {
    let scene = hardly_final(false).await;
    scene.once(LOGS, from_block(150), |chain| chain.reorg(180, 181));
    let flume = scene.start(&history(1, 50)).await;
    flume.until_tip("dev", 299).await;
    let ancestor = held(&scene.chain, 120);
    scene.ends_at(flume, 299).await;
    let story = scene.story().await;
    assert_eq!(story[..3], begun(3));
    assert_eq!(story[3], format!("all: a149 back to a{ancestor}"));
    assert!(story[4].starts_with(&format!("all: a{ancestor} to b")), "{story:?}");
    assert_eq!(story[5..].iter().filter(|line| line.contains("back to")).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_at_the_seam_above_history_undoes_nothing() {
    let scene = Scene::new(100).await;
    // History has ended at 84, and the blocks above it are replaced before their logs are asked for.
    scene.once(LOGS, by_hash, |chain| chain.reorg(16, 17));
    let flume = scene.start("").await;
    flume.until_tip("dev", 99).await;
    scene.ends_at(flume, 99).await;
    // By the new head, history ends at 85.
    assert_eq!(scene.story().await, ["all: up to a84", "all: a84 to b85", "all: b85 to b99"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_across_the_seam_undoes_the_end_of_history() {
    let scene = hardly_final(false).await;
    scene.once(LOGS, by_hash, |chain| chain.reorg(30, 31));
    let flume = scene.start(&history(1, 50)).await;
    flume.until_tip("dev", 299).await;
    let ancestor = held(&scene.chain, 270);
    scene.ends_at(flume, 299).await;
    let story = scene.story().await;
    let rest = [
        "all: a249 to a284".to_owned(),
        format!("all: a284 back to a{ancestor}"),
        format!("all: a{ancestor} to b285"),
        "all: b285 to b299".to_owned(),
    ];
    assert_eq!((&story[..5], &story[5..]), (&begun(5)[..], &rest[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_below_the_first_block_stored_begins_anew() {
    let scene = Scene::new(100).await;
    let sources = source("vault", "stake", STAKE_VAULT, 95) + &source("token", "erc20", DEMO_TOKEN, 97);
    let flume = scene.start_with("", &sources).await;
    flume.until_tip("dev", 98).await;
    scene.reorg(10, 11);
    flume.until_tip("dev", 99).await;
    flume.stop().await;
    scene.equals_fresh_sync().await;
    assert_eq!(
        scene.story().await,
        [
            "vault: up to a96",
            "token: up to a98; vault: a96 to a98",
            "all: a98 back to nothing",
            "vault: up to b96",
            "token: up to b99; vault: b96 to b99"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_starts_in_replaced_blocks_joins_the_new_branch() {
    let scene = Scene::new(100).await;
    let vault = source("vault", "stake", STAKE_VAULT, 0);
    let flume = scene.start_with("", &vault).await;
    flume.until_tip("dev", 98).await;
    flume.stop().await;
    // While the daemon is down blocks 93 to 100 are replaced, and a source is added that starts at 95.
    scene.reorg(8, 9);
    let flume = scene.start_with("", &(vault + &source("token", "erc20", DEMO_TOKEN, 95))).await;
    flume.until_tip("dev", 99).await;
    flume.stop().await;
    scene.equals_fresh_sync().await;
    assert_eq!(
        scene.story().await,
        [
            "vault: up to a84",
            "vault: a84 to a98",
            "vault: a98 back to a92",
            "vault: a92 to b94",
            "token: up to b99; vault: b94 to b99"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_below_replaced_blocks_waits_until_they_are_undone() {
    let scene = Scene::new(100).await;
    let vault = source("vault", "stake", STAKE_VAULT, 0);
    let flume = scene.start_with("", &vault).await;
    flume.until_tip("dev", 98).await;
    flume.stop().await;
    scene.reorg(8, 9);
    let flume = scene.start_with("", &(vault + &source("token", "erc20", DEMO_TOKEN, 88))).await;
    flume.until_tip("dev", 99).await;
    flume.stop().await;
    scene.equals_fresh_sync().await;
    assert_eq!(
        scene.story().await,
        [
            "vault: up to a84",
            "vault: a84 to a98",
            "vault: a98 back to a92",
            "token: up to a92",
            "all: a92 to b99"
        ]
    );
}
