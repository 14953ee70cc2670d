//! New blocks whose header excludes the contracts of all sources: their logs are not requested.

use alloy_primitives::{Address, U256};
use chainflume_devchain::{Action, DEMO_NFT, RawLog, Settings, wallet};

use crate::flume::Flume;
use crate::scene::Scene;

/// A contract that no source follows.
const STRANGER: Address = Address::repeat_byte(0x77);

fn ours(n: u64) -> Action {
    Action::NftMint { to: wallet(n % 20), token_id: U256::from(1_000_000 + n) }
}

fn strange(n: u64) -> Action {
    Action::Raw(Box::new(RawLog { address: STRANGER, ..ours(n).log() }))
}

/// A daemon that has stored 18 blocks of a chain, whose headers have their hashes or not.
async fn begin(header_hashes: bool) -> (Scene, Flume) {
    let scene = Scene::of(Settings { history: 20, header_hashes, ..Settings::default() }).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 18).await;
    (scene, flume)
}

/// Adds blocks up to this one, each when the one before is stored. One of 25 has a log of ours. Returns the questions for logs.
async fn follow((scene, flume): (&Scene, &Flume), to: u64) -> usize {
    scene.asked();
    let from = scene.chain.head().number + 1;
    for number in from..=to {
        let action = if number.is_multiple_of(25) { ours(number) } else { strange(number) };
        scene.change(|chain| chain.mine_with(vec![vec![action]]));
        flume.until_tip("dev", number - 2).await;
    }
    scene.asked().iter().filter(|asked| asked.hash.is_some()).count()
}

/// Stops the daemon and compares what it has stored with a new sync, which reads ranges and sees no bloom.
async fn ends(scene: &Scene, flume: Flume) {
    flume.stop().await;
    let minted = "select count(*) from events where address = $1 and block_number > 20";
    let minted = sqlx::query_scalar::<_, i64>(minted).bind(DEMO_NFT.as_slice()).fetch_one(&scene.pool).await;
    assert!(minted.expect("a count") > 0, "no block has a log of ours");
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_blocks_without_our_logs_cost_no_question() {
    let (scene, flume) = begin(false).await;
    let before = follow((&scene, &flume), 220).await;
    ends(&scene, flume).await;
    let (scene, flume) = begin(true).await;
    let after = follow((&scene, &flume), 220).await;
    println!(
        "200 new blocks, 8 with logs of ours: {before} questions for logs, {after} where the bloom is proven"
    );
    assert!(before >= 200, "{before}");
    assert!((8..=40).contains(&after), "{after}");
    ends(&scene, flume).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reorgs_among_excluded_blocks_are_undone_and_read_anew() {
    let (scene, flume) = begin(true).await;
    follow((&scene, &flume), 120).await;
    for (depth, turn) in [(3, 1), (6, 2), (9, 3), (4, 4), (12, 5)] {
        let new = |n: u64| {
            let id = turn * 1_000 + n;
            // What was excluded has a log of ours now, and the other way round.
            scene.chain.sign(if n.is_multiple_of(3) { ours(id) } else { strange(id) })
        };
        let blocks: Vec<_> = (0..depth + 2).map(|n| vec![new(n)]).collect();
        let head = scene.change(|chain| chain.reorg_with(depth, &blocks)).number;
        flume.until_tip("dev", head - 2).await;
    }
    let head = scene.chain.head().number;
    follow((&scene, &flume), head + 20).await;
    ends(&scene, flume).await;
}
