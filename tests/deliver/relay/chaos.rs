//! Everything fails, and the streams are what they would have been.

use std::time::{Duration, Instant};

use super::end_to_end::{disturb, until_confirmed_is_stored};
use super::{Relays, canonical, fold, published, sources};
use crate::flume::{Flume, WAIT_LIMIT, config, connect, devchain};
use crate::postgres;
use crate::redis_server::{RedisServer, Wire};

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_that_breaks_all_the_time_loses_and_doubles_nothing() {
    let (url, server) = (postgres::database().await, RedisServer::start());
    let pool = connect(&url).await;
    let wire = Wire::to(server.port).await;
    let (chain, node) = devchain(11, 10).await;
    let config = config(&node, "", &sources(&wire.url()));
    let flume = Flume::start(&config, &url).await;
    let relays = Relays::start(&config, &url).await;
    // An append and the look before it take five pieces: half of the time something breaks.
    wire.cut_at_random(5, 7);
    let started = Instant::now();
    let mut round = 0;
    // By time and not by rounds: while the relay waits before its next try nothing is cut.
    while wire.cuts() < 12 {
        assert!(started.elapsed() < 4 * WAIT_LIMIT, "the wire was cut {} times", wire.cuts());
        disturb(&chain, round);
        until_confirmed_is_stored(&flume, &chain).await;
        round += 1;
    }
    wire.cut_at_random(0, 0);
    relays.until_all("redis").await;
    assert_eq!(fold(&published(&server).await), canonical(&pool).await);
    relays.stop().await;
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_killed_a_hundred_times_loses_and_doubles_nothing() {
    let (url, server) = (postgres::database().await, RedisServer::start());
    let pool = connect(&url).await;
    let (chain, node) = devchain(12, 10).await;
    let config = config(&node, "", &sources(&server.url()));
    let flume = Flume::start(&config, &url).await;
    for round in 0..100u64 {
        let relays = Relays::start(&config, &url).await;
        disturb(&chain, round);
        tokio::time::sleep(Duration::from_micros(round * 7_919 % 30_000)).await;
        relays.kill().await;
    }
    until_confirmed_is_stored(&flume, &chain).await;
    let relays = Relays::start(&config, &url).await;
    relays.until_all("redis").await;
    assert_eq!(fold(&published(&server).await), canonical(&pool).await);
    relays.stop().await;
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_loses_everything_or_its_tail_is_filled_again() {
    let url = postgres::database().await;
    let mut server = RedisServer::start();
    let pool = connect(&url).await;
    let (chain, node) = devchain(13, 10).await;
    let config = config(&node, "", &sources(&server.url()));
    let flume = Flume::start(&config, &url).await;
    let relays = Relays::start(&config, &url).await;
    for round in 0..12 {
        disturb(&chain, round);
        until_confirmed_is_stored(&flume, &chain).await;
        match round % 4 {
            0 => server.run::<()>("FLUSHALL").await,
            1 => {
                server.kill();
                disturb(&chain, round + 2);
                until_confirmed_is_stored(&flume, &chain).await;
                server.restart();
            }
            2 => {
                // A failover to a replica that was behind: a snapshot comes back, and what followed is gone.
                relays.until_all("redis").await;
                let copy = snapshot(&server).await;
                disturb(&chain, round);
                until_confirmed_is_stored(&flume, &chain).await;
                relays.until_all("redis").await;
                restore(&server, copy).await;
            }
            _ => drop(relays.until_all("redis").await),
        }
    }
    chain.mine(3);
    until_confirmed_is_stored(&flume, &chain).await;
    relays.until_all("redis").await;
    assert_eq!(fold(&published(&server).await), canonical(&pool).await);
    // Nothing is sent, and the loss is noticed all the same.
    server.run::<()>("FLUSHALL").await;
    let before = published(&server).await.len();
    assert_eq!(before, 0);
    for _ in 0..150 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if !server.streams().await.is_empty() {
            break;
        }
    }
    relays.until_all("redis").await;
    assert_eq!(fold(&published(&server).await), canonical(&pool).await);
    relays.stop().await;
    flume.stop().await;
}

pub async fn snapshot(server: &RedisServer) -> Vec<(String, Vec<u8>)> {
    let mut copy = Vec::new();
    for key in server.run::<Vec<String>>("KEYS events:*").await {
        let bytes: Vec<u8> = server.run(&format!("DUMP {key}")).await;
        copy.push((key, bytes));
    }
    copy
}

pub async fn restore(server: &RedisServer, copy: Vec<(String, Vec<u8>)>) {
    let mut all = redis::pipe();
    all.atomic().cmd("FLUSHALL");
    for (key, bytes) in copy {
        all.cmd("RESTORE").arg(key).arg(0).arg(bytes);
    }
    all.exec_async(&mut server.connection().await).await.expect("restores");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_hangs_does_not_hold_up_the_end() {
    let url = postgres::database().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let redis = format!("redis://{}/", silent.local_addr().expect("bound"));
    let (chain, node) = devchain(15, 10).await;
    let config = config(&node, "", &sources(&redis));
    let flume = Flume::start(&config, &url).await;
    until_confirmed_is_stored(&flume, &chain).await;
    let relays = Relays::start(&config, &url).await;
    let (accepted, _) = silent.accept().await.expect("it connects");
    let asked = std::time::Instant::now();
    relays.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    drop(accepted);
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_by_mistake_double_nothing() {
    let (url, server) = (postgres::database().await, RedisServer::start());
    let pool = connect(&url).await;
    let (chain, node) = devchain(14, 30).await;
    let config = config(&node, "", &sources(&server.url()));
    let flume = Flume::start(&config, &url).await;
    let (one, two) = (Relays::start(&config, &url).await, Relays::start(&config, &url).await);
    for round in 0..18 {
        disturb(&chain, round);
        until_confirmed_is_stored(&flume, &chain).await;
        if round == 9 {
            server.run::<()>("FLUSHALL").await;
        }
    }
    one.until_all("redis").await;
    two.until_all("redis").await;
    assert_eq!(fold(&published(&server).await), canonical(&pool).await);
    one.stop().await;
    two.stop().await;
    flume.stop().await;
}
