//! Reorgs of stored blocks, one after the other.

use chainflume_devchain::{Effect, Rule};

use super::{BLOCK, LOGS};
use crate::flume::Flume;
use crate::scene::Scene;

/// A daemon that follows a chain of 100 blocks.
async fn following(keys: &str) -> (Scene, Flume) {
    let scene = Scene::new(100).await;
    let flume = scene.start(keys).await;
    flume.until_tip("dev", 98).await;
    (scene, flume)
}

/// The story of a start at head 100, and what came then.
fn then(lines: &[&str]) -> Vec<String> {
    ["all: up to a84", "all: a84 to a98"].iter().chain(lines).map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_depth_above_final_is_undone_exactly() {
    let (scene, flume) = following("").await;
    let mut story = then(&[]);
    let (mut head, mut tip) = (100, "a98".to_owned());
    for (depth, branch) in [3, 5, 8, 12, 15].into_iter().zip('b'..) {
        scene.reorg(depth, depth + 1);
        // All blocks between the ancestor and the head before are of the branch before, or of one before that.
        let ancestor = head - depth;
        head += 1;
        flume.until_tip("dev", head - 2).await;
        let committed = scene.story().await;
        assert_eq!(committed.len(), story.len() + 2, "{committed:?}");
        let back = &committed[story.len()];
        assert!(
            back.starts_with(&format!("all: {tip} back to ")) && back.ends_with(&ancestor.to_string()),
            "{back}"
        );
        let from = back.rsplit(' ').next().expect("a word");
        assert_eq!(committed[story.len() + 1], format!("all: {from} to {branch}{}", head - 2));
        tip = format!("{branch}{}", head - 2);
        story = committed;
    }
    scene.ends_at(flume, head - 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_while_the_daemon_is_down_is_undone_at_the_start() {
    let (scene, flume) = following("").await;
    flume.stop().await;
    scene.reorg(8, 9);
    let flume = scene.start("").await;
    scene.ends_at(flume, 99).await;
    assert_eq!(scene.story().await, then(&["all: a98 back to a92", "all: a92 to b99"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_during_downtime_is_undone_however_far_the_chain_went() {
    let (scene, flume) = following("").await;
    flume.kill().await;
    scene.reorg(14, 214);
    let flume = scene.start("").await;
    scene.ends_at(flume, 298).await;
    assert_eq!(scene.story().await, then(&["all: a98 back to a86", "all: a86 to b284", "all: b284 to b298"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_during_downtime_to_a_shorter_chain_is_undone() {
    let (scene, flume) = following("").await;
    flume.stop().await;
    scene.reorg(10, 5);
    let flume = scene.start("").await;
    scene.ends_at(flume, 93).await;
    assert_eq!(scene.story().await, then(&["all: a98 back to a90", "all: a90 to b93"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_reorgs_in_a_row_are_two_ways_back() {
    let (scene, flume) = following("").await;
    scene.reorg(5, 6);
    flume.until_tip("dev", 99).await;
    scene.reorg(4, 5);
    flume.until_tip("dev", 100).await;
    scene.ends_at(flume, 100).await;
    assert_eq!(
        scene.story().await,
        then(&["all: a98 back to a95", "all: a95 to b99", "all: b99 back to b97", "all: b97 to c100"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_branch_before_comes_back_with_the_same_events() {
    let (scene, flume) = following("").await;
    let ids = "select event_id(chain_id, block_number, block_hash, tx_index, log_index)::text from events order by 1";
    let ids = async || {
        sqlx::query_scalar::<_, String>(ids).fetch_all(&scene.pool).await.expect("the view is there")
    };
    let before = ids().await;
    let branch = scene.chain.branch();
    scene.reorg(6, 7);
    flume.until_tip("dev", 99).await;
    assert_ne!(ids().await, before);
    scene.change(|chain| chain.restore(&branch));
    flume.until_tip("dev", 98).await;
    assert_eq!(ids().await, before);
    scene.mine(1);
    scene.ends_at(flume, 99).await;
    assert_eq!(
        scene.story().await,
        then(&[
            "all: a98 back to a94",
            "all: a94 to b99",
            "all: b99 back to a94",
            "all: a94 to a98",
            "all: a98 to a99"
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_gets_shorter_is_followed_down() {
    let (scene, flume) = following("").await;
    scene.reorg(10, 5);
    flume.until_tip("dev", 93).await;
    scene.mine(1);
    scene.ends_at(flume, 94).await;
    assert_eq!(scene.story().await, then(&["all: a98 back to a90", "all: a90 to b93", "all: b93 to b94"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_are_gone_are_undone_when_others_take_their_place() {
    let (scene, flume) = following("poll_interval = \"50ms\"\nws = none\n").await;
    scene.change(|chain| chain.truncate(6));
    flume.until("dev", "saw the lower head", |chain| chain.heads.latest == Some(94)).await;
    // Nothing proves that they are gone for good.
    assert_eq!(scene.story().await, then(&[]));
    scene.mine(2);
    flume.until_tip("dev", 94).await;
    scene.mine(4);
    scene.ends_at(flume, 98).await;
    assert_eq!(scene.story().await, then(&["all: a98 back to a94", "all: a94 to b98"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_mined_again_is_stored_in_its_new_block() {
    let (scene, flume) = following("").await;
    let hashes: Vec<_> = scene.chain.transactions(98).iter().map(|tx| tx.hash()).collect();
    scene.change(|chain| chain.reorg_same(5, 1));
    flume.until_tip("dev", 99).await;
    scene.mine(1);
    scene.ends_at(flume, 100).await;
    assert_eq!(scene.story().await, then(&["all: a98 back to a95", "all: a95 to b99", "all: b99 to b100"]));
    assert!(!hashes.is_empty());
    for hash in hashes {
        let places = "select block_number from orphaned_events where tx_hash = $1 \
                      union all select block_number from events where tx_hash = $1 order by 1";
        let places: Vec<i64> = sqlx::query_scalar(places)
            .bind(hash.as_slice())
            .fetch_all(&scene.pool)
            .await
            .expect("the tables are there");
        assert!(places.iter().all(|number| [98, 99].contains(number)), "{places:?}");
        assert_eq!(places.iter().filter(|n| **n == 98).count(), places.len() / 2, "{places:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_head_is_not_a_reorg() {
    let (scene, flume) = following("poll_interval = \"50ms\"\nws = none\n").await;
    for lag in [3, 10, 40] {
        scene.chain.faults().set(|node| node.lag = lag);
        flume.until("dev", "saw the lower head", |chain| chain.heads.latest == Some(100 - lag)).await;
        // Two looks at least.
        let polls = scene.chain.calls(BLOCK);
        crate::wait::until("it looks", || scene.chain.calls(BLOCK) > polls + 6).await;
    }
    assert_eq!((scene.story().await, flume.chain("dev").errors.consecutive), (then(&[]), 0));
    scene.chain.faults().set(|node| node.lag = 0);
    scene.mine(1);
    scene.ends_at(flume, 99).await;
    assert_eq!(scene.story().await, then(&["all: a98 to a99"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_serves_orphans_by_hash_causes_no_event() {
    let (scene, flume) = following("").await;
    scene.chain.faults().set(|node| node.serve_orphans = true);
    // Between the header of block 99 and its logs, that block is replaced.
    scene.once(LOGS, crate::scene::by_hash, |chain| chain.reorg(4, 5));
    scene.mine(1);
    flume.until_tip("dev", 100).await;
    scene.ends_at(flume, 100).await;
    assert_eq!(scene.story().await, then(&["all: a98 to a99", "all: a99 back to a97", "all: a97 to b100"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_is_undone_through_errors_of_the_node() {
    let (scene, flume) = following("").await;
    // Whatever is asked in between, every third answer is none.
    for after in [2, 5, 8, 11, 14] {
        scene
            .chain
            .faults()
            .add(Rule::on(BLOCK, Effect::Wire(chainflume_devchain::Wire::Close)).after(after).times(1));
    }
    scene.reorg(6, 7);
    flume.until_tip("dev", 99).await;
    scene.ends_at(flume, 99).await;
    assert_eq!(scene.story().await, then(&["all: a98 back to a94", "all: a94 to b99"]));
}
