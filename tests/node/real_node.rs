//! A real EVM node with contracts compiled from Solidity: rows equal what its receipts contain and what the
//! contracts themselves answer.

mod rows;
mod story;
mod truth;
mod world;

use crate::anvil::{Anvil, Contract};
use crate::flume::{Flume, connect};
use crate::{journal, postgres};
use chainflume_ops::health::{ChainHealth, ChainState};
use rows::{compare, until_at};
use sqlx::postgres::PgPool;
use story::Story;
use world::World;

/// The chain `dev` on the node, with more `keys`, and the five contracts in four sources, each from the block
/// it was created in.
fn config(world: &World, keys: &str) -> String {
    let odd =
        concat!("abi = \"", env!("CARGO_MANIFEST_DIR"), "/target/contracts/Oddities.json\"\nuser = \"who\"");
    vault_alone(world, keys)
        + &source("token", "erc20", &[&world.token], "")
        + &source("nft", "erc721", &[&world.nft], "")
        + &source("odd", "generic", &[&world.odd], odd)
}

fn vault_alone(world: &World, keys: &str) -> String {
    let [one, other] = &world.vaults;
    chain(&world.anvil, keys) + &source("vault", "stake", &[one, other], "decimals = 6")
}

fn source(name: &str, family: &str, contracts: &[&Contract], more: &str) -> String {
    let addresses: Vec<String> =
        contracts.iter().map(|contract| format!("\"{}\"", contract.address)).collect();
    let start = contracts.iter().map(|contract| contract.created).min().expect("there is one");
    format!(
        "[[source]]\nname = \"{name}\"\nchain = \"dev\"\nfamily = \"{family}\"\naddress = [{}]\n\
         start_block = {start}\n{more}\n",
        addresses.join(", ")
    )
}

