//! The database.

use super::Desk;
use crate::flume::{all_sources, connect, devchain};
use crate::postgres;
use crate::process::outage::shut;
use crate::trouble::{parts, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away() {
    let url = postgres::empty_database().await;
    let (name, outside) = parts(&url);
    let other = connect(&outside).await;
    let (chain, server) = devchain(101, 20).await;
    let desk = Desk::new(&server, &all_sources(), Some(&url)).await;
    desk.daemon.until_tip(18).await;
    shut(&other, &name).await;
    chain.mine(1);
    desk.shows("The database is away").await;
    run(&other, &format!("alter database {name} allow_connections true")).await;
    desk.daemon.until_tip(19).await;
    desk.daemon.stop_well().await;
}

/// What PostgreSQL answers when its disk is full, from a trigger. `trouble::a_disk_that_is_full_is_waited_for` fills a disk.
const FULL: &str = "\
    create function full_disk() returns trigger language plpgsql as $$ begin \
        raise exception 'could not extend file \"base/16389/16432\": No space left on device' using errcode = '53100'; \
    end $$; \
    create trigger full_disk before insert or update on write_probe for each row execute function full_disk(); \
    create trigger full_disk before insert on events for each row execute function full_disk();";

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_disk_is_full() {
    let url = postgres::empty_database().await;
    let pool = connect(&url).await;
    let (chain, server) = devchain(102, 20).await;
    let desk = Desk::new(&server, &all_sources(), Some(&url)).await;
    desk.daemon.until_tip(18).await;
    run(&pool, FULL).await;
    chain.mine(5);
    desk.shows("The disk of the database is full").await;
    run(&pool, "drop function full_disk cascade").await;
    desk.daemon.until_tip(23).await;
    desk.daemon.stop_well().await;
}
