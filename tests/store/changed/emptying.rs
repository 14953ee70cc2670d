//! A source or a chain is deleted while something else happens: a kill, or a daemon with another configuration.

use std::time::{Duration, Instant};

use chainflume_db::{LeaseName, lease_follows};
use serde_json::Value;
use sqlx::PgPool;

use super::{A, B, C, TRANSFER, other, source};
use crate::daemon::{Daemon, Home, chain};
use crate::flume::connect;
use crate::scene::Scene;
use crate::wait::until_async;
use crate::{postgres, tables};

fn usd() -> String {
    source("usd", &[A], TRANSFER)
}

async fn number(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.expect("the query runs")
}

const EVENTS: &str =
    "select count(*) from events e join event_kinds k on k.id = e.kind_id where k.source = 'usd'";

/// Makes block 30 of `usd` longer than a page, by events that change nothing else: a node of the tests would take minutes to
/// serve as many. What lies above and in it is one page, 29 events are left for the next.
async fn grow(pool: &PgPool) {
    let sql = "insert into events select e.chain_id, 30, 5, 1000 + g, e.block_time, e.kind_id, 'n', e.block_hash, e.tx_hash, \
             e.address, e.account, e.counterparty, e.amount, e.token_id, e.args \
             from events e join event_kinds k on k.id = e.kind_id, generate_series(1, 11000) as g \
             where k.source = 'usd' and e.block_number = 30; \
         update event_kinds set events = events + 11000 where id in (select kind_id from events where log_index > 1000)";
    sqlx::raw_sql(sql).execute(pool).await.expect("it grows");
}