fn chain(anvil: &Anvil, keys: &str) -> String {
    let http = anvil.http_url();
    format!(
        "[[chain]]\nname = \"dev\"\nchain_id = 31337\nhttp = \"{http}\"\nreorg_window = 16\n\
         block_time = \"200ms\"\npoll_interval = \"200ms\"\nws_silence = \"20s\"\nrequest_timeout = \"5s\"\n{keys}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_chain_is_stored_through_history_reorgs_and_restarts() {
    let world = World::new(&[]).await;
    let anvil = &world.anvil;
    world.round(0).await;
    anvil.mine(20).await;
    let url = postgres::database().await;
    let pool = connect(&url).await;
    let mut story = Story::begin(&world, &pool).await;
    let config = config(&world, &format!("ws = \"{}\"", anvil.ws_url()));

    // History, in ranges up to the reorg window.
    let mut flume = Flume::start(&config, &url).await;
    story.goes_on(2).await;

    // At the head, by the WebSocket.
    world.round(1).await;
    anvil.mine(2).await;
    story.goes_on(2).await;
    assert!(flume.chain("dev").heads.pushed);

    // Shallower than the confirmations: nothing of it was stored, so nothing is undone.
    anvil.reorg(2, &[]).await;
    world.round(2).await;
    anvil.mine(2).await;
    let shallow = story.goes_on(2).await;

    // Deeper, with every transaction mined again three blocks later.
    let again = world.signed(12).await.into_iter().map(|(raw, offset)| (raw, (offset + 3).min(11)));
    anvil.reorg(12, &again.collect::<Vec<_>>()).await;
    assert_eq!(story.goes_back(10, 2).await, shallow);
    assert!(moved_transactions(&pool).await > 0);

    // While the daemon is down, and with nothing in place of what changed balances, owners and stakes.
    flume.stop().await;
    anvil.reorg(8, &[]).await;
    anvil.mine(1).await;
    flume = Flume::start(&config, &url).await;
    story.goes_back(6, 2).await;

    // Killed, and far behind when it comes back.
    flume.kill().await;
    world.round(3).await;
    anvil.mine(30).await;
    flume = Flume::start(&config, &url).await;
    story.goes_on(2).await;
    flume.stop().await;
    story.is_told().await;

    let moves = journal::moves(&pool).await.into_iter().filter(|line| line.starts_with("reorg"));
    let reorgs = [(10, shallow - 10), (6, shallow - 6)];
    assert_eq!(
        moves.collect::<Vec<_>>(),
        reorgs.map(|(depth, ancestor)| format!("reorg: {depth} deep, back to {ancestor}"))
    );
}

/// Transactions that are stored with one block and were undone with another.
async fn moved_transactions(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        "select count(distinct e.tx_hash) from events e join orphaned_events o using (chain_id, tx_hash) \
         where e.block_number <> o.block_number",
    )
    .fetch_one(pool)
    .await
    .expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_websocket_is_polled_and_new_sources_catch_up() {
    let world = World::new(&[]).await;
    let anvil = &world.anvil;
    world.round(0).await;
    anvil.mine(20).await;
    let url = postgres::database().await;
    let pool = connect(&url).await;

    let flume = Flume::start(&vault_alone(&world, ""), &url).await;
    until_at(&world, &pool, anvil.head().await - 2).await;
    flume.stop().await;

    world.round(1).await;
    let flume = Flume::start(&config(&world, ""), &url).await;
    world.round(2).await;
    anvil.reorg(6, &[]).await;
    world.round(3).await;
    anvil.mine(2).await;
    let top = anvil.head().await - 2;
    until_at(&world, &pool, top).await;
    compare(&world, &pool, top).await;
    assert!(!flume.chain("dev").heads.pushed);
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_blocks_between_finalized_and_safe_tags_are_undone() {
    // The node tags as safe the block 4 below its head, and as finalized the one 8 below.
    let world = World::new(&["--slots-in-an-epoch", "4"]).await;
    let anvil = &world.anvil;
    world.round(0).await;
    let url = postgres::database().await;
    let pool = connect(&url).await;
    let mut story = Story::begin(&world, &pool).await;
    let flume = Flume::start(&config(&world, "confirmations = \"safe\""), &url).await;
    story.goes_on(4).await;

    anvil.reorg(4, &[]).await;
    world.round(1).await;
    let safe = story.goes_on(4).await;

    anvil.reorg(7, &[]).await;
    assert_eq!(story.goes_back(3, 4).await, safe);

    let last = safe - 4;
    flume.until("dev", "saw the finalized tag", |chain| chain.heads.final_number == last).await;
    anvil.reorg(9, &[]).await;
    flume.until("dev", "stopped", |chain| chain.state == ChainState::Stopped).await;
    let error = flume.chain("dev").errors.last.expect("it has a reason");
    assert!(error.starts_with(&format!("the node contradicts final block {last}")), "{error}");
    flume.stop().await;
    story.is_told().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_finalized_tag_a_reorg_is_never_seen() {
    let world = World::new(&["--slots-in-an-epoch", "4"]).await;
    let anvil = &world.anvil;
    world.round(0).await;
    let url = postgres::database().await;
    let pool = connect(&url).await;
    let mut story = Story::begin(&world, &pool).await;
    let flume = Flume::start(&config(&world, "confirmations = \"finalized\""), &url).await;
    story.goes_on(8).await;
    anvil.reorg(8, &[]).await;
    world.round(1).await;
    story.goes_on(8).await;
    flume.stop().await;
    story.is_told().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_a_real_node_have_the_root_of_its_headers() {
    let world = World::new(&[]).await;
    let anvil = &world.anvil;
    world.round(0).await;
    let url = postgres::database().await;
    let pool = connect(&url).await;
    let flume = Flume::start(&config(&world, "verify = \"receipts\""), &url).await;
    until_at(&world, &pool, anvil.head().await - 2).await;
    for round in 1..4 {
        world.round(round).await;
        anvil.mine(2).await;
        until_at(&world, &pool, anvil.head().await - 2).await;
    }
    let head = anvil.head().await;
    let asked = |chain: &ChainHealth, method: &str| {
        chain.node.rpc.iter().find(|usage| usage.method == method).map_or(0, |usage| usage.requests)
    };
    flume.until("dev", "reads receipts", |chain| asked(chain, "eth_getBlockReceipts") > 20).await;
    // Ranges of history alone. Had a root been another, the check would have been given up and each block be asked for logs.
    let counts = ["eth_getLogs", "eth_getBlockReceipts"].map(|method| asked(&flume.chain("dev"), method));
    assert!(counts[0] < counts[1], "{counts:?}");
    flume.stop().await;
    compare(&world, &pool, head - 2).await;
}
