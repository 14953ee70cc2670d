//! A gateway answers for another chain for some seconds: nothing is taken back, and nothing stops for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chainflume_devchain::{DevChain, Effect, Request, Rule, Server, Settings, Transport};
use chainflume_ops::health::{ChainHealth, ChainState};
use chainflume_ops::metrics::StepErrorKind;

use super::BLOCK;
use crate::flume::{Flume, all_sources, connect};
use crate::random::Random;
use crate::scene::Scene;
use crate::wait::until;
use crate::{postgres, tables};

const PENDING: &str = "publish = \"pending_and_confirmed\"";

/// A chain of another id, and one of the same id and another block 0, with so many blocks.
fn strangers(history: u64) -> [DevChain; 2] {
    [
        DevChain::new(Settings { chain_id: 1, seed: 7, history, ..Settings::default() }),
        DevChain::new(Settings { seed: 9, history, ..Settings::default() }),
    ]
}

/// A daemon follows a chain of `history` blocks; its only node answers as a node of `stranger` while three blocks are mined.
async fn meets(history: u64, keys: &str, stranger: DevChain) {
    meets_at(Scene::new(history).await, keys, stranger).await;
}

async fn meets_at(scene: Scene, keys: &str, stranger: DevChain) {
    let history = scene.chain.head().number;
    let flume = scene.start(keys).await;
    flume.until_tip("dev", history - 2).await;
    scene.mine(3);
    flume.until_tip("dev", history + 1).await;
    let before = scene.story().await;
    let wrong = scene.chain.faults().add(Rule::any(Effect::Stranger(stranger)));
    scene.mine(3);
    let notices = |chain: &ChainHealth| chain.errors.last_kind == Some(StepErrorKind::WrongChain);
    flume.until("dev", "notices that it is another chain", notices).await;
    let asked = wrong.fired();
    until("it is asked again and again", || wrong.fired() > asked + 4).await;
    assert_eq!(flume.chain("dev").state, ChainState::Failing, "the trouble is the node's");
    assert_eq!(scene.story().await, before);
    wrong.lift();
    scene.mine(1);
    flume.until_tip("dev", history + 5).await;
    nothing_was_taken_back(&scene.url).await;
    scene.ends_at(flume, history + 5).await;
}

