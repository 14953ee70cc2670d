//! Trouble with the database: the daemon waits, reports it, and goes on by itself; nothing is lost.

mod pooler;

use std::time::{Duration, Instant};

use chainflume_devchain::MinerSettings;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;

use crate::cluster::{self, Cluster};
use crate::daemon::{Home, agrees, is_root, red};
use crate::flume::{WAIT_LIMIT, all_sources, connect, devchain};
use crate::postgres;
use crate::wait::until_async;

fn database_error(report: &Value) -> String {
    report["database"]["error"].to_string()
}

pub async fn run(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await.expect("the statement runs");
}

/// The name of the database of a URL of the tests' server, and the same URL for its superuser's own database.
pub fn parts(url: &str) -> (String, String) {
    let name = url.split(['/', '?']).find(|part| part.starts_with("test_")).expect("its name").to_owned();
    (name.clone(), url.replace(&name, "postgres"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_followed_to_the_server_that_takes_writes() {
    let mut primary = Cluster::start();
    let mut replica = primary.replica();
    let (chain, server) = devchain(501, 60).await;
    // The one that does not take writes comes first.
    let home = Home::new(&server, &all_sources(), Some(&cluster::url(&[&replica, &primary])));
    let daemon = home.start();
    daemon.until_tip(58).await;
    let copied = connect(&replica.url()).await;
    let sql = "select count(*) from checkpoints where block_number = 58";
    let stored = async || sqlx::query_scalar::<_, i64>(sql).fetch_one(&copied).await.unwrap_or(0);
    until_async("the replica has the blocks", async || stored().await >= 3).await;
    primary.order("stop");
    chain.mine(10);
    red(&daemon, |report| report["database"]["writable"] == false).await;
    replica.order("promote");
    daemon.until_tip(68).await;
    assert!(daemon.log().contains("another server takes the writes"), "{}", daemon.log());
    chain.reorg(5, 6);
    daemon.until_tip(69).await;
    daemon.stop_well().await;
    agrees(&chain, &replica.url(), 69).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_demoted_and_goes_on_is_left() {
    let primary = Cluster::start();
    let mut replica = primary.replica();
    let (chain, server) = devchain(507, 60).await;
    let home = Home::new(&server, &all_sources(), Some(&cluster::url(&[&primary, &replica])));
    let daemon = home.start();
    daemon.until_tip(58).await;
    let copied = connect(&replica.url()).await;
    let sql = "select count(*) from checkpoints where block_number = 58";
    let stored = async || sqlx::query_scalar::<_, i64>(sql).fetch_one(&copied).await.unwrap_or(0);
    until_async("the replica has the blocks", async || stored().await >= 3).await;
    // It takes no writes any more, and ends no connection: each of the daemon's goes on.
    let old = connect(&primary.url()).await;
    run(&old, "alter system set default_transaction_read_only = on").await;
    run(&old, "select pg_reload_conf()").await;
    chain.mine(10);
    red(&daemon, |report| report["database"]["writable"] == false).await;
    replica.order("promote");
    daemon.until_tip(68).await;
    daemon.until("takes writes", |_, report| report["database"]["writable"] == true).await;
    chain.mine(5);
    daemon.until_tip(73).await;
    daemon.stop_well().await;
    agrees(&chain, &replica.url(), 73).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_and_crashes_under_load_costs_nothing() {
    let mut server = Cluster::start();
    let (chain, node) = devchain(502, 400).await;
    let home = Home::new(&node, &all_sources(), Some(&server.url()));
    home.rewrite("chain_id = 31337", "chain_id = 31337\nhistory = { initial_range = 20, max_range = 20 }");
    let daemon = home.start();
    let settings =
        MinerSettings { block_time: Duration::from_millis(20), reorg_every: Some(9), max_reorg_depth: 5 };
    let miner = chain.run(settings);
    for order in ["restart", "stop"] {
        let tip = |report: &Value| report["chains"]["dev"]["sources"]["nft"]["tip"].as_u64();
        let before = daemon.until("reads", |_, report| tip(report).is_some()).await;
        daemon.until("gets on", |_, report| tip(report) > tip(&before)).await;
        server.order(order);
        if order == "stop" {
            red(&daemon, |report| report["database"]["writable"] == false).await;
            server.order("start");
        }
    }
    drop(miner);
    let tip = chain.head().number - 2;
    daemon.until_tip(tip).await;
    daemon.stop_well().await;
    agrees(&chain, &server.url(), tip).await;
}

/// A file system of a few megabytes; gone with it.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount() -> Self {
        assert!(is_root(), "only root may mount a small file system: run the tests as root");
        let folder = cluster::folder("disk");
        let (uid, gid) = postgres::unprivileged();
        let options = format!("size=24m,mode=0700,uid={uid},gid={gid}");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&folder)
            .status();
        assert!(mounted.expect("mount is everywhere").success(), "a tmpfs can be mounted");
        Self(folder)
    }

    /// Leaves no room at all.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).expect("a file");
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg("-l").arg(&self.0).status());
        drop(std::fs::remove_dir(&self.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_is_waited_for() {
    let url = postgres::empty_database().await;
    let (name, outside) = parts(&url);
    let (pool, disk) = (connect(&outside).await, SmallDisk::mount());
    let space = format!("small_{name}");
    run(&pool, &format!("create tablespace {space} location '{}'", disk.0.display())).await;
    run(&pool, &format!("alter database {name} set default_tablespace = {space}")).await;
    let (chain, server) = devchain(503, 60).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(58).await;
    disk.fill();
    // More than the free room of the pages there are.
    chain.mine(800);
    let full = |report: &Value| {
        report["chains"]["dev"]["lastError"]
            .as_str()
            .is_some_and(|error| error.contains("No space left on device"))
    };
    red(&daemon, full).await;
    assert_eq!(daemon.get("/livez").await.0, 200);
    std::fs::remove_file(disk.0.join("filler")).expect("it is there");
    daemon.until_tip(858).await;
    daemon.stop_well().await;
    agrees(&chain, &url, 858).await;
    run(&pool, &format!("drop database {name} with (force)")).await;
    run(&pool, &format!("drop tablespace {space}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_connection_to_spare_is_waited_for() {
    let url = postgres::empty_database().await;
    let (name, outside) = parts(&url);
    let pool = connect(&outside).await;
    // The limit does not hold for a superuser.
    run(&pool, &format!("create role limited_{name} login; alter database {name} owner to limited_{name}"))
        .await;
    let (chain, server) = devchain(504, 60).await;
    let limited = url.replace("user=postgres", &format!("user=limited_{name}"));
    let home = Home::new(&server, &all_sources(), Some(&limited));
    let daemon = home.start();
    daemon.until_tip(58).await;
    run(&pool, &format!("alter role limited_{name} connection limit 0")).await;
    let end = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
    run(&pool, &end).await;
    chain.mine(30);
    red(&daemon, |report| database_error(report).contains("too many connections for role")).await;
    run(&pool, &format!("alter role limited_{name} connection limit -1")).await;
    daemon.until_tip(88).await;
    daemon.stop_well().await;
    agrees(&chain, &url, 88).await;
}

/// Every other commit of events fails, each for another reason: a sequence is not rolled back. Those between succeed, or
/// the pauses would grow.
const STUMBLE: &str = "\
    create sequence stumbles; \
    create function stumble() returns trigger language plpgsql as $$ \
    declare codes text[] := array['40001', '40P01', '53100', '53200', '53300', '55P03', '57014', '58030', '25006']; \
    at bigint := nextval('stumbles'); \
    code text := case when at % 2 = 0 then codes[at / 2] end; \
    begin \
        if code is not null then raise exception 'stumbled' using errcode = code; end if; \
        return null; \
    end $$; \
    create trigger stumble after insert on events for each statement execute function stumble();";

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_in_the_way_of_another_is_done_again() {
    let url = postgres::database().await;
    let pool = connect(&url).await;
    run(&pool, STUMBLE).await;
    let (chain, server) = devchain(505, 60).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(58).await;
    let errors = async || daemon.metric("chainflume_database_errors_total{chain=\"dev\"}").await;
    let deadline = Instant::now() + WAIT_LIMIT;
    let mut tip = 58;
    while errors().await < Some(9.0) {
        assert!(Instant::now() < deadline, "{:?} errors", errors().await);
        chain.mine(1);
        tip += 1;
        daemon.until_tip(tip).await;
    }
    daemon.stop_well().await;
    agrees(&chain, &url, tip).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_costs_the_one_or_the_other_a_retry() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(506, 30).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(28).await;
    let pool = connect(&url).await;
    let mut other = pool.begin().await.expect("begins");
    // The daemon locks its chain's row, then writes balances; this one goes the other way round.
    sqlx::query("lock table token_balances in exclusive mode").execute(&mut *other).await.expect("locks");
    chain.mine(30);
    let waits = "select count(*) from pg_stat_activity \
                 where datname = current_database() and wait_event_type = 'Lock'";
    let waiting = async || sqlx::query_scalar::<_, i64>(waits).fetch_one(&pool).await.expect("a count");
    until_async("the daemon waits for a lock", async || waiting().await > 0).await;
    let locked = sqlx::query("select from chains for update").execute(&mut *other).await;
    drop(other);
    daemon.until_tip(58).await;
    let errors = daemon.metric("chainflume_database_errors_total{chain=\"dev\"}").await;
    assert!(locked.is_err() || errors > Some(0.0), "no transaction was in the way of another");
    daemon.stop_well().await;
    agrees(&chain, &url, 58).await;
}
