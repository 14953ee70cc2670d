//! What is not sent, and to whom nothing is.

use std::path::PathBuf;

use chainflume::app::{self, Loaded};
use chainflume::config::{Config, ProcessEnvironment};
use chainflume_ops::health::Board;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{FAST, Ground, webhook};
use crate::receiver::{Receiver, Reply};
use crate::relays::connect as store_at;
use crate::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_gone_endpoint_gets_nothing_until_enabled_then_everything() {
    let receiver = Receiver::start().await;
    let retention = "[outbox]\nretention = \"0s\"\n";
    let mut ground = Ground::new(&webhook("crm", &receiver, FAST)).await;
    ground.config = format!("{retention}{}", ground.config);
    let relays = ground.start().await;
    ground.publish("user.updated", &["a"]).await;
    ground.until_taken(&receiver, 1).await;
    receiver.answers(410);
    ground.publish("user.updated", &["a", "b"]).await;
    relays.until("webhook:crm", "is disabled", |sink| sink.disabled.is_some()).await;
    let asked = receiver.got().len();
    relays.stop().await;

    // A message without a receiver does not fill the disk.
    let relays = ground.start().await;
    ground.publish("user.updated", &["c"]).await;
    relays.until("webhook:crm", "is disabled still", |sink| sink.disabled.is_some()).await;
    ground.until_count("outbox", 0).await;
    assert_eq!(receiver.got().len(), asked, "nothing is sent");
    receiver.answers(200);
    let store = store_at(&ground.url).await;
    assert!(store.outbox().enable_sink("webhook:crm").await.expect("writes"));
    assert!(!store.outbox().enable_sink("webhook:crm").await.expect("writes"));
    store.close().await;
    ground.publish("user.updated", &["d"]).await;
    // What it had been asked to take, and what came after; in between it wanted nothing, and little is kept here.
    until("it gets messages again", || receiver.seqs().contains(&5)).await;
    ground.until_count("deliveries", 0).await;
    let mut seqs = receiver.seqs();
    seqs.sort_unstable();
    assert!(seqs.starts_with(&[1, 2]) && seqs.ends_with(&[5]), "{seqs:?}");
    assert_eq!(relays.sink("webhook:crm").disabled, None);
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let (receiver, elsewhere) = (Receiver::start().await, Receiver::start().await);
    let ground = Ground::new(&webhook("crm", &receiver, FAST)).await;
    let target = elsewhere.url();
    receiver.rule(move |_| Reply::status(307).with("location", target.clone()));
    ground.publish("user.updated", &["a"]).await;
    let relays = ground.start().await;
    ground.until_count("dead_letters where reason like '%answered 307'", 1).await;
    assert_eq!((receiver.got().len(), elsewhere.got().len()), (5, 0));
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_an_inner_address_is_refused_after_it_is_resolved() {
    let receiver = Receiver::start().await;
    let inside = webhook("crm", &receiver, FAST).replace("//127.0.0.1", "//localhost");
    let ground = Ground::new(&inside).await;
    ground.publish("user.updated", &["a"]).await;
    let relays = ground.start().await;
    let refused = |sink: &chainflume_ops::health::SinkHealth| {
        sink.last_error.as_deref().is_some_and(|error| error.contains("a loopback address"))
    };
    relays.until("webhook:crm", "reports the reason", refused).await;
    relays.stop().await;
    assert_eq!(receiver.got().len(), 0, "no receiver was called");
    let allowed = inside.replace("\"127.0.0.1\"", "\"LocalHost\"");
    let ground = Ground::new(&allowed).await;
    ground.publish("user.updated", &["a"]).await;
    let relays = ground.start().await;
    ground.until_taken(&receiver, 1).await;
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_inside_is_refused_before_anything_starts() {
    let receiver = Receiver::start().await;
    let table = webhook("crm", &receiver, "").replace("allow_hosts = [\"127.0.0.1\"]", "");
    let ground = Ground::new(&table).await;
    let path = PathBuf::from("chainflume.toml");
    let config = Config::parse(&path, &ground.config, &ProcessEnvironment).expect("right");
    let store = store_at(&ground.url).await;
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    let loaded = Loaded { path, config };
    let error = app::deliver(&loaded, &store, &Board::default(), &mut tasks, &stop).map(|_| ());
    let error = error.expect_err("a loopback address").to_string();
    assert_eq!(
        error,
        "chainflume.toml: webhook \"crm\": url: 127.0.0.1 resolves to 127.0.0.1, a loopback address; where that is meant, name the \
         host in allow_hosts"
    );
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_message_is_not_sent_nor_an_endless_answer_read() {
    let receiver = Receiver::start().await;
    let ground =
        Ground::new(&webhook("crm", &receiver, &format!("{FAST}max_message_bytes = \"1KiB\"\n"))).await;
    receiver.rule(|_| Reply { body: "x".repeat(50 << 20), ..Reply::status(500) });
    let long = "a".repeat(2_000);
    ground.publish("user.updated", &[&long, "b"]).await;
    let relays = ground.start().await;
    ground.until_count("dead_letters", 2).await;
    let reasons: Vec<String> = sqlx::query_scalar("select reason from dead_letters order by seq")
        .fetch_all(&ground.pool)
        .await
        .expect("reads");
    let host = format!("webhook at 127.0.0.1:{}", receiver.port());
    assert!(reasons[0].starts_with(&format!(
        "{host} gets messages of at most 1024 bytes (max_message_bytes), and this one has 2"
    )));
    assert_eq!(reasons[1], format!("{host} answered 500: {}", "x".repeat(200)));
    assert!(receiver.got().iter().all(|got| got.seq() == 2));
    relays.stop().await;
}
