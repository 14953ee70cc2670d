//! Redis behind Sentinel: the master is found, and found again.

use std::time::{Duration, Instant};

use chainflume_deliver::sink::{Delivered, RedisServers, RedisSettings, RedisSink, Sink, SinkError};

use super::contract::{envelopes, resume};
use super::end_to_end::{disturb, until_confirmed_is_stored};
use super::{Relays, canonical, fold, in_order, sources_to};
use crate::flume::{Flume, config, connect, devchain};
use crate::postgres;
use crate::redis_server::RedisServer;
use crate::redis_sets::RedisSet;
use crate::wait::until_async;

fn like(set: &RedisSet, change: impl Fn(&str) -> String) -> RedisSink {
    let RedisServers::Sentinel { sentinels, master } = &set.settings.servers else {
        unreachable!("they are sentinels")
    };
    let sentinels = sentinels.iter().map(|url| change(url)).collect();
    let servers = RedisServers::Sentinel { sentinels, master: change(master) };
    RedisSink::new(RedisSettings { servers, ..set.settings.clone() }).expect("right")
}

/// A replica that hangs while messages go to the master, which then dies.
async fn lose_the_tail(set: &mut RedisSet, master: usize, tail: impl AsyncFnOnce(&RedisSet)) {
    let replica = 1 - master;
    set.servers[replica].freeze();
    // What waits in its socket would be read when it wakes up.
    set.servers[master].run::<u64>("CLIENT KILL TYPE replica").await;
    tail(set).await;
    set.servers[master].kill();
    set.servers[replica].thaw();
}

