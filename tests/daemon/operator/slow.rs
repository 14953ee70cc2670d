//! Faults that are reported after a minute, all at once.

use std::time::Duration;

use chainflume_devchain::{Effect, MinerSettings, Rule};
use tokio::join;

use super::Desk;
use crate::flume::{all_sources, devchain};
use crate::postgres;

async fn stuck() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(96, 20).await;
    let desk = Desk::new(&server, &all_sources(), Some(&url)).await;
    desk.daemon.until_tip(18).await;
    desk.shows("The node has no new block").await;
    chain.mine(1);
    desk.daemon.until_tip(19).await;
    desk.daemon.stop_well().await;
}

async fn silent_websocket() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(97, 20).await;
    chain.faults().set(|node| node.ws_silent = true);
    let desk = Desk::new(&server, &all_sources(), Some(&url)).await;
    let every = MinerSettings { block_time: Duration::from_secs(1), reorg_every: None, max_reorg_depth: 1 };
    let miner = chain.run(every);
    desk.shows("The WebSocket announces nothing").await;
    drop(miner);
    desk.daemon.stop_well().await;
}

async fn slower_than_its_chain() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(98, 400).await;
    chain.faults().add(Rule::on("eth_getLogs", Effect::Delay(Duration::from_secs(1))));
    let history = "history = { ranges_in_flight = 1, initial_range = 1, max_range = 1 }";
    let change = |home: &crate::daemon::Home| {
        home.rewrite("chain_id = 31337", &format!("chain_id = 31337\n{history}"));
    };
    let desk = Desk::changed(&server, (&all_sources(), Some(&url)), change).await;
    desk.shows("A source falls behind its chain").await;
    desk.daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_stuck_silent_or_slower_than_its_chain() {
    join!(stuck(), silent_websocket(), slower_than_its_chain());
}