async fn nothing_was_taken_back(url: &str) {
    let taken: (i64, i64) = sqlx::query_as(
        "select (select count(*) from reorgs), \
             (select count(*) from outbox where message::jsonb ->> 'state' = 'retracted')",
    )
    .fetch_one(&connect(url).await)
    .await
    .expect("counts");
    assert_eq!(taken, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_to_another_chain_retracts_and_stops_nothing() {
    for stranger in strangers(90).into_iter().chain(strangers(400)) {
        meets(100, "", stranger).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_to_another_chain_retracts_nothing_of_a_young_chain() {
    for stranger in strangers(6).into_iter().chain(strangers(400)) {
        meets(10, "", stranger).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_to_another_chain_has_nothing_pending_taken_back() {
    for (history, stranger) in [10, 100].into_iter().zip(strangers(103)) {
        meets(history, PENDING, stranger).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_batches_to_another_chain_retracts_nothing() {
    for history in [10, 100] {
        for stranger in strangers(103) {
            let scene = Scene::new(history).await;
            scene.chain.faults().set(|node| node.refuse_batches = true);
            meets_at(scene, "", stranger).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_mixes_two_chains_by_call_retracts_nothing() {
    for (seed, stranger) in (1..).zip(strangers(103).into_iter().chain(strangers(13))) {
        let young = stranger.head().number < 100;
        let history = if young { 10 } else { 100 };
        let scene = Scene::new(history).await;
        scene.chain.faults().set(|node| node.refuse_batches = true);
        let flume = scene.start("").await;
        flume.until_tip("dev", history - 2).await;
        let (mut random, wrong) = (Random::new(seed), Arc::new(AtomicU64::new(0)));
        let counted = wrong.clone();
        scene.chain.faults().decide(move |request| {
            let other = request.transport == Transport::Http && random.below(2) == 0;
            other.then(|| {
                counted.fetch_add(1, Ordering::Relaxed);
                Effect::Stranger(stranger.clone())
            })
        });
        for _ in 0..3 {
            let asked = wrong.load(Ordering::Relaxed);
            scene.mine(1);
            until("it is asked", || wrong.load(Ordering::Relaxed) >= asked + 8).await;
        }
        scene.chain.faults().decide(|_| None);
        flume.until_tip("dev", history + 1).await;
        nothing_was_taken_back(&scene.url).await;
        scene.ends_at(flume, history + 1).await;
    }
}

/// The height that a call for a header asks for.
fn asked_height(request: &Request) -> Option<u64> {
    let text = request.params[0].as_str()?.strip_prefix("0x").filter(|_| request.method == BLOCK)?;
    u64::from_str_radix(text, 16).ok()
}

/// The only node answers so for a while: nothing is taken back, and the chain continues when it answers rightly again.
async fn takes_nothing_back(history: u64, wrong: impl Fn(&Request) -> Option<Effect> + Send + 'static) {
    let scene = Scene::new(history).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", history - 2).await;
    let before = scene.story().await;
    let asked = Arc::new(AtomicU64::new(0));
    let counted = asked.clone();
    scene.chain.faults().decide(move |request| {
        wrong(request).inspect(|_| {
            counted.fetch_add(1, Ordering::Relaxed);
        })
    });
    scene.mine(3);
    let has_failed = |chain: &ChainHealth| chain.errors.consecutive > 4;
    flume.until("dev", "reads of the node fail", has_failed).await;
    assert!(asked.load(Ordering::Relaxed) > 8);
    assert_eq!(flume.chain("dev").state, ChainState::Failing, "the trouble is the node's");
    assert_eq!(scene.story().await, before);
    scene.chain.faults().decide(|_| None);
    scene.mine(1);
    flume.until_tip("dev", history + 2).await;
    nothing_was_taken_back(&scene.url).await;
    scene.ends_at(flume, history + 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_hides_a_foreign_block_0_retracts_nothing() {
    for history in [10, 100] {
        let [_, same_id] = strangers(history + 3);
        takes_nothing_back(history, move |request| match asked_height(request) {
            Some(0) => Some(Effect::Null),
            _ => Some(Effect::Stranger(same_id.clone())),
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_without_the_common_ancestor_retract_nothing() {
    for history in [10, 100] {
        let [_, same_id] = strangers(history + 3);
        // Block 0 and what is below are right; a gateway answers for another chain from some height on.
        takes_nothing_back(history, move |request| {
            let other = asked_height(request).is_some_and(|height| height + 6 >= history);
            other.then(|| Effect::Stranger(same_id.clone()))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reorgs_of_a_node_that_has_pruned_block_0_are_undone() {
    for depth in [1, 3, 9] {
        let scene = Scene::new(100).await;
        scene.chain.faults().add(Rule::on(BLOCK, Effect::Null).asking(|asked| asked[0] == "0x0"));
        let sources = all_sources().replace("start_block = 0", "start_block = 20");
        let flume = scene.start_with("", &sources).await;
        flume.until_tip("dev", 98).await;
        scene.reorg(depth, depth + 1);
        flume.until_tip("dev", 99).await;
        flume.stop().await;
        scene.equals_fresh_sync().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_provider_of_two_for_another_chain_is_left_alone() {
    for stranger in strangers(103) {
        let one = DevChain::new(Settings { history: 100, ..Settings::default() });
        let other = one.another_node();
        let servers = [serve(&one).await, serve(&other).await];
        let provider = |(name, server): (&str, &Server)| {
            format!("[[chain.provider]]\nname = \"{name}\"\nhttp = \"{}\"\n", server.http_url())
        };
        let providers: String = ["one", "other"].into_iter().zip(&servers).map(provider).collect();
        let config = format!(
            "[[chain]]\nname = \"dev\"\nchain_id = 31337\nconfirmations = 2\nreorg_window = 16\nblock_time = \"200ms\"\n\
             poll_interval = \"200ms\"\n{PENDING}\n\
             [chain.failover]\nprobe_interval = \"100ms\"\nreturn_after = \"500ms\"\n{providers}{}",
            all_sources()
        );
        let url = postgres::database().await;
        let flume = Flume::start(&config, &url).await;
        flume.until_tip("dev", 98).await;
        let wrong = one.faults().add(Rule::any(Effect::Stranger(stranger)));
        one.mine(3);
        flume.until_tip("dev", 101).await;
        let state =
            |chain: &ChainHealth| chain.node.providers.iter().find(|p| p.name == "one").map(|p| p.state);
        flume.until("dev", "names the stranger", |chain| state(chain) == Some("wrong_chain")).await;
        wrong.lift();
        flume.until("dev", "sees it well again", |chain| state(chain) == Some("well")).await;
        one.mine(2);
        flume.until_tip("dev", 103).await;
        nothing_was_taken_back(&url).await;
        flume.stop().await;
        tables::assert_equals_chain(&connect(&url).await, &one, 103).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_chain_goes_on_when_its_node_gives_no_more_reason() {
    // It was started on another chain; and it saw other final blocks.
    let scene = Scene::new(100).await;
    let flume = scene.start("").await;
    flume.until_tip("dev", 98).await;
    flume.stop().await;
    for stranger in strangers(103) {
        let wrong = scene.chain.faults().add(Rule::any(Effect::Stranger(stranger)));
        let flume = scene.start("").await;
        flume.until("dev", "stops", |chain| chain.state == ChainState::Stopped).await;
        wrong.lift();
        scene.mine(1);
        flume.until_tip("dev", scene.chain.head().number - 2).await;
        flume.stop().await;
    }
    let (branch, height) = (scene.chain.branch(), scene.chain.head().number);
    let flume = scene.start("").await;
    scene.reorg(40, 41);
    flume.until("dev", "stops", |chain| chain.state == ChainState::Stopped).await;
    scene.change(|chain| chain.restore(&branch));
    scene.mine(2);
    nothing_was_taken_back(&scene.url).await;
    scene.ends_at(flume, height).await;
}

async fn serve(chain: &DevChain) -> Server {
    chain.serve("127.0.0.1:0").await.expect("a free port")
}
