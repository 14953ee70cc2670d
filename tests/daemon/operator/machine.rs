//! This machine: its clock, and a second daemon.

use chainflume_devchain::DEMO_TOKEN;

use super::Desk;
use crate::flume::{all_sources, connect, devchain, source};
use crate::postgres;
use crate::trouble::{parts, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_an_hour_off() {
    let url = postgres::empty_database().await;
    let (name, _) = parts(&url);
    let pool = connect(&url).await;
    // The name is found here first, so the database says what a machine with another clock would.
    let later = "create schema clocks; create function clocks.clock_timestamp() returns timestamptz language sql as \
                 'select pg_catalog.clock_timestamp() + interval ''1 hour'''";
    run(&pool, later).await;
    run(&pool, &format!("alter database {name} set search_path = public, clocks, pg_catalog")).await;
    let (_, server) = devchain(121, 20).await;
    let desk = Desk::new(&server, &all_sources(), Some(&url)).await;
    desk.shows("A clock is off").await;
    desk.daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_a_private_database() {
    let (_, server) = devchain(122, 20).await;
    let sources = source("token", "erc20", DEMO_TOKEN, 0);
    let first = Desk::new(&server, &sources, None).await;
    first.daemon.until_tip(18).await;
    let second = Desk { daemon: first.home.start(), ..first };
    second.shows("A second daemon uses the private database").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_one_database() {
    let url = postgres::empty_database().await;
    let (_, server) = devchain(123, 20).await;
    let first = Desk::new(&server, &all_sources(), Some(&url)).await;
    first.daemon.until_tip(18).await;
    let second = Desk::new(&server, &all_sources(), Some(&url)).await;
    second.shows("A second daemon uses the database").await;
    let alone = first.lines("status").await;
    assert!(alone.iter().any(|line| line.ends_with("is ready")), "{alone:#?}");
    assert!(!alone.iter().any(|line| line.starts_with("lease ")), "it leads all: {alone:#?}");
    second.daemon.stop_well().await;
    first.daemon.stop_well().await;
}
