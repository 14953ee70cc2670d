//! Redis Cluster: each stream lives on one master, which changes.

use chainflume_deliver::sink::{Delivered, Sink};

use super::contract::{envelopes, resume};
use super::end_to_end::{disturb, until_confirmed_is_stored};
use super::{Relays, canonical, fold, in_order, sources_to};
use crate::flume::{Flume, config, connect, devchain};
use crate::postgres;
use crate::redis_sets::RedisSet;
use crate::wait::until_async;

/// Numbers of the messages there are, whatever their stream.
async fn there(set: &RedisSet) -> Vec<u64> {
    let mut numbers: Vec<u64> = set.streams().await.into_values().flatten().map(|(seq, _)| seq).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn a_failing_stream_holds_the_cursor_and_no_other_stream() {
    let set = RedisSet::cluster(3).await;
    let mut sink = set.sink();
    let nft = &set.servers[set.owner("events:nft").await];
    nft.run::<()>("SET events:nft x").await;
    // The first two are of other types.
    let delivered = sink.deliver(&envelopes(1..=20)).await.expect("a part went");
    assert_eq!(delivered, Delivered { upto: 2, repeats: vec![] });
    let error = sink.deliver(&envelopes(3..=20)).await.expect_err("the next is refused");
    assert!(!error.is_transient() && error.to_string().contains("WRONGTYPE"), "{error}");
    nft.run::<()>("DEL events:nft").await;
    let delivered = sink.deliver(&envelopes(3..=20)).await.expect("takes them");
    assert_eq!(delivered.upto, 20);
    assert_eq!(there(&set).await, (1..=20).collect::<Vec<_>>(), "each once");
}

#[tokio::test]
async fn nodes_without_their_slots_take_nothing() {
    let set = RedisSet::cluster(3).await;
    let mut sink = set.sink();
    let slot: u64 = set.servers[0].run("CLUSTER KEYSLOT events:token").await;
    let owner = &set.servers[set.owner("events:token").await];
    owner.run::<()>(&format!("CLUSTER DELSLOTS {slot}")).await;
    // The first is a token's.
    let error = sink.deliver(&envelopes(1..=10)).await.expect_err("no node serves it");
    assert!(error.is_transient() && error.to_string().contains("CLUSTERDOWN"), "{error}");
    assert!(resume(&mut sink, 0).await.is_err());
    owner.run::<()>(&format!("CLUSTER ADDSLOTS {slot}")).await;
    until_async("it is served again", async || {
        sink.deliver(&envelopes(1..=10)).await.is_ok_and(|delivered| delivered.upto == 10)
    })
    .await;
    assert_eq!(there(&set).await, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_slot_moves_under_way_and_nothing_is_lost_or_doubled() {
    let set = RedisSet::cluster(3).await;
    let mut sink = set.sink();
    sink.deliver(&envelopes(1..=100)).await.expect("takes them");
    let mut next = 101;
    let mut go_on = async |sink: &mut chainflume_deliver::sink::RedisSink| {
        let all = Delivered { upto: next + 9, repeats: vec![] };
        assert_eq!(sink.deliver(&envelopes(next..=next + 9)).await.expect("takes them"), all);
        next += 10;
        assert_eq!(resume(sink, next - 1).await.expect("answers"), next - 1);
        // One that comes new asks the wrong node first.
        let mut fresh = set.sink();
        assert_eq!(resume(&mut fresh, next - 1).await.expect("answers"), next - 1);
        assert_eq!(
            fresh.deliver(&envelopes(next - 10..=next - 1)).await.expect("has them").repeats.len(),
            10
        );
    };
    // The last has no entry yet: it begins on the node the slot moves to.
    for key in ["events:token", "events:user", "events:nft", "events:contract"] {
        let slot: u64 = set.servers[0].run(&format!("CLUSTER KEYSLOT {key}")).await;
        let from = set.owner(key).await;
        let to = (from + 1) % 3;
        let (source, target) = (&set.servers[from], &set.servers[to]);
        let (source_id, target_id): (String, String) =
            (source.run("CLUSTER MYID").await, target.run("CLUSTER MYID").await);
        target.run::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}")).await;
        source.run::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}")).await;
        go_on(&mut sink).await;
        source.run::<()>(&format!("MIGRATE 127.0.0.1 {} {key} 0 5000", target.port)).await;
        go_on(&mut sink).await;
        target.run::<()>(&format!("CLUSTER SETSLOT {slot} NODE {target_id}")).await;
        source.run::<()>(&format!("CLUSTER SETSLOT {slot} NODE {target_id}")).await;
        go_on(&mut sink).await;
    }
    assert_eq!(there(&set).await, (1..=220).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_master_that_comes_back_empty_is_filled_again() {
    let mut set = RedisSet::cluster(3).await;
    let mut sink = set.sink();
    sink.deliver(&envelopes(1..=20)).await.expect("takes them");
    let token = set.owner("events:token").await;
    set.servers[token].kill();
    // Of 21..=30 the first is a user's; no number behind the first token's may count.
    let first_token = envelopes(21..=30).iter().find(|one| one.aggregate_type == "token").expect("one").seq;
    match sink.deliver(&envelopes(21..=30)).await {
        Ok(delivered) => assert!(delivered.upto < first_token, "{delivered:?}"),
        Err(error) => assert!(error.is_transient(), "{error}"),
    }
    assert!(resume(&mut sink, 20).await.is_err(), "what it holds is not known");
    set.servers[token].restart();
    until_async("the cluster is whole", async || set.is_whole(3).await).await;
    let mut from = None;
    until_async("all answer", async || {
        from = resume(&mut sink, 20).await.ok();
        from.is_some()
    })
    .await;
    assert_eq!(from, Some(0), "its streams are gone");
    let delivered = sink.deliver(&envelopes(1..=30)).await.expect("takes them");
    assert_eq!(delivered.upto, 30);
    assert!(!delivered.repeats.is_empty(), "the other masters lost nothing");
    assert_eq!(there(&set).await, (1..=30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_node_that_is_no_part_of_a_cluster_is_recognized() {
    let set = RedisSet::cluster(3).await;
    let mut errors = Vec::new();
    for server in &set.servers {
        let mut sink =
            chainflume_deliver::sink::RedisSink::new(super::contract::settings(server.url())).expect("a url");
        errors.push(sink.deliver(&envelopes(1..=10)).await.expect_err("the streams live on several"));
    }
    let remedy =
        errors.iter().all(|error| !error.is_transient() && error.to_string().contains("redis.cluster"));
    assert!(remedy, "{errors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_fold_to_canonical_events_through_node_losses() {
    let mut set = RedisSet::cluster_with_replicas(3).await;
    let url = postgres::database().await;
    let pool = connect(&url).await;
    let (chain, node) = devchain(22, 10).await;
    let config = config(&node, "", &sources_to(&set.config()));
    let flume = Flume::start(&config, &url).await;
    let relays = Relays::start(&config, &url).await;
    for (round, key) in (0..).zip(["events:token", "events:nft", "events:user"]) {
        disturb(&chain, round);
        until_confirmed_is_stored(&flume, &chain).await;
        relays.until_all("redis").await;
        // A failover to a replica that was behind.
        let master = set.owner(key).await;
        let replica = (master + 3) % 6;
        set.servers[replica].freeze();
        set.servers[master].run::<u64>("CLIENT KILL TYPE replica").await;
        disturb(&chain, round + 3);
        until_confirmed_is_stored(&flume, &chain).await;
        relays.until_all("redis").await;
        set.servers[master].kill();
        set.servers[replica].thaw();
        disturb(&chain, round + 1);
        until_confirmed_is_stored(&flume, &chain).await;
        until_async("the replica takes over", async || {
            set.servers[replica].run::<()>("CLUSTER FAILOVER TAKEOVER").await;
            set.servers[replica].run::<String>("INFO replication").await.contains("role:master")
        })
        .await;
        set.servers[master].restart();
        until_async("the cluster is whole", async || set.is_whole(3).await).await;
        relays.until_all("redis").await;
        // And one master that loses all.
        let flushed = set.owner("events:token").await;
        set.servers[flushed].run::<()>("FLUSHALL").await;
        let last = relays.until_all("redis").await;
        until_async("all is there again", async || set.holds(last).await).await;
    }
    assert_eq!(fold(&in_order(set.streams().await)), canonical(&pool).await);
    relays.stop().await;
    flume.stop().await;
}
