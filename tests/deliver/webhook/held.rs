//! How much one failure holds up, how much may wait, and what of it outlives a restart.

use std::time::Duration;

use super::{FAST, Ground, webhook};
use crate::receiver::{Receiver, Reply};
use crate::wait::until;

/// A message that fails waits longer than any test.
const PATIENT: &str = "retry_schedule = [\"1h\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_message_holds_up_its_account_and_token_alone() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&webhook("crm", &receiver, PATIENT)).await;
    receiver.rule(|got| Reply::status(if got.seq() == 2 { 500 } else { 200 }));
    ground.publish_of_token("erc20.transfer", &["a", "sick", "b", "sick", "c", "a"]).await;
    let relays = ground.start().await;
    ground.until_taken(&receiver, 4).await;
    ground.until_count("deliveries", 2).await;
    let mut seqs = receiver.seqs();
    seqs.sort_unstable();
    assert_eq!(seqs, [1, 3, 5, 6]);
    relays.until("webhook:crm", "counts what it holds", |sink| sink.held == 2).await;
    assert!(relays.sink("webhook:crm").held_since.is_some());
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_setting_a_failed_message_holds_up_its_token_or_nothing() {
    let (token, nothing) = (Receiver::start().await, Receiver::start().await);
    let tables = webhook("token", &token, &format!("{PATIENT}order = \"contract\"\n"))
        + &webhook("nothing", &nothing, &format!("{PATIENT}order = \"none\"\n"));
    let ground = Ground::new(&tables).await;
    for receiver in [&token, &nothing] {
        receiver.rule(|got| Reply::status(if got.seq() == 2 { 500 } else { 200 }));
    }
    // A receiver that takes nothing at all is left alone for minutes.
    ground.publish("user.activated", &["u"]).await;
    ground.publish_of_token("erc20.transfer", &["sick", "b", "sick"]).await;
    let relays = ground.start().await;
    ground.until_count("deliveries where sink = 'webhook:token'", 3).await;
    ground.until_taken(&nothing, 3).await;
    ground.until_count("deliveries where sink = 'webhook:nothing'", 1).await;
    assert_eq!((token.seqs(), nothing.seqs().contains(&4)), (vec![1], true));
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_type_ends_in_dead_letters_and_delays_no_other() {
    let receiver = Receiver::start().await;
    // The standard's schedule: by it the third try would come after five minutes.
    let ground = Ground::new(&webhook("crm", &receiver, "")).await;
    receiver.rule(|got| match got.json()["type"].as_str() {
        Some("erc20.approval") => Reply::status(422),
        _ => Reply::status(200),
    });
    for account in ["a", "b", "c", "d", "e", "f"] {
        ground.publish_of_token("erc20.approval", &[account]).await;
    }
    ground.publish_of_token("erc20.transfer", &["u", "v", "w"]).await;
    let relays = ground.start().await;
    ground.until_taken(&receiver, 3).await;
    ground.until_count("dead_letters where attempts = 3", 6).await;
    ground.until_count("deliveries", 0).await;
    ground.until_count("sink_states where held = 0 and failures = 0", 1).await;
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_messages_are_held_and_the_rest_stays_in_the_outbox() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&webhook("crm", &receiver, &format!("{PATIENT}max_held = 100\n"))).await;
    let is_sick = |account: &str| account == "sick";
    receiver.rule(move |got| match got.json()["account"].as_str().is_some_and(is_sick) {
        true => Reply::status(500),
        false => Reply::status(200),
    });
    ground.publish_of_token("erc20.transfer", &["well"]).await;
    ground.publish_of_token("erc20.transfer", &["sick"; 350]).await;
    let relays = ground.start().await;
    relays.until("webhook:crm", "is full", |sink| sink.held_full).await;
    // Turns that could read the rest.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let held = relays.sink("webhook:crm").held;
    assert!((100..=200).contains(&held), "{held}");
    assert_eq!(ground.count("deliveries").await, i64::try_from(held).expect("few"), "as they are counted");
    let cursor: i64 = sqlx::query_scalar("select seq from sink_cursors where sink = 'webhook:crm'")
        .fetch_one(&ground.pool)
        .await
        .expect("one");
    assert!(cursor < 351 && ground.count("outbox").await == 351, "{cursor}");
    receiver.answers(200);
    let store = crate::relays::connect(&ground.url).await;
    store.outbox().retry_sink("webhook:crm").await.expect("writes");
    store.close().await;
    ground.until_taken(&receiver, 351).await;
    let seqs: Vec<u64> = receiver.seqs();
    assert!(seqs.is_sorted(), "one account, and its order: {seqs:?}");
    relays.until("webhook:crm", "holds nothing", |sink| sink.held == 0 && !sink.held_full).await;
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_error_lasts_over_a_restart_until_a_delivery() {
    let receiver = Receiver::start().await;
    let filtered = format!("{FAST}types = [\"erc20.transfer\"]\n");
    let ground = Ground::new(&webhook("crm", &receiver, &filtered)).await;
    receiver.answers(500);
    ground.publish_of_token("erc20.transfer", &["a"]).await;
    let relays = ground.start().await;
    ground.until_count("dead_letters", 1).await;
    relays.until("webhook:crm", "fails", |sink| sink.consecutive_errors >= 5).await;
    relays.stop().await;

    // Nothing waits any more, and nothing was delivered.
    ground.publish_of_token("erc20.approval", &["a"]).await;
    let relays = ground.start().await;
    relays.until_all("webhook:crm").await;
    let sink = relays.sink("webhook:crm");
    assert!(sink.last_error.is_some_and(|error| error.ends_with("answered 500")), "it is remembered");
    assert!(sink.consecutive_errors >= 5, "{}", sink.consecutive_errors);
    receiver.answers(200);
    ground.publish_of_token("erc20.transfer", &["a"]).await;
    relays.until("webhook:crm", "is well", |sink| sink.last_error.is_none()).await;
    assert_eq!(relays.sink("webhook:crm").consecutive_errors, 0);
    ground.until_count("sink_states where last_error is null and failures = 0", 1).await;
    until("it has it", || receiver.taken().len() == 1).await;
    relays.stop().await;
}