/// Runs a command until its second page waits for a lock of the test's, and kills it there.
async fn kill_in_second_page(home: &Home, pool: &PgPool, arguments: &[&str]) {
    let hold = "create function hold() returns trigger language plpgsql as \
         $$ begin if old.events > 0 then perform pg_advisory_xact_lock(4711); end if; return new; end $$; \
         create trigger hold before update on reorgs for each row execute function hold()";
    sqlx::raw_sql(hold).execute(pool).await.expect("a trigger");
    let mut holder = pool.begin().await.expect("a transaction");
    sqlx::query("select pg_advisory_xact_lock(4711)").execute(&mut *holder).await.expect("a lock");
    let command = Daemon::new(home.configured(arguments), 0);
    // Other tests have databases on the same server.
    let waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted and objid = 4711 \
                 and database = (select oid from pg_database where datname = current_database())";
    let deadline = Instant::now() + Duration::from_secs(60);
    while number(pool, waits).await == 0 {
        assert!(Instant::now() < deadline, "it never got to its second page: {}", command.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    command.kill_9().await;
    holder.rollback().await.expect("the lock is given back");
    sqlx::raw_sql("drop trigger hold on reorgs").execute(pool).await.expect("no trigger");
}

/// What a daemon with this configuration makes of an empty database.
async fn fresh(scene: &Scene, sources: &str, tip: u64) -> tables::Rows {
    let url = postgres::empty_database().await;
    let home = Home::new(&scene.server, sources, Some(&url));
    let daemon = home.start();
    daemon.until_tip(tip).await;
    daemon.stop_well().await;
    tables::all(&connect(&url).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_killed_half_way_is_never_whole_and_goes_on() {
    let scene = super::scene(40).await;
    let url = postgres::empty_database().await;
    let home = Home::new(&scene.server, &(usd() + &other()), Some(&url));
    let daemon = home.start();
    daemon.until_tip(38).await;
    daemon.stop_well().await;
    let pool = connect(&url).await;
    grow(&pool).await;
    assert_eq!(number(&pool, EVENTS).await, 11_038);

    home.write(&chain(&scene.server, "", &other()), Some(&url));
    kill_in_second_page(&home, &pool, &["sources", "remove", "usd", "--yes"]).await;
    assert_eq!(number(&pool, EVENTS).await, 29);
    let of_usd = "select coalesce(sum(events), 0)::bigint from token_balances where token = '\\xa1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1'";
    // Each transfer counts for who sent and who got it.
    assert_eq!(number(&pool, of_usd).await, 58);
    let text = home.run(&["check"]).await.fine();
    assert!(
        text.contains("source usd is deleted in part") && text.contains("`chainflume sources remove usd`"),
        "{text}"
    );
    let listed = home.run(&["sources", "list", "--json"]).await.json();
    assert_eq!((&listed[1]["name"], &listed[1]["emptying"]), (&"usd".into(), &true.into()));

    // A daemon that has it does not go on with a half.
    home.write(&chain(&scene.server, "", &(usd() + &other())), Some(&url));
    let output = home.run(&["check"]).await;
    assert!(output.out.contains("`chainflume sources reset usd`"), "{output:?}");
    output.error(78);
    let daemon = home.start();
    let blocked = |status, report: &Value| {
        let sources = &report["chains"]["dev"]["sources"];
        status == 503 && sources["usd"]["state"] == "blocked" && sources["other"]["tip"] == 38
    };
    daemon.until("blocked usd alone", blocked).await;
    assert_eq!(number(&pool, EVENTS).await, 29);
    daemon.stop_well().await;

    home.write(&chain(&scene.server, "", &other()), Some(&url));
    let text = home.run(&["sources", "remove", "usd", "--yes"]).await.fine();
    assert_eq!(text, "29 events of source usd are deleted; nothing of it is stored any more\n");
    let whole = fresh(&scene, &other(), 38).await;
    tables::assert_same("a database that never had usd", &tables::all(&pool).await, &whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_killed_half_way_goes_on_beside_the_daemon() {
    let scene = super::scene(40).await;
    let url = postgres::empty_database().await;
    let home = Home::new(&scene.server, &(usd() + &other()), Some(&url));
    let daemon = home.start();
    daemon.until_tip(38).await;
    let pool = connect(&url).await;
    grow(&pool).await;
    kill_in_second_page(&home, &pool, &["sources", "reset", "usd", "--yes"]).await;
    super::mine(&scene, 1);
    let blocked = |_, report: &Value| report["chains"]["dev"]["sources"]["usd"]["state"] == "blocked";
    let report = daemon.until("saw that a part is gone", blocked).await;
    assert!(report.to_string().contains("`chainflume sources reset usd`"), "{report}");
    let text = home.run(&["sources", "reset", "usd", "--yes"]).await.fine();
    assert_eq!(text, "29 events of source usd are deleted; a running daemon reads it anew\n");
    daemon.until_tip(39).await;
    daemon.stop_well().await;
    let whole = fresh(&scene, &(usd() + &other()), 39).await;
    tables::assert_same("a fresh sync", &tables::all(&pool).await, &whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_with_the_old_configuration_is_named_unchanged() {
    let scene = super::scene(40).await;
    let url = postgres::empty_database().await;
    let home = Home::new(&scene.server, &(usd() + &other()), Some(&url));
    let daemon = home.start();
    daemon.until_tip(38).await;
    let pool = connect(&url).await;
    let before = tables::all(&pool).await;
    let (renamed, more) = (source("usdc", &[A], TRANSFER), source("usd", &[A, B], TRANSFER));
    let elsewhere = chain(&scene.server, "", &(usd() + &other())).replace("31337", "31338");
    let changes: [(String, &[&str]); 4] = [
        (chain(&scene.server, "", &other()), &["sources", "remove", "usd", "--yes"]),
        (chain(&scene.server, "", &(renamed + &other())), &["sources", "rename", "usd", "usdc"]),
        (chain(&scene.server, "", &(more + &other())), &["sources", "reset", "usd", "--yes"]),
        (elsewhere, &["chains", "forget", "31337", "--yes"]),
    ];
    for (config, arguments) in changes {
        let changed = Home::bare();
        changed.write(&config, Some(&url));
        let output = changed.run(arguments).await;
        let text = output.error(1);
        assert!(
            text.contains("leads the chain") && text.contains("restart it with this one"),
            "{arguments:?}: {text}"
        );
    }
    tables::assert_same("before", &tables::all(&pool).await, &before);
    // With the daemon's own configuration it is read anew.
    home.run(&["sources", "reset", "usd", "--yes"]).await.fine();
    assert_eq!(number(&pool, EVENTS).await, 0);
    super::mine(&scene, 2);
    daemon.until_tip(40).await;
    assert_eq!(number(&pool, EVENTS).await, 40);
    // Once it is gone, the first of these is done.
    daemon.stop_well().await;
    let changed = Home::bare();
    changed.write(&chain(&scene.server, "", &other()), Some(&url));
    changed.run(&["sources", "remove", "usd", "--yes"]).await.fine();
    assert_eq!(number(&pool, EVENTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_with_the_old_configuration_is_named_unchanged() {
    let scene = super::scene(40).await;
    let url = postgres::empty_database().await;
    let home = |name: &str, sources: &str| {
        let home = Home::bare();
        let chain = chain(&scene.server, "", sources);
        home.write(&format!("[standby]\nname = \"{name}\"\n{chain}"), Some(&url));
        home
    };
    let (one, two) = (home("one", &other()), home("two", &(usd() + &other())));
    // Both had usd, until the configuration of one was changed.
    let both = two.start();
    both.until_tip(38).await;
    both.stop_well().await;
    let first = one.start();
    first.until_tip(38).await;
    let stands_by = |_, report: &Value| report["chains"]["dev"]["state"] == "standby";
    let pool = connect(&url).await;
    let remove = ["sources", "remove", "usd", "--yes", "--json"];
    let second = two.start();
    second.until("a standby", stands_by).await;
    let before = tables::all(&pool).await;
    let text = one.run(&remove).await.error(1).to_owned();
    assert!(
        text.contains("the daemon two#")
            && text.contains("waits to lead the chain and would follow source usd"),
        "{text}"
    );
    tables::assert_same("before", &tables::all(&pool).await, &before);

    // With the new configuration it is no hindrance, and does not read usd again when it leads.
    second.stop_well().await;
    let two = home("two", &other());
    let second = two.start();
    second.until("a standby", stands_by).await;
    let done = one.run(&remove).await.json();
    assert_eq!(done, serde_json::json!({ "source": "usd", "events": 38 }));
    first.stop_well().await;
    super::mine(&scene, 1);
    second.until_tip(39).await;
    second.stop_well().await;
    let whole = fresh(&scene, &other(), 39).await;
    tables::assert_same("a database that never had usd", &tables::all(&pool).await, &whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_of_an_older_version_is_named_unchanged() {
    let scene = super::scene(40).await;
    let url = postgres::empty_database().await;
    let home = Home::new(&scene.server, &(usd() + &other()), Some(&url));
    let daemon = home.start();
    daemon.until_tip(38).await;
    daemon.stop_well().await;
    let pool = connect(&url).await;
    let before = tables::all(&pool).await;
    home.write(&chain(&scene.server, "", &other()), Some(&url));
    let remove = ["sources", "remove", "usd", "--yes", "--json"];
    // It wants to lead the chain, and does not publish what it would follow.
    let store = crate::relays::connect(&url).await;
    let mut older = store.lease_session("old#1-1".to_owned(), Duration::from_secs(600));
    let wants = vec![LeaseName::chain(31_337).to_string()];
    older.renew(&wants, &[]).await.expect("it lives");
    let text = home.run(&remove).await.error(1).to_owned();
    assert!(text.contains("the daemon old#1-1 waits to lead the chain"), "{text}");
    tables::assert_same("before", &tables::all(&pool).await, &before);
    // One that publishes that it follows other sources is no hindrance.
    older.renew(&[wants, vec![lease_follows(31_337, "other", "x")]].concat(), &[]).await.expect("it lives");
    let done = home.run(&remove).await.json();
    assert_eq!(done, serde_json::json!({ "source": "usd", "events": 38 }));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_seen_at_once_where_no_block_comes() {
    let scene = super::scene(40).await;
    let url = postgres::empty_database().await;
    let home = Home::new(&scene.server, &(usd() + &other()), Some(&url));
    let daemon = home.start();
    daemon.until_tip(38).await;
    let pool = connect(&url).await;
    let done = home.run(&["sources", "reset", "usd", "--yes", "--json"]).await.json();
    assert_eq!(done, serde_json::json!({ "source": "usd", "events": 38 }));
    // It shows that it reads the source again, and has read it, while the head does not move.
    let commits = |report: &Value| report["chains"]["dev"]["sources"]["usd"]["secondsSinceCommit"].as_f64();
    let read_anew =
        |status, report: &Value| status == 200 && commits(report).is_some_and(|seconds| seconds < 5.0);
    until_async("it is read anew", async || number(&pool, EVENTS).await >= 38).await;
    daemon.until("shows that it was read anew", read_anew).await;
    daemon.stop_well().await;
    let whole = fresh(&scene, &(usd() + &other()), 38).await;
    tables::assert_same("a fresh sync", &tables::all(&pool).await, &whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_listed_and_forgotten_and_can_be_read_anew() {
    let scene = super::scene(40).await;
    let url = postgres::empty_database().await;
    let home = Home::new(&scene.server, &(usd() + &other()), Some(&url));
    let daemon = home.start();
    daemon.until_tip(38).await;
    daemon.stop_well().await;
    let pool = connect(&url).await;
    let before = tables::all(&pool).await;
    let text = home.run(&["chains", "forget", "dev", "--yes"]).await.error(1).to_owned();
    assert!(text.contains("chain dev is configured: take it out of"), "{text}");

    let elsewhere = chain(&scene.server, "", &(source("third", &[C], TRANSFER))).replace("31337", "31338");
    home.write(&elsewhere.replace("\"dev\"", "\"two\""), Some(&url));
    let listed = home.run(&["chains", "list", "--json"]).await.json();
    let one = serde_json::json!({
        "chainId": 31337, "name": "dev", "sources": ["other", "usd"], "checkpoint": 38, "events": 76, "configured": false
    });
    assert_eq!((&listed[0], &listed[1]["configured"]), (&one, &true.into()));
    assert_eq!(
        home.run(&["chains", "forget", "dev"]).await.error(64),
        "there is no terminal to ask on; add --yes"
    );
    let text = home.run(&["chains", "forget", "none", "--yes"]).await.error(1).to_owned();
    assert_eq!(text, "chain none is not stored; there are: dev (31337)");
    let done = home.run(&["chains", "forget", "dev", "--yes", "--json"]).await.json();
    assert_eq!(done, serde_json::json!({ "chain": "dev", "events": 76 }));
    for (table, rows) in tables::all(&pool).await {
        assert!(rows.is_empty(), "{table}: {rows:?}");
    }
    assert_eq!(number(&pool, "select count(*) from leases where name like 'chain %'").await, 0);

    home.write(&chain(&scene.server, "", &(usd() + &other())), Some(&url));
    let daemon = home.start();
    daemon.until_tip(38).await;
    daemon.stop_well().await;
    tables::assert_same("before", &tables::all(&pool).await, &before);
}
