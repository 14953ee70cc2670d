use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chainflume_devchain::{DevChain, Effect, Rule, Wire};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::PgPool;
use tokio::task::JoinHandle;

use crate::daemon::{Daemon, Home, agrees, red};
use crate::flume::{all_sources, connect, devchain};
use crate::postgres;
use crate::wait::until_async;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_and_ctrl_c_end_it_well_wherever_it_is() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(31, 2_000).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    home.rewrite(
        "chain_id = 31337",
        "chain_id = 31337\nhistory = { commit_logs = 0, initial_range = 10, max_range = 10 }",
    );
    let slow = chain.faults().add(Rule::on("eth_getLogs", Effect::Delay(Duration::from_millis(20))));
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = home.start();
        daemon
            .until("in its history", |_, report| {
                report["chains"]["dev"]["sources"]["nft"]["tip"].as_u64() > Some(9)
            })
            .await;
        daemon.signal(signal);
        let asked = Instant::now();
        assert_eq!(daemon.ended(Duration::from_secs(10)).await, Some(0), "{}", daemon.log());
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert!(
            daemon.log().trim_end().lines().last().is_some_and(|line| line.contains("\"daemon stopped\""))
        );
    }
    slow.lift();
    home.rewrite("max_range = 10 ", "max_range = 1000 ");
    let daemon = home.start();
    daemon.until_tip(1_998).await;
    daemon.stop_well().await;
    agrees(&chain, &url, 1_998).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_does_not_hold_it() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(32, 50).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    home.rewrite("request_timeout = \"2s\"", "request_timeout = \"60s\"");
    let daemon = home.start();
    daemon.until_tip(48).await;
    chain.faults().add(Rule::any(Effect::Wire(Wire::Hang)));
    chain.mine(1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (code, took) = daemon.stop().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");

    let mut before_it_runs = home.start();
    tokio::time::sleep(Duration::from_millis(500)).await;
    before_it_runs.signal(Signal::TERM);
    assert_eq!(before_it_runs.ended(Duration::from_secs(5)).await, Some(0), "{}", before_it_runs.log());
}

/// A daemon in the middle of a commit that cannot end, and the transaction in its way.
async fn stuck(home: &Home, pool: &PgPool, chain: &DevChain) -> (Daemon, sqlx::PgTransaction<'static>) {
    let daemon = home.start();
    daemon.until_tip(48).await;
    let mut tx = pool.begin().await.expect("a transaction");
    sqlx::query("select from chains for update").execute(&mut *tx).await.expect("a lock");
    chain.mine(1);
    wait_for(pool, "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'").await;
    (daemon, tx)
}

async fn wait_for(pool: &PgPool, sql: &'static str) {
    let counts = async || sqlx::query_scalar::<_, i64>(sql).fetch_one(pool).await.expect("a count") > 0;
    until_async(sql, counts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_a_lock_is_cut_off_at_the_deadline() {
    let url = postgres::empty_database().await;
    let pool = connect(&url).await;
    let (chain, server) = devchain(33, 50).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let (daemon, tx) = stuck(&home, &pool, &chain).await;
    let (code, took) = daemon.stop().await;
    assert_eq!(code, Some(0));
    assert!(Duration::from_secs(7) < took && took < Duration::from_secs(10), "{took:?}");
    drop(tx);
    let daemon = home.start();
    daemon.until_tip(49).await;
    daemon.stop_well().await;
    agrees(&chain, &url, 49).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_leaves_at_once() {
    let url = postgres::empty_database().await;
    let pool = connect(&url).await;
    let (chain, server) = devchain(34, 50).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (mut daemon, tx) = stuck(&home, &pool, &chain).await;
        daemon.signal(Signal::TERM);
        daemon.until_printed("a second signal ends the process at once").await;
        daemon.signal(second);
        assert_eq!(daemon.ended(Duration::from_secs(3)).await, Some(code));
        drop(tx);
        chain.truncate(1);
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
            .execute(&pool)
            .await
            .expect("its backends end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_frozen_does_not_hold_it() {
    let url = postgres::empty_database().await;
    let pool = connect(&url).await;
    let (chain, server) = devchain(35, 50).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    home.write(
        &format!("[shutdown]\ndeadline = \"3s\"\n{}", crate::daemon::chain(&server, "", &all_sources())),
        Some(&url),
    );
    let daemon = home.start();
    daemon.until_tip(48).await;
    let frozen = Frozen::new(&pool).await;
    chain.mine(1);
    red(&daemon, |report| report["database"]["error"] == "no answer to a write within 2 s").await;
    let (code, took) = daemon.stop().await;
    drop(frozen);
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(6), "{took:?}");
    let daemon = home.start();
    daemon.until_tip(49).await;
    daemon.stop_well().await;
    agrees(&chain, &url, 49).await;
}

/// Backends of the daemon that do not move, those it opens meanwhile included; they go on when this is dropped.
struct Frozen {
    pids: Arc<Mutex<BTreeSet<i32>>>,
    freezing: JoinHandle<()>,
}

impl Frozen {
    async fn new(pool: &PgPool) -> Self {
        let pids = Arc::default();
        freeze(pool, &pids).await;
        let (pool, known) = (pool.clone(), Arc::clone(&pids));
        let freezing = tokio::spawn(async move {
            loop {
                // Without a rest: a new backend takes a write within milliseconds.
                freeze(&pool, &known).await;
            }
        });
        Self { pids, freezing }
    }
}

/// Stops every backend of the daemon that still moves.
async fn freeze(pool: &PgPool, known: &Mutex<BTreeSet<i32>>) {
    let sql = "select pid from pg_stat_activity where datname = current_database() and application_name = 'chainflume'";
    let pids: Vec<i32> = sqlx::query_scalar(sql).fetch_all(pool).await.expect("a list");
    for pid in pids {
        if known.lock().expect("no test panicked").insert(pid) {
            signal(pid, Signal::STOP);
        }
    }
}

fn signal(pid: i32, signal: Signal) {
    // It may have ended.
    let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, signal));
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.freezing.abort();
        for pid in self.pids.lock().expect("no test panicked").iter() {
            signal(*pid, Signal::CONT);
        }
    }
}
