//! What a failure holds up, and for how long.

use std::time::{Duration, Instant};

use super::{FAST, Ground, webhook};
use crate::receiver::{Got, NEW_SECRET, Receiver, Reply, SECRET, verify};
use crate::wait::until;

fn about(got: &Got) -> String {
    got.json()["aggregateId"].as_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_signed_by_each_secret_with_an_id_each() {
    let receiver = Receiver::start().await;
    let secrets = format!("secret = [\"{NEW_SECRET}\", \"{SECRET}\"]\n");
    let ground = Ground::new(&webhook("crm", &receiver, &secrets)).await;
    ground.publish("user.updated", &["a", "b", "a", "c"]).await;
    let relays = ground.start().await;
    ground.until_taken(&receiver, 4).await;
    let got = receiver.got();
    got.iter().for_each(|got| verify(got, &[NEW_SECRET, SECRET]));
    let mut seqs = receiver.seqs();
    seqs.sort_unstable();
    assert_eq!((got.len(), seqs), (4, vec![1, 2, 3, 4]));
    assert!(got[0].body.contains("\\u0000"), "the body is the message, byte for byte");
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undeliverable_message_holds_its_kind_and_gives_way() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&webhook("crm", &receiver, FAST)).await;
    receiver.rule(|got| Reply::status(if got.seq() == 2 { 500 } else { 200 }));
    ground.publish("user.updated", &["a", "sick", "b", "sick", "c", "sick"]).await;
    let relays = ground.start().await;
    ground.until_taken(&receiver, 5).await;
    let taken = receiver.taken();
    let of_sick: Vec<u64> = taken.iter().filter(|got| about(got) == "sick").map(Got::seq).collect();
    assert_eq!(of_sick, [4, 6], "in their order, behind the one that was given up");
    let place = |seq| taken.iter().position(|got| got.seq() == seq);
    assert!(place(3) < place(4) && place(5) < place(4), "the others did not wait");
    let tries: Vec<Got> = receiver.got().into_iter().filter(|got| got.seq() == 2).collect();
    assert_eq!(tries.len(), 5, "the first and four by the schedule");
    assert!(tries.iter().all(|got| got.id == tries[0].id), "one id");
    let pauses: Vec<u128> = tries.windows(2).map(|pair| (pair[1].at - pair[0].at).as_millis()).collect();
    assert!(pauses.iter().zip([20, 60, 120, 250]).all(|(took, wait)| *took >= wait), "{pauses:?}");
    let letters: Vec<(String, String, i64, i64, String)> =
        sqlx::query_as("select kind, sink, seq, attempts, reason from dead_letters")
            .fetch_all(&ground.pool)
            .await
            .expect("reads");
    let reason = format!("webhook at 127.0.0.1:{} answered 500", receiver.port());
    assert_eq!(letters, [("delivery".to_owned(), "webhook:crm".to_owned(), 2, 5, reason)]);
    ground.until_count("deliveries", 0).await;
    relays.until_all("webhook:crm").await;
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_delivery_is_on_the_schedule_outlives_restarts() {
    let receiver = Receiver::start().await;
    let schedule = "retry_schedule = [\"300ms\", \"300ms\", \"300ms\"]\n";
    let ground = Ground::new(&webhook("crm", &receiver, schedule)).await;
    receiver.answers(500);
    ground.publish("user.updated", &["a"]).await;
    for tries in 1..=4 {
        let relays = ground.start().await;
        until("it is tried", || receiver.got().len() >= tries).await;
        let noted = format!("deliveries where attempts = {tries}");
        if tries < 4 {
            ground.until_count(&noted, 1).await;
        } else {
            ground.until_count("dead_letters where attempts = 4", 1).await;
        }
        relays.kill().await;
    }
    let relays = ground.start().await;
    relays.until_all("webhook:crm").await;
    assert_eq!(receiver.got().len(), 4, "neither once more nor once less");
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_is_tried_as_often_as_configured() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&webhook("crm", &receiver, &format!("{FAST}retry_attempts = 2\n"))).await;
    receiver.rule(|got| match got.seq() {
        1 => Reply { body: "no such field: canary-in-path".to_owned(), ..Reply::status(422) },
        _ => Reply::status(201),
    });
    ground.publish("user.updated", &["a", "b"]).await;
    let relays = ground.start().await;
    ground.until_count("dead_letters", 1).await;
    ground.until_taken(&receiver, 1).await;
    assert_eq!(receiver.got().iter().filter(|got| got.seq() == 1).count(), 2);
    let reason: String =
        sqlx::query_scalar("select reason from dead_letters").fetch_one(&ground.pool).await.expect("one");
    assert!(reason.ends_with("answered 422: no such field: <key>"), "{reason}");
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_endpoint_is_tried_now_and_then_and_gets_all_later() {
    let receiver = Receiver::start().await;
    // Each message alone would wait for an hour after its second try.
    let schedule = "retry_schedule = [\"20ms\", \"1h\"]\nin_flight = 1\n";
    let ground = Ground::new(&webhook("crm", &receiver, schedule)).await;
    receiver.answers(503);
    let relays = ground.start().await;
    ground.publish("user.updated", &["a"]).await;
    // The pause of the endpoint is five minutes by now, in place of an hour; the test does not wait for it.
    ground
        .until_count("sink_states where failures = 2 and paused_until > now() + interval '4 minutes'", 1)
        .await;
    let things: Vec<String> = (0..50).map(|n| format!("t{n}")).collect();
    ground.publish("user.updated", &things.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let before = receiver.got().len();
    relays.until("webhook:crm", "fails", |sink| sink.consecutive_errors >= 2).await;
    receiver.answers(200);
    assert_eq!((before, receiver.got().len(), ground.count("deliveries").await), (2, 2, 1), "left alone");
    sqlx::query("update sink_states set paused_until = now()").execute(&ground.pool).await.expect("writes");
    ground.until_taken(&receiver, 51).await;
    let seqs = receiver.seqs();
    assert!(seqs.contains(&1), "also the one that had an hour to wait: {seqs:?}");
    ground.until_count("sink_states where failures = 0", 1).await;
    relays.until_all("webhook:crm").await;
    assert_eq!(relays.sink("webhook:crm").consecutive_errors, 0);
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_asks_for_a_pause_gets_it() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&webhook("crm", &receiver, FAST)).await;
    let mut first = true;
    receiver.rule(move |_| match std::mem::take(&mut first) {
        true => Reply::status(429).with("retry-after", "1"),
        false => Reply::status(200),
    });
    ground.publish("user.updated", &["a", "a", "a"]).await;
    let relays = ground.start().await;
    ground.until_taken(&receiver, 3).await;
    let got = receiver.got();
    assert!(got[1].at - got[0].at >= Duration::from_secs(1), "{:?}", got[1].at - got[0].at);
    assert_eq!(receiver.seqs(), [1, 2, 3]);
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_gets_the_types_it_asks_for() {
    let receiver = Receiver::start().await;
    let other = Receiver::start().await;
    let filtered = format!("{FAST}types = [\"user.activated\", \"stake.*\"]\n");
    let tables = webhook("mail", &receiver, &filtered) + &webhook("all", &other, FAST);
    let ground = Ground::new(&tables).await;
    for message_type in ["user.activated", "user.updated", "stake.staked", "erc20.mint"] {
        ground.publish(message_type, &["a"]).await;
    }
    let relays = ground.start().await;
    relays.until_all("webhook:mail").await;
    relays.until_all("webhook:all").await;
    assert_eq!((receiver.seqs(), other.seqs()), (vec![1, 3], vec![1, 2, 3, 4]));
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_holds_up_no_other_and_no_stop() {
    let (stuck, well) = (Receiver::start().await, Receiver::start().await);
    let tables = webhook("stuck", &stuck, "timeout = \"1m\"\n") + &webhook("well", &well, FAST);
    let ground = Ground::new(&tables).await;
    stuck.rule(|_| Reply { hang: true, ..Reply::status(200) });
    // Before anybody reads: what is read with the first is asked beside it.
    ground.publish("user.updated", &["a", "b", "a"]).await;
    let relays = ground.start().await;
    relays.until_all("webhook:well").await;
    assert_eq!(well.taken().len(), 3);
    until("the other is asked", || stuck.got().len() == 2).await;
    let asked = Instant::now();
    relays.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    stuck.answers(200);
    let relays = ground.start().await;
    ground.until_taken(&stuck, 3).await;
    relays.stop().await;
}
