//! The configuration changes: what the store was filled by is compared with it, what is new gets its past, what is gone
//! stays, and one source's trouble is its own.

mod commands;
mod emptying;
mod filters;
mod matrix;
mod past;
mod standby;
mod week;

use alloy_primitives::{Address, U256};
use chainflume_devchain::{Action, RawLog, Settings};
use chainflume_ops::health::{ChainHealth, SourceHealth};

use crate::flume::Flume;
use crate::scene::Scene;

/// Contracts of the chain: in each block a transfer of each, and an approval of the first.
const A: Address = Address::repeat_byte(0xa1);
const B: Address = Address::repeat_byte(0xb2);
const C: Address = Address::repeat_byte(0xc3);

/// A chain of `blocks` such blocks.
async fn scene(blocks: u64) -> Scene {
    let scene = Scene::of(Settings { history: 0, ..Default::default() }).await;
    mine(&scene, blocks);
    scene
}

fn mine(scene: &Scene, blocks: u64) {
    let head = scene.chain.head().number;
    let block = |number: u64| {
        let who = |n: u64| Address::with_last_byte(u8::try_from(n % 5 + 1).expect("small"));
        let (from, to, amount) = (who(number), who(number * 3 + 1), U256::from(number + 1));
        let transfer = Action::Erc20Transfer { from, to, amount };
        let approve = Action::Erc20Approve { owner: from, spender: to, amount };
        let of = |contract: Address, action: &Action| {
            Action::Raw(Box::new(RawLog { address: contract, ..action.log() }))
        };
        vec![of(A, &transfer), of(B, &transfer), of(C, &transfer), of(A, &approve)]
    };
    let blocks: Vec<_> = (head + 1..=head + blocks).map(block).collect();
    scene.change(|chain| chain.mine_with(blocks));
}

/// A `[[source]]` table of family erc20.
fn source(name: &str, addresses: &[Address], events: &[&str]) -> String {
    source_of(name, addresses, (events, 0, "erc20"))
}

fn source_of(name: &str, addresses: &[Address], (events, start, family): (&[&str], u64, &str)) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let abi = if family == "generic" { "abi = \"abi/ERC20.json\"\n" } else { "" };
    format!(
        "[[source]]\nname = \"{name}\"\nchain = \"dev\"\nfamily = \"{family}\"\n{abi}address = {addresses:?}\n\
         events = {events:?}\nstart_block = {start}\n"
    )
}

const TRANSFER: &[&str] = &["Transfer"];
const BOTH: &[&str] = &["Transfer", "Approval"];

/// The first configuration: `usd` follows the transfers of one contract, `other` those of another.
fn before() -> String {
    source("usd", &[A], TRANSFER) + &other()
}

fn other() -> String {
    source("other", &[C], TRANSFER)
}

fn of<'a>(chain: &'a ChainHealth, name: &str) -> Option<&'a SourceHealth> {
    chain.sources.iter().find(|source| source.name == name)
}

/// Waits until a source is at a block, and nothing of its past is left to be read.
async fn until_whole(flume: &Flume, name: &str, tip: u64) {
    let is_whole = |chain: &ChainHealth| {
        of(chain, name)
            .is_some_and(|source| source.tip == Some(tip) && source.unread.is_none() && !source.is_blocked)
    };
    flume.until("dev", &format!("had all of {name} up to {tip}"), is_whole).await;
}

/// Runs a configuration until these sources are whole, and stops.
async fn run(scene: &Scene, sources: &str, names: &[&str]) {
    let tip = scene.chain.head().number - 2;
    let flume = scene.start_with("", sources).await;
    for name in names {
        until_whole(&flume, name, tip).await;
    }
    flume.stop().await;
}

async fn texts(scene: &Scene, sql: &'static str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(&scene.pool).await.expect("the query runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_blocks_that_source_alone_and_names_the_remedy() {
    let scene = scene(40).await;
    run(&scene, &before(), &["usd", "other"]).await;
    let flume = scene.start_with("", &(source("usdc", &[A], TRANSFER) + &other())).await;
    mine(&scene, 5);
    until_whole(&flume, "other", 43).await;
    let chain = flume.chain("dev");
    let blocked = of(&chain, "usdc").expect("it is on the board");
    assert!(blocked.is_blocked, "{blocked:?}");
    let why = blocked.hindrance.clone().expect("a reason");
    assert!(why.contains("`chainflume sources rename usd usdc`") && why.contains("block 38"), "{why}");
    flume.stop().await;
    // Nothing of it was registered: the way back is the old name, and the old source goes on.
    assert_eq!(texts(&scene, "select name from sources order by 1").await, ["other", "usd"]);
    run(&scene, &before(), &["usd", "other"]).await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_family_blocks_that_source_alone() {
    let scene = scene(40).await;
    let generic = source_of("usd", &[A], (TRANSFER, 0, "generic"));
    run(&scene, &(generic.clone() + &other()), &["usd", "other"]).await;
    let flume = scene.start_with("", &before()).await;
    mine(&scene, 5);
    until_whole(&flume, "other", 43).await;
    let why = of(&flume.chain("dev"), "usd").and_then(|source| source.hindrance.clone()).expect("a reason");
    assert!(why.contains("`chainflume sources reset usd`"), "{why}");
    flume.stop().await;
    assert_eq!(texts(&scene, "select distinct token::text from token_balances").await.len(), 1);
    run(&scene, &(generic + &other()), &["usd", "other"]).await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_part_is_blocked_at_its_new_source_the_rest_goes_on() {
    let scene = scene(40).await;
    let first = source("usd", &[A], TRANSFER) + &source("other", &[B, C], TRANSFER);
    run(&scene, &first, &["usd", "other"]).await;
    let flume = scene.start_with("", &(source("usd", &[A, B], TRANSFER) + &other())).await;
    mine(&scene, 5);
    until_whole(&flume, "other", 43).await;
    until_whole(&flume, "usd", 43).await;
    let why = of(&flume.chain("dev"), "usd").and_then(|source| source.hindrance.clone()).expect("a reason");
    assert!(why.contains("`chainflume sources reset other`"), "{why}");
    flume.stop().await;
    let by_source = "select concat_ws(' ', k.source, encode(e.address, 'hex'), count(*)) from events e \
                     join event_kinds k on k.id = e.kind_id group by k.source, e.address order by 1";
    assert_eq!(
        texts(&scene, by_source).await,
        [
            format!("other {} 38", "b2".repeat(20)),
            format!("other {} 43", "c3".repeat(20)),
            format!("usd {} 43", "a1".repeat(20)),
        ]
    );
    // Put back, nothing is lost.
    run(&scene, &first, &["usd", "other"]).await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sources_made_one_block_the_part_that_is_stored_elsewhere() {
    let scene = scene(40).await;
    run(&scene, &(source("usd", &[A], TRANSFER) + &source("eur", &[B], TRANSFER)), &["usd", "eur"]).await;
    let flume = scene.start_with("", &source("usd", &[A, B], TRANSFER)).await;
    mine(&scene, 5);
    until_whole(&flume, "usd", 43).await;
    let why = of(&flume.chain("dev"), "usd").and_then(|source| source.hindrance.clone()).expect("a reason");
    assert!(why.contains("`chainflume sources remove eur`"), "{why}");
    flume.stop().await;
}
