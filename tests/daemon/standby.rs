//! Two daemons on one database: one leads, the other takes over.

mod frozen;
mod messages;
mod spread;

use std::time::{Duration, Instant};

use chainflume_devchain::Server;
use rustix::process::Signal;
use serde_json::Value;
use sqlx::postgres::PgPool;

use crate::daemon::{Daemon, Home, agrees, chain};
use crate::flume::{all_sources, connect, devchain};
use crate::postgres;
use crate::wait::until_async;

/// What is promised of a leader that is killed or freezes, and of one that is stopped.
const AFTER_KILL: Duration = Duration::from_secs(15);
const AFTER_STOP: Duration = Duration::from_secs(2);

/// A home on the chain behind `server`, with `keys` of other tables.
fn home(server: &Server, keys: &str, url: &str) -> Home {
    let home = Home::bare();
    home.write(&format!("{keys}\n{}", chain(server, "", &all_sources())), Some(url));
    home
}

/// Waits until it is a standby, which counts as ready.
async fn until_standby(daemon: &Daemon) -> Value {
    let is = |status: u16, report: &Value| {
        status == 200 && report["role"] == "standby" && report["chains"]["dev"]["state"] == "standby"
    };
    daemon.until("a standby", is).await
}

async fn leads(daemon: &Daemon) -> Option<f64> {
    daemon.metric("chainflume_lease_held{lease=\"chain 31337\"}").await
}

/// When a lease had a holder that is not `before`, by the clock of the test.
async fn until_taken(pool: &PgPool, lease: &str, before: &str) -> Instant {
    let sql = "select holder from leases where name = $1 and expires_at > clock_timestamp()";
    let is_taken = async || {
        let holder: Option<String> =
            sqlx::query_scalar(sql).bind(lease).fetch_optional(pool).await.expect("reads");
        holder.is_some_and(|holder| !holder.starts_with(before))
    };
    until_async(&format!("an instance takes {lease} from {before}"), is_taken).await;
    Instant::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_when_the_leader_is_killed_or_stopped() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(401, 100).await;
    let names = ["one", "two"].map(|name| format!("[standby]\nname = \"{name}\""));
    let (one, two) = (home(&server, &names[0], &url), home(&server, &names[1], &url));
    let first = one.start();
    first.until_tip(98).await;
    let second = two.start();
    let report = until_standby(&second).await;
    let lease = &report["leases"]["chain 31337"];
    assert_eq!((&lease["role"], &lease["epoch"]), (&"standby".into(), &1.into()));
    assert!(lease["holder"].as_str().is_some_and(|holder| holder.starts_with("one#")), "{lease}");
    assert_eq!((leads(&first).await, leads(&second).await), (Some(1.0), Some(0.0)));
    assert_eq!(second.metric("chainflume_chain_state{chain=\"dev\",state=\"standby\"}").await, Some(1.0));
    let text = two.run(&["status"]).await.fine();
    assert!(text.contains("ready, on standby\n") && text.contains("dev    standby  one#"), "{text}");

    let pool = connect(&url).await;
    first.kill_9().await;
    let killed = Instant::now();
    chain.mine(5);
    let taken = until_taken(&pool, "chain 31337", "one#").await;
    assert!(taken - killed < AFTER_KILL, "{:?}", taken - killed);
    second.until_tip(103).await;
    assert_eq!(leads(&second).await, Some(1.0));

    let first = one.start();
    until_standby(&first).await;
    chain.reorg(4, 9);
    second.until_tip(108).await;
    second.stop_well().await;
    let stopped = Instant::now();
    let taken = until_taken(&pool, "chain 31337", "two#").await;
    assert!(taken.saturating_duration_since(stopped) < AFTER_STOP, "{:?}", taken - stopped);
    chain.mine(3);
    first.until_tip(111).await;
    let epoch: i64 = sqlx::query_scalar("select epoch from chains").fetch_one(&pool).await.expect("one");
    assert_eq!(epoch, 3, "each holder has its own");
    let json = one.run(&["status", "--json"]).await.json();
    let leases = json["leases"].as_array().expect("leases");
    let lease = leases.iter().find(|lease| lease["lease"] == "chain 31337").expect("the chain's");
    assert_eq!((&json["daemon"]["role"], &lease["epoch"]), (&"leader".into(), &3.into()));
    first.stop_well().await;
    agrees(&chain, &url, 111).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_killed_does_not_wait_for_its_own_lease() {
    for shared in [true, false] {
        let url = postgres::empty_database().await;
        let (chain, server) = devchain(402, 30).await;
        let home = Home::new(&server, &all_sources(), shared.then_some(url.as_str()));
        // Ten minutes, if it were waited for.
        home.rewrite("[admin]", "[standby]\nlease = \"5m\"\n[admin]");
        let daemon = home.start();
        daemon.until_tip(28).await;
        daemon.kill_9().await;
        chain.mine(2);
        let mut daemon = home.start();
        daemon.until_tip(30).await;
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.ended(Duration::from_secs(10)).await, Some(0), "{}", daemon.log());
        // No operator of one daemon asks who leads.
        let status = home.run(&["status"]).await.fine();
        let told = ["lease taken", "lease released"].into_iter().find(|words| daemon.log().contains(words));
        assert_eq!(told, None, "{}", daemon.log());
        assert!(!status.lines().any(|line| line.starts_with("lease ")), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_restarted_changes_no_leader() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(403, 30).await;
    // By mistake of one name; they are distinguished all the same.
    let keys = "[standby]\nname = \"same\"\nlease = \"6s\"";
    let (one, two) = (home(&server, keys, &url), home(&server, keys, &url));
    let first = one.start();
    first.until_tip(28).await;
    let mut second = two.start();
    until_standby(&second).await;
    second.until_printed("another daemon on this database has the same name").await;
    let pool = connect(&url).await;
    for tip in 29..32 {
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity \
                   where datname = current_database() and pid <> pg_backend_pid()";
        sqlx::query(sql).execute(&pool).await.expect("runs");
        chain.mine(1);
        first.until_tip(tip).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    until_standby(&second).await;
    let epoch: i64 = sqlx::query_scalar("select epoch from chains").fetch_one(&pool).await.expect("one");
    assert_eq!(epoch, 1, "{}", second.log());
    first.stop_well().await;
    second.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_chain_stays_with_its_leader_and_stops_the_next() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(404, 60).await;
    let keys = "[standby]\nlease = \"2s\"";
    let (one, two) = (home(&server, keys, &url), home(&server, keys, &url));
    let first = one.start();
    first.until_tip(58).await;
    let second = two.start();
    until_standby(&second).await;
    chain.reorg(40, 41);
    let is_stopped = |_: u16, report: &Value| report["chains"]["dev"]["state"] == "stopped";
    first.until("stopped", is_stopped).await;
    until_standby(&second).await;
    assert_eq!((leads(&first).await, leads(&second).await), (Some(1.0), Some(0.0)));
    first.kill_9().await;
    second.until("stopped", is_stopped).await;
    let common = two.run(&["rewind", "--json"]).await.json()["common"].to_string();
    two.run(&["rewind", "--to", &common, "--yes"]).await.fine();
    second.until_tip(59).await;
    second.stop_well().await;
    agrees(&chain, &url, 59).await;
}
