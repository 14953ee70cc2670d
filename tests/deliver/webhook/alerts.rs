//! Alerts are sent: once when something is wrong for long, and once when it is over.

use std::time::Duration;

use serde_json::Value;

use crate::daemon::Home;
use crate::flume::{all_sources, devchain};
use crate::postgres;
use crate::receiver::{Receiver, Reply};
use crate::wait::until;

fn texts(chat: &Receiver) -> Vec<String> {
    let text = |body: Value| body["text"].as_str().expect("text").to_owned();
    let bodies = chat.got().into_iter().filter(|got| got.status == 200);
    bodies.map(|got| text(serde_json::from_str(&got.body).expect("json"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_node_is_alerted_once_and_its_end_once() {
    let (url, chat) = (postgres::empty_database().await, Receiver::start().await);
    let (chain, server) = devchain(81, 20).await;
    let alerts = format!("[alerts]\nwebhook = \"{}\"\nover_after = \"2s\"\n", chat.url());
    let home = Home::new(&server, &format!("{}{alerts}", all_sources()), Some(&url));
    // The chat is bad at first, and nothing waits for it.
    let mut tries = 0;
    chat.rule(move |_| {
        tries += 1;
        if tries == 1 { Reply::status(500) } else { Reply::status(200) }
    });
    let mut daemon = home.start();
    daemon.until_tip(18).await;
    let address = server.address().to_string();
    server.stop().await;
    until("the alert is sent", || texts(&chat).len() == 1).await;
    let began = texts(&chat).remove(0);
    assert!(began.starts_with("[chainflume] chain dev cannot reach its node, "), "{began}");
    let sample = "chainflume_incident{kind=\"provider_down\",of=\"dev\"}";
    assert_eq!(daemon.metric(sample).await, Some(1.0));
    assert_eq!(daemon.metric("chainflume_alerts_total{outcome=\"sent\"}").await, Some(1.0));

    let _server = chain.serve(&address).await.expect("the port is free");
    chain.mine(5);
    daemon.until_tip(23).await;
    until("it is over", || texts(&chat).len() == 2).await;
    let over = texts(&chat).remove(1);
    assert!(
        over.starts_with("[chainflume] over after ") && over.contains("chain dev cannot reach"),
        "{over}"
    );
    assert_eq!(daemon.metric(sample).await, Some(0.0));
    assert_eq!(daemon.metric("chainflume_incidents_total{kind=\"provider_down\"}").await, Some(1.0));
    daemon.until_printed("incident is over").await;
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_of_confirmed_blocks_alerts_despite_a_hung_chat() {
    let (url, chat) = (postgres::empty_database().await, Receiver::start().await);
    let (chain, server) = devchain(82, 20).await;
    let alerts = format!("[alerts]\nwebhook = \"{}\"\n", chat.url());
    let home = Home::new(&server, &format!("{}{alerts}", all_sources()), Some(&url));
    chat.rule(|_| Reply { hang: true, ..Reply::status(200) });
    let mut daemon = home.start();
    daemon.until_tip(18).await;
    chain.reorg(5, 7);
    daemon.until_printed("incident: chain dev undid 3 confirmed blocks").await;
    until("the chat is asked", || chat.got().len() == 1).await;
    chain.mine(10);
    daemon.until_tip(30).await;
    let (_, took) = daemon.stop().await;
    assert!(took < Duration::from_secs(8), "{took:?}");
}
