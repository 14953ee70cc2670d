//! Redis by TLS, with certificates of an authority that the system does not know.

use std::path::Path;

use chainflume_deliver::sink::{Delivered, RedisSettings, RedisSink, Sink, SinkError};

use super::contract::{envelopes, resume};
use super::end_to_end::{disturb, until_confirmed_is_stored};
use super::{Relays, canonical, fold, in_order, sources_to};
use crate::certificates::Certificates;
use crate::daemon::Home;
use crate::flume::{Flume, all_sources, config, connect, devchain};
use crate::postgres;
use crate::redis_sets::{NAMES, RedisSet};
use crate::wait::until_async;

/// A sink that knows another authority than the one of the servers.
fn with_other_authority(set: &RedisSet) -> RedisSink {
    let ca = Some(Certificates::new(NAMES).ca());
    RedisSink::new(RedisSettings { ca, ..set.settings.clone() }).expect("right")
}

/// The text of an error that needs an operator, with these words in it.
fn untrusted(error: &SinkError, words: &[&str]) {
    let text = error.to_string();
    assert!(matches!(error, SinkError::Untrusted { .. }) && !error.is_transient(), "{error:?}");
    assert!(words.iter().all(|words| text.contains(words)), "{text}");
    assert!(!text.contains("pass~word") && !text.contains("other-word"), "{text}");
}

/// The place is named, nothing arrives, and the right authority continues where the messages ended.
async fn wrong_authority(set: RedisSet, place: &str) {
    let mut sink = set.sink();
    sink.deliver(&envelopes(1..=10)).await.expect("takes them");
    let mut wrong = with_other_authority(&set);
    let words = [place, "cannot be reached", "UnknownIssuer", "redis.ca_file"];
    untrusted(&wrong.check().await.expect_err("it is not trusted"), &words);
    untrusted(&wrong.deliver(&envelopes(11..=20)).await.expect_err("it is not trusted"), &words);
    assert!(set.holds(10).await, "nothing more arrived");
    let mut mended = set.sink();
    assert_eq!(resume(&mut mended, 10).await.expect("answers"), 10);
    let delivered = mended.deliver(&envelopes(11..=20)).await.expect("takes them");
    assert_eq!(delivered, Delivered { upto: 20, repeats: vec![] });
    assert!(set.holds(20).await, "each once");
}

#[tokio::test]
async fn a_server_of_another_authority_is_named_with_the_remedy() {
    wrong_authority(RedisSet::tls(), "redis at localhost:").await;
}

#[tokio::test]
async fn a_sentinel_of_another_authority_is_named_with_the_remedy() {
    let set = RedisSet::sentinel_by_tls(Certificates::new(NAMES)).await;
    wrong_authority(set, "redis sentinel at localhost:").await;
}

#[tokio::test]
async fn a_cluster_of_another_authority_is_named_with_the_remedy() {
    let set = RedisSet::cluster_by_tls(Certificates::new(NAMES)).await;
    wrong_authority(set, "redis at localhost:").await;
}

#[tokio::test]
async fn a_master_whose_certificate_lacks_its_address_is_named() {
    let set = RedisSet::sentinel_by_tls(Certificates::new("DNS:localhost")).await;
    let mut sink = set.sink();
    // The sentinels are reached by name; the master by the address that they announce.
    let error = sink.check().await.expect_err("the certificate has no address");
    untrusted(&error, &["redis at 127.0.0.1:", "not valid for name", "sentinel announce-hostnames yes"]);
    set.certificates.as_ref().expect("they speak TLS").renew(NAMES);
    set.read_certificates_again().await;
    sink.deliver(&envelopes(1..=10)).await.expect("goes on by itself");
    assert!(set.holds(10).await);
}

