//! From the chain to the receiver, through reorgs, faults of the receiver and ends of the daemon.

use std::collections::{BTreeMap, BTreeSet};

use super::{FAST, webhook};
use crate::consumer::{canonical, fold};
use crate::flume::{Flume, config, connect, devchain};
use crate::postgres;
use crate::receiver::{Got, Receiver, Reply, SECRET, verify};
use crate::relay::end_to_end::{disturb, until_confirmed_is_stored};
use crate::relays::{Relays, sources};

/// Messages about one thing came in their order.
fn in_order_for_each_thing(taken: &[Got]) {
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for got in taken {
        let message = got.json();
        let thing = format!("{} {}", message["aggregateType"], message["aggregateId"]);
        let before = last.insert(thing.clone(), got.seq());
        assert!(before < Some(got.seq()), "{thing}: {before:?} before {}", got.seq());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_to_a_bad_receiver_fold_to_the_canonical_events() {
    let (url, receiver) = (postgres::database().await, Receiver::start().await);
    let pool = connect(&url).await;
    let (chain, node) = devchain(17, 20).await;
    // Long enough that none is given up, and short enough to see each step.
    let waits = vec!["\"15ms\""; 200].join(", ");
    let schedule = format!("timeout = \"300ms\"\nretry_schedule = [{waits}]\norder = \"contract\"\n");
    let config = config(&node, "", &sources("")) + &webhook("crm", &receiver, &schedule);
    let mut tries = 0u32;
    receiver.rule(move |_| {
        tries += 1;
        match tries % 11 {
            2 => Reply::status(500),
            5 => Reply::status(429),
            7 => Reply::status(307).with("location", "http://127.0.0.1:1/"),
            9 if tries % 44 == 9 => Reply { hang: true, ..Reply::status(200) },
            _ => Reply::status(200),
        }
    });
    let flume = Flume::start(&config, &url).await;
    for round in 0..12 {
        let relays = Relays::start(&config, &url).await;
        disturb(&chain, round);
        until_confirmed_is_stored(&flume, &chain).await;
        relays.kill().await;
    }
    let relays = Relays::start(&config, &url).await;
    receiver.answers(200);
    relays.until_all("webhook:crm").await;
    relays.until("webhook:crm", "holds nothing", |sink| sink.held == 0).await;
    relays.stop().await;
    flume.stop().await;
    let taken = receiver.taken();
    taken.iter().for_each(|got| verify(got, &[SECRET]));
    in_order_for_each_thing(&taken);
    let by_seq: BTreeMap<u64, String> = taken.iter().map(|got| (got.seq(), got.body.clone())).collect();
    assert_eq!(by_seq.len(), taken.len(), "one id for each number");
    let messages: Vec<String> = by_seq.into_values().collect();
    assert_eq!(fold(&messages), canonical(&pool).await);
    let letters: i64 =
        sqlx::query_scalar("select count(*) from dead_letters").fetch_one(&pool).await.expect("a count");
    assert_eq!(letters, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailer_hears_of_each_user_once_at_their_first_stake() {
    let (url, receiver) = (postgres::database().await, Receiver::start().await);
    let pool = connect(&url).await;
    let (chain, node) = devchain(18, 30).await;
    let welcome = format!("{FAST}types = [\"user.activated\"]\n");
    let config = config(&node, "", &sources("")) + &webhook("mailer", &receiver, &welcome);
    let flume = Flume::start(&config, &url).await;
    until_confirmed_is_stored(&flume, &chain).await;
    let relays = Relays::start(&config, &url).await;
    relays.until_all("webhook:mailer").await;
    let welcomed: Vec<String> = receiver
        .taken()
        .iter()
        .map(|got| got.json()["metadata"]["userId"].as_str().expect("a user").to_owned())
        .collect();
    let users: Vec<String> = sqlx::query_scalar("select id::text from users where status = 'active'")
        .fetch_all(&pool)
        .await
        .expect("reads");
    assert!(users.len() > 1, "{users:?}");
    let once: BTreeSet<String> = welcomed.iter().cloned().collect();
    assert_eq!((welcomed.len(), once), (users.len(), users.into_iter().collect()));
    relays.stop().await;
    flume.stop().await;
}
