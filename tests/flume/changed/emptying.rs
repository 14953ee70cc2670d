//! A source or a chain is deleted while something else happens: a kill, or a daemon with another configuration.

use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use chainflume::devchain::{Action, DevChain, RawLog, Server, Settings};
use serde_json::Value;
use sqlx::PgPool;

use super::{A, B, C, TRANSFER, other, source};
use crate::daemon::{Daemon, Home, chain};
use crate::flume::connect;
use crate::{postgres, tables};

/// Enough for two pages of a deletion.
const MANY: u64 = 12;

/// Blocks of a thousand transfers of one contract and one of another, with two more to confirm them.
async fn many() -> (DevChain, Server) {
    let chain = DevChain::new(Settings { history: 0, ..Default::default() });
    let server = chain.serve("127.0.0.1:0").await.expect("a free port");
    let transfer = |contract: Address, n: u64| {
        let who = |n: u64| Address::with_last_byte(u8::try_from(n % 7 + 1).expect("small"));
        let action = Action::Erc20Transfer { from: who(n), to: who(n + 1), amount: U256::from(n) };
        Action::Raw(Box::new(RawLog { address: contract, ..action.log() }))
    };
    let block = |n: u64| {
        let of_a = (0..1000).map(|i| transfer(A, n * 1000 + i));
        of_a.chain([transfer(C, n)]).collect()
    };
    chain.mine_with((1..=MANY).map(block).collect());
    chain.mine(2);
    (chain, server)
}

fn usd() -> String {
    source("usd", &[A], TRANSFER)
}

async fn number(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.expect("the query runs")
}

const EVENTS: &str =
    "select count(*) from events e join event_kinds k on k.id = e.kind_id where k.source = 'usd'";

/// Runs a command until its second page waits for a lock of the test's, and kills it there.
async fn kill_in_second_page(home: &Home, pool: &PgPool, arguments: &[&str]) {
    let hold = "create function hold() returns trigger language plpgsql as \
         $$ begin if old.events > 0 then perform pg_advisory_xact_lock(4711); end if; return new; end $$; \
         create trigger hold before update on reorgs for each row execute function hold()";
    sqlx::raw_sql(hold).execute(pool).await.expect("a trigger");
    let mut holder = pool.begin().await.expect("a transaction");
    sqlx::query("select pg_advisory_xact_lock(4711)").execute(&mut *holder).await.expect("a lock");
    let command = Daemon::new(home.configured(arguments), 0);
    let waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted and objid = 4711";
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
async fn fresh(server: &Server, sources: &str, tip: u64) -> tables::Rows {
    let url = postgres::empty_database().await;
    let home = Home::new(server, sources, Some(&url));
    let daemon = home.start();
    daemon.until_tip(tip).await;
    daemon.stop_well().await;
    tables::all(&connect(&url).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_is_killed_half_way_is_never_taken_for_whole_and_goes_on() {
    let (_chain, server) = many().await;
    let url = postgres::empty_database().await;
    let home = Home::new(&server, &(usd() + &other()), Some(&url));
    let daemon = home.start();
    daemon.until_tip(MANY).await;
    daemon.stop_well().await;
    let pool = connect(&url).await;
    assert_eq!(number(&pool, EVENTS).await, 12_000);

    home.write(&chain(&server, "", &other()), Some(&url));
    kill_in_second_page(&home, &pool, &["sources", "remove", "usd", "--yes"]).await;
    assert_eq!(number(&pool, EVENTS).await, 2_000);
    let of_usd = "select coalesce(sum(events), 0)::bigint from token_balances where token = '\\xa1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1'";
    // Each transfer counts for who sent and who got it.
    assert_eq!(number(&pool, of_usd).await, 4_000);
    let text = home.run(&["check"]).await.fine();
    assert!(
        text.contains("source usd is deleted in part") && text.contains("`chainflume sources remove usd`"),
        "{text}"
    );
    let listed = home.run(&["sources", "list", "--json"]).await.json();
    assert_eq!((&listed[1]["name"], &listed[1]["emptying"]), (&"usd".into(), &true.into()));

    // A daemon that has it does not go on with a half.
    home.write(&chain(&server, "", &(usd() + &other())), Some(&url));
    let said = home.run(&["check"]).await;
    assert!(said.out.contains("`chainflume sources reset usd`"), "{said:?}");
    said.error(78);
    let daemon = home.start();
    let blocked = |status, report: &Value| {
        let sources = &report["chains"]["dev"]["sources"];
        status == 503 && sources["usd"]["state"] == "blocked" && sources["other"]["tip"] == MANY
    };
    daemon.until("blocked usd alone", blocked).await;
    assert_eq!(number(&pool, EVENTS).await, 2_000);
    daemon.stop_well().await;

    home.write(&chain(&server, "", &other()), Some(&url));
    let text = home.run(&["sources", "remove", "usd", "--yes"]).await.fine();
    assert_eq!(text, "2000 events of source usd are deleted; nothing of it is stored any more\n");
    let whole = fresh(&server, &other(), MANY).await;
    tables::assert_same("a database that never had usd", &tables::all(&pool).await, &whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_is_killed_half_way_goes_on_beside_the_daemon_which_then_reads_it_anew() {
    let (devchain, server) = many().await;
    let url = postgres::empty_database().await;
    let home = Home::new(&server, &(usd() + &other()), Some(&url));
    let daemon = home.start();
    daemon.until_tip(MANY).await;
    let pool = connect(&url).await;
    kill_in_second_page(&home, &pool, &["sources", "reset", "usd", "--yes"]).await;
    devchain.mine(1);
    let blocked = |_, report: &Value| report["chains"]["dev"]["sources"]["usd"]["state"] == "blocked";
    let report = daemon.until("saw that a part is gone", blocked).await;
    assert!(report.to_string().contains("`chainflume sources reset usd`"), "{report}");
    let text = home.run(&["sources", "reset", "usd", "--yes"]).await.fine();
    assert_eq!(text, "2000 events of source usd are deleted; a running daemon reads it anew\n");
    daemon.until_tip(MANY + 1).await;
    daemon.stop_well().await;
    let whole = fresh(&server, &(usd() + &other()), MANY + 1).await;
    tables::assert_same("a fresh sync", &tables::all(&pool).await, &whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_with_the_old_configuration_is_named_and_nothing_is_changed() {
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
        let said = changed.run(arguments).await;
        let text = said.error(1);
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
    assert_eq!(home.run(&["chains", "forget", "dev"]).await.error(64), "nobody can be asked here; add --yes");
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