pub async fn takes_over(set: &RedisSet, replica: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !set.servers[replica].run::<String>("INFO replication").await.contains("role:master") {
        let logs = || set.sentinels.iter().map(RedisServer::log).collect::<Vec<_>>().join("\n\n");
        assert!(Instant::now() < deadline, "the replica does not take over; the sentinels: {}", logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_failover_to_a_lagging_replica_is_noticed_and_repaired() {
    let mut set = RedisSet::sentinel().await;
    let mut sink = set.sink();
    assert_eq!(sink.check().await.expect("finds it"), format!("127.0.0.1:{}", set.servers[0].port));
    sink.deliver(&envelopes(1..=20)).await.expect("takes them");
    set.servers[0].run::<u64>("WAIT 1 10000").await;
    let tail = async |_: &RedisSet| drop(sink.deliver(&envelopes(21..=30)).await.expect("takes them"));
    lose_the_tail(&mut set, 0, tail).await;
    let error = sink.deliver(&envelopes(31..=40)).await.expect_err("no server is there");
    assert!(error.is_transient(), "{error}");
    takes_over(&set, 1).await;

    // The sentinels may name the dead one for a moment more.
    let mut lost = None;
    until_async("the new master is found", async || {
        let error = sink.deliver(&envelopes(31..=40)).await.expect_err("nothing is put behind the hole");
        let found = matches!(error, SinkError::Lost { .. });
        lost = Some(error);
        found
    })
    .await;
    assert!(lost.expect("an error").is_transient());
    let from = resume(&mut sink, 30).await.expect("answers");
    assert!((1..=20).contains(&from), "no stream lost more than its tail, and one lost that: {from}");
    let delivered = sink.deliver(&envelopes(from + 1..=40)).await.expect("takes them");
    assert_eq!(delivered, Delivered { upto: 40, repeats: (from + 1..=20).collect() });
    assert_eq!(in_order(set.streams().await.into_iter().map(bare).collect()).len(), 40);
}

/// The contract's messages do not name their type.
fn bare((stream, entries): (String, Vec<(u64, String)>)) -> (String, Vec<(u64, String)>) {
    let kind = stream.trim_start_matches("events:").to_owned();
    let full = |(seq, _)| (seq, format!("{{\"seq\":{seq},\"aggregateType\":\"{kind}\"}}"));
    let entries = entries.into_iter().map(full).collect();
    (stream, entries)
}

#[tokio::test]
async fn a_master_that_is_deposed_takes_nothing_more() {
    let set = RedisSet::sentinel().await;
    let mut sink = set.sink();
    sink.deliver(&envelopes(1..=10)).await.expect("takes them");
    set.servers[0].run::<u64>("WAIT 1 10000").await;
    set.sentinels[0].run::<()>("SENTINEL FAILOVER mymaster").await;
    takes_over(&set, 1).await;
    let mut seq = 11;
    // Whatever the old one took after it was deposed is gone, and must not be counted as delivered.
    until_async("the old one follows", async || {
        if sink.deliver(&envelopes(seq..=seq)).await.is_ok() {
            seq += 1;
        }
        set.servers[0].run::<String>("INFO replication").await.contains("master_link_status:up")
    })
    .await;
    let from = match resume(&mut sink, seq - 1).await {
        Ok(from) => from,
        Err(_) => resume(&mut sink, seq - 1).await.expect("finds the new one"),
    };
    assert_eq!(sink.deliver(&envelopes(from + 1..=seq + 9)).await.expect("takes them").upto, seq + 9);
    let numbers = set.streams().await.into_values().flatten().count();
    assert_eq!(Some(numbers), usize::try_from(seq + 9).ok(), "each once");
}

#[tokio::test]
async fn any_sentinel_will_do_and_each_refusal_names_its_remedy() {
    let mut set = RedisSet::sentinel().await;
    set.sentinels[0].kill();
    set.sentinels[1].freeze();
    let mut sink = set.sink();
    sink.deliver(&envelopes(1..=10)).await.expect("the third knows");
    set.sentinels[1].thaw();

    let mut errors = Vec::new();
    for (from, to) in [("other-word", "hunter2"), ("pass~word", "hunter2"), ("mymaster", "nobody")] {
        let error = like(&set, |url| url.replace(from, to)).check().await.expect_err("no");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        errors.push((error.is_transient(), error.to_string()));
    }
    let names = |index: usize, words: &[&str]| {
        let (transient, text) = &errors[index];
        assert!(!transient && words.iter().all(|word| text.contains(word)), "{text}");
    };
    names(0, &["redis sentinel at", "redis.sentinels"]);
    names(1, &["redis at", "redis.master"]);
    names(2, &["redis sentinel at", "\"nobody\"", "redis.master"]);

    set.servers[0].run::<()>("ACL SETUSER flume -role").await;
    let error = set.sink().check().await.expect_err("it cannot ask whether it is a master");
    assert!(!error.is_transient() && error.to_string().contains("NOPERM"), "{error}");
    for sentinel in &mut set.sentinels {
        sentinel.kill();
    }
    let error = set.sink().check().await.expect_err("no server is there to ask");
    assert!(error.is_transient() && error.to_string().contains("redis sentinel at"), "{error}");
}

/// A master that comes back serves under the one that took over. The sentinels would see to it within ten seconds.
async fn comes_back(set: &mut RedisSet, master: usize) {
    set.servers[master].restart();
    let follow = format!("REPLICAOF 127.0.0.1 {}", set.servers[1 - master].port);
    set.servers[master].run::<()>(&follow).await;
    until_async("the old master follows", async || {
        set.servers[master].run::<String>("INFO replication").await.contains("master_link_status:up")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_fold_to_the_canonical_events_through_failovers() {
    let mut set = RedisSet::sentinel().await;
    let url = postgres::database().await;
    let pool = connect(&url).await;
    let (chain, node) = devchain(21, 10).await;
    let config = config(&node, "", &sources_to(&set.config()));
    let flume = Flume::start(&config, &url).await;
    let relays = Relays::start(&config, &url).await;
    for (round, master) in [(0, 0), (1, 1)] {
        disturb(&chain, round);
        until_confirmed_is_stored(&flume, &chain).await;
        relays.until_all("redis").await;
        let tail = async |_: &RedisSet| {
            disturb(&chain, round + 3);
            until_confirmed_is_stored(&flume, &chain).await;
            relays.until_all("redis").await;
        };
        lose_the_tail(&mut set, master, tail).await;
        disturb(&chain, round + 1);
        takes_over(&set, 1 - master).await;
        comes_back(&mut set, master).await;
        until_confirmed_is_stored(&flume, &chain).await;
        let last = relays.until_all("redis").await;
        until_async("all is there again", async || set.holds(last).await).await;
    }
    assert_eq!(fold(&in_order(set.streams().await)), canonical(&pool).await);
    relays.stop().await;
    flume.stop().await;
}
