//! The node: its key, its chain, its branch, and contracts that are not there.

use chainflume_devchain::{DEMO_TOKEN, DevChain, Effect, Rule, Settings, Wire};

use super::Desk;
use crate::flume::{all_sources, devchain, source};
use crate::postgres;
use crate::silent::suspects;

fn unauthorized() -> Effect {
    Effect::Wire(Wire::Status { status: 401, headers: Vec::new(), body: "invalid api key".to_owned() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_refuses_the_key() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(91, 20).await;
    let desk = Desk::new(&server, &all_sources(), Some(&url)).await;
    desk.daemon.until_tip(18).await;
    let refused = chain.faults().add(Rule::any(unauthorized()));
    desk.shows("The node refuses the key").await;
    refused.lift();
    chain.mine(1);
    desk.daemon.until_tip(19).await;
    desk.daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_answers_for_another_chain() {
    let stranger = DevChain::new(Settings { chain_id: 1, seed: 7, history: 30, ..Settings::default() });
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(92, 20).await;
    let desk = Desk::new(&server, &all_sources(), Some(&url)).await;
    desk.daemon.until_tip(18).await;
    let wrong = chain.faults().add(Rule::any(Effect::Stranger(stranger)));
    desk.shows("The node answers for another chain").await;
    wrong.lift();
    chain.mine(1);
    desk.daemon.until_tip(19).await;
    desk.daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_below_a_final_block() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(93, 60).await;
    let desk = Desk::new(&server, &all_sources(), Some(&url)).await;
    desk.daemon.until_tip(58).await;
    chain.reorg(40, 42);
    desk.shows("The node contradicts a final block").await;
    desk.daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contracts_that_can_have_no_events() {
    let url = postgres::empty_database().await;
    let (_, server) = devchain(94, 60).await;
    let change = |home: &crate::daemon::Home| {
        home.rewrite("chain_id = 31337", "chain_id = 31337\ncontract_check = \"100ms\"");
    };
    let desk = Desk::changed(&server, (&suspects(), Some(&url)), change).await;
    for fault in [
        "There is no contract at the address",
        "Another argument is indexed than in the ABI",
        "An argument of the ABI has another type",
        "The start block is in the future",
    ] {
        desk.shows(fault).await;
    }
    desk.daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_confirmations_than_the_chain_has_blocks() {
    let url = postgres::empty_database().await;
    let (_, server) = devchain(95, 10).await;
    let rest = source("token", "erc20", DEMO_TOKEN, 0);
    let change = |home: &crate::daemon::Home| home.rewrite("confirmations = 2", "confirmations = 15");
    let desk = Desk::changed(&server, (&rest, Some(&url)), change).await;
    desk.shows("More confirmations than the chain has blocks").await;
    desk.daemon.stop_well().await;
}
