//! What would be missing without a word: wrong addresses and ABIs, and blocks that the chain does not have yet.

use chainflume_devchain::{DEMO_NFT, DEMO_TOKEN, STAKE_VAULT};
use serde_json::Value;

use crate::daemon::Home;
use crate::flume::{devchain, source};
use crate::postgres;

/// Four sources that get no events, each for another reason, and one that is right.
pub fn suspects() -> String {
    let event = |name: &str, address, line: &str| {
        source(name, "generic", address, 0) + &format!("events = [\"event {line}\"]\n")
    };
    source("token", "erc20", DEMO_TOKEN, 0)
        + &event("wide", DEMO_NFT, "Transfer(address indexed from, address indexed to, uint128 id)")
        + &event("swapped", STAKE_VAULT, "Staked(address developer, uint256 amount)")
        + &source("nowhere", "erc721", "0x9999999999999999999999999999999999999999", 0)
        + &source("later", "erc721", DEMO_NFT, 99_999)
}

/// The finding about each source, by the name of the source.
const SAID: [(&str, &str); 4] = [
    (
        "wide",
        "none is an event of this source: compare the types of all arguments in the ABI with the contract",
    ),
    (
        "swapped",
        "none fits the ABI: the log of Staked(address,uint256) has 2 topics where the ABI expects 1: is `indexed` right in the ABI?",
    ),
    (
        "nowhere",
        "0x9999999999999999999999999999999999999999 has no code at block 60: is the address right, and on this chain?",
    ),
    ("later", "waits for block 99,999, about 6 h"),
];

/// What was found of the contracts of a source, once it is known.
fn contracts<'a>(report: &'a Value, source: &str) -> Option<&'a Vec<Value>> {
    report["chains"]["dev"]["sources"][source]["contracts"].as_array()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_can_have_no_events_is_named_everywhere() {
    let url = postgres::empty_database().await;
    let (_, server) = devchain(81, 60).await;
    let home = Home::new(&server, &suspects(), Some(&url));
    home.rewrite("chain_id = 31337", "chain_id = 31337\ncontract_check = \"100ms\"");

    let checked = home.run(&["check"]).await.fine();
    for (source, words) in SAID {
        let line = checked.lines().find(|line| line.starts_with(&format!("warn source {source}: ")));
        assert!(line.is_some_and(|line| line.contains(words)), "{source}: {checked}");
    }
    assert!(!checked.contains("warn source token: "), "{checked}");

    let daemon = home.start();
    let found = |report: &Value, source| contracts(report, source).is_some_and(|found| !found.is_empty());
    let all = |report: &Value| SAID[..3].iter().all(|(source, _)| found(report, source));
    let report = daemon.until("all are found", |_, report| all(report)).await;
    assert_eq!(contracts(&report, "token"), Some(&Vec::new()));
    assert_eq!(report["chains"]["dev"]["sources"]["later"]["waits"], SAID[3].1);
    let status = home.run(&["status"]).await.fine();
    for (source, words) in SAID {
        let line = status.lines().find(|line| line.starts_with(&format!("  source {source}: ")));
        assert!(line.is_some_and(|line| line.contains(words)), "{source}: {status}");
        let wrong = source != "later";
        let sample = format!("chainflume_contract_findings{{chain=\"dev\",source=\"{source}\"}}");
        assert_eq!(daemon.metric(&sample).await, Some(if wrong { 1.0 } else { 0.0 }), "{source}");
        assert!(!wrong || daemon.log().contains(words), "{source}: {}", daemon.log());
    }
    let letters = home.run(&["dead-letters", "list", "--json"]).await.json();
    let letters = letters.as_array().expect("a list");
    assert!(!letters.is_empty() && letters.iter().all(|letter| letter["source"] == "swapped"), "{letters:?}");
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_that_the_node_is_another_chain_than_the_stored() {
    let url = postgres::empty_database().await;
    let (_, server) = devchain(82, 10).await;
    let (_, other) = devchain(83, 10).await;
    let home = Home::new(&server, &source("token", "erc20", DEMO_TOKEN, 0), Some(&url));
    home.rewrite("confirmations = 2", "confirmations = 15");
    let checked = home.run(&["check"]).await.fine();
    let waits =
        "warn chain dev: `confirmations` is 15 and the head is block 10: no block is confirmed for about 1 s";
    assert!(checked.contains(waits), "{checked}");
    home.rewrite("confirmations = 15", "confirmations = 2");
    let daemon = home.start();
    daemon.until_tip(8).await;
    daemon.stop_well().await;
    home.run(&["check"]).await.fine();
    home.rewrite(&server.http_url(), &other.http_url());
    let text = home.run(&["check"]).await;
    let words = "the node of a chain contradicts stored blocks: the chain would stop; see above";
    assert!(text.error(78).contains(words), "{text:#?}");
    let line =
        text.out.lines().find(|line| line.starts_with("FAIL chain dev: block 0 is 0x")).expect("a line");
    assert!(line.ends_with("or for the new chain another database.url with an empty database"), "{line}");
}