#[tokio::test]
async fn nodes_of_a_cluster_are_reached_by_the_names_they_announce() {
    let set = RedisSet::cluster_by_tls(Certificates::new("DNS:localhost")).await;
    let mut sink = set.sink();
    let error = sink.check().await.expect_err("the certificate has no address");
    untrusted(&error, &["redis at 127.0.0.1:", "not valid for name", "cluster-announce-hostname"]);
    for server in &set.servers {
        server.run::<()>("CONFIG SET cluster-announce-hostname localhost").await;
        server.run::<()>("CONFIG SET cluster-preferred-endpoint-type hostname").await;
    }
    until_async("all nodes know the names", async || sink.check().await.is_ok()).await;
    sink.deliver(&envelopes(1..=10)).await.expect("goes on by itself");
    assert!(set.holds(10).await);
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_of_the_client_is_named() {
    let set = RedisSet::tls();
    set.servers[0].run::<()>("CONFIG SET tls-auth-clients yes").await;
    let mut sink = set.sink();
    let error = sink.deliver(&envelopes(1..=10)).await.expect_err("the client has none");
    untrusted(&error, &["redis at localhost:", "redis.certificate_file and redis.key_file"]);
    set.servers[0].run::<()>("CONFIG SET tls-auth-clients optional").await;
    sink.deliver(&envelopes(1..=10)).await.expect("takes them");
}

/// The servers want a certificate of the client: one of another authority is named, and nothing arrives.
async fn wrong_client(set: RedisSet, place: &str) {
    let mut sink = set.sink();
    sink.deliver(&envelopes(1..=10)).await.expect("takes them");
    let other = Some(Certificates::new(NAMES).client());
    let mut wrong = RedisSink::new(RedisSettings { client: other, ..set.settings.clone() }).expect("right");
    let words = [
        place,
        "cannot be reached",
        "does not accept the certificate of the client",
        "redis.certificate_file",
    ];
    untrusted(&wrong.check().await.expect_err("it is not accepted"), &words);
    untrusted(&wrong.deliver(&envelopes(11..=20)).await.expect_err("it is not accepted"), &words);
    let mut without = RedisSink::new(RedisSettings { client: None, ..set.settings.clone() }).expect("right");
    let words = [place, "redis.certificate_file and redis.key_file"];
    untrusted(&without.check().await.expect_err("the client has none"), &words);
    assert!(set.holds(10).await, "nothing more arrived");
    sink.deliver(&envelopes(11..=20)).await.expect("takes them");
    assert!(set.holds(20).await, "each once");
}

#[tokio::test]
async fn a_server_gets_the_certificate_that_it_wants_of_the_client() {
    wrong_client(RedisSet::asking_clients(), "redis at localhost:").await;
}

#[tokio::test]
async fn sentinels_get_the_certificate_that_they_want_of_the_client() {
    wrong_client(RedisSet::sentinel_asking_clients().await, "redis sentinel at localhost:").await;
}

#[tokio::test]
async fn a_cluster_gets_the_certificate_that_it_wants_of_the_client() {
    wrong_client(RedisSet::cluster_asking_clients().await, "redis at localhost:").await;
}

#[tokio::test]
async fn check_names_a_file_of_no_certificate_and_a_foreign_key() {
    let (_, node) = devchain(34, 10).await;
    let (set, other) = (RedisSet::asking_clients(), Certificates::new(NAMES));
    let own = set.certificates.as_ref().expect("by TLS");
    let check = async |certificate: &Path, key: &Path| {
        let files = format!(
            "ca_file = {:?}\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n",
            own.path("ca.crt")
        );
        let home = Home::new(&node, &format!("{}[redis]\n{}{files}", all_sources(), set.config()), None);
        home.run(&["check"]).await
    };
    let (certificate, key) = (own.path("server.crt"), own.path("server.key"));
    let output = check(&certificate, &key).await;
    assert!(output.out.contains("\nok   redis: connected to localhost:"), "{output:#?}");
    for (files, words) in [
        ((&key, &key), "redis.certificate_file: … has no certificate; name a certificate in PEM"),
        (
            (&certificate, &certificate),
            "redis.key_file: … has no private key; name a key in PEM, without a password",
        ),
        ((&certificate, &other.path("server.key")), "redis.key_file: … is not the key of the certificate"),
        ((&own.path("away.crt"), &key), "redis.certificate_file: … cannot be read: No such file"),
    ] {
        let output = check(files.0, files.1).await;
        let parts: Vec<&str> = words.split('…').collect();
        assert!(parts.iter().all(|part| output.error(78).contains(part)), "{words}: {output:#?}");
    }
}

/// Messages are stored while the authority is wrong, and leave after its correction: all, once, in order.
async fn catches_up(seed: u64, set: RedisSet) {
    let url = postgres::database().await;
    let pool = connect(&url).await;
    let (chain, node) = devchain(seed, 10).await;
    let authority = Certificates::new(NAMES);
    let redis = format!("{}ca_file = {:?}\n", set.config(), authority.path("ca.crt"));
    let config = config(&node, "", &sources_to(&redis));
    let flume = Flume::start(&config, &url).await;
    let relays = Relays::start(&config, &url).await;
    (0..6).for_each(|round| disturb(&chain, round));
    until_confirmed_is_stored(&flume, &chain).await;
    let is_named = |text: &String| text.contains("UnknownIssuer; name the file of the authority");
    relays.until("redis", "names the remedy", |sink| sink.last_error.as_ref().is_some_and(is_named)).await;
    assert!(set.holds(0).await, "nothing arrived");
    relays.stop().await;
    std::fs::write(authority.path("ca.crt"), set.settings.ca.as_ref().expect("by TLS")).expect("written");
    let relays = Relays::start(&config, &url).await;
    (6..9).for_each(|round| disturb(&chain, round));
    until_confirmed_is_stored(&flume, &chain).await;
    let last = relays.until_all("redis").await;
    until_async("all is there", async || set.holds(last).await).await;
    assert_eq!(fold(&in_order(set.streams().await)), canonical(&pool).await);
    relays.stop().await;
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_for_the_right_authority_of_sentinels() {
    catches_up(31, RedisSet::sentinel_by_tls(Certificates::new(NAMES)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_for_the_right_authority_of_a_cluster() {
    catches_up(32, RedisSet::cluster_by_tls(Certificates::new(NAMES)).await).await;
}
