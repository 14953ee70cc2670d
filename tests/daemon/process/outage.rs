use std::time::Duration;

use serde_json::Value;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;

use crate::daemon::{Home, agrees, free_port, red};
use crate::flume::{all_sources, connect, devchain};
use crate::postgres;
use crate::receiver::{Receiver, reaction, webhook};
use crate::wait::{until_async, until_ok};

fn last_error(report: &Value) -> &str {
    report["chains"]["dev"]["lastError"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_away_and_comes_back_costs_nothing() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(71, 100).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(98).await;
    let address = server.address().to_string();
    server.stop().await;
    red(&daemon, |report| last_error(report).contains("cannot reach the node")).await;
    let ages = async || {
        let of = async |name: &str| daemon.metric(name).await.expect("it is there");
        [
            of("chainflume_seconds_since_head{chain=\"dev\"}").await,
            of("chainflume_seconds_since_commit{chain=\"dev\",source=\"nft\"}").await,
            of("chainflume_consecutive_errors{chain=\"dev\"}").await,
        ]
    };
    let before = ages().await;
    assert_eq!(daemon.metric("chainflume_chain_state{chain=\"dev\",state=\"failing\"}").await, Some(1.0));
    chain.mine(150);
    chain.reorg(5, 6);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = ages().await;
    assert!(before.iter().zip(after).all(|(before, after)| *before < after), "{before:?} {after:?}");

    let _server = chain.serve(&address).await.expect("the port is free");
    daemon.until_tip(249).await;
    assert_eq!(daemon.metric("chainflume_consecutive_errors{chain=\"dev\"}").await, Some(0.0));
    daemon.stop_well().await;
    agrees(&chain, &url, 249).await;
}

/// Refuses new connections, and closes the present ones.
pub async fn shut(pool: &PgPool, name: &str) {
    for sql in [
        format!("alter database {name} allow_connections false"),
        format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"),
    ] {
        sqlx::query(AssertSqlSafe(sql)).execute(pool).await.expect("the statement runs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_and_comes_back_costs_nothing() {
    let url = postgres::empty_database().await;
    let name = url.split(['/', '?']).find(|part| part.starts_with("test_")).expect("its name").to_owned();
    let other = connect(&url.replace(&name, "postgres")).await;
    let (chain, server) = devchain(72, 100).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(98).await;

    shut(&other, &name).await;
    chain.mine(20);
    let reason = format!("database \"{name}\" is not currently accepting connections");
    let is_told = |report: &Value| {
        report["database"]["writable"] == false
            && report["database"]["error"].as_str().is_some_and(|error| error.contains(&reason))
    };
    red(&daemon, is_told).await;
    let lag = "chainflume_lag_blocks{chain=\"dev\",source=\"token\"}";
    chain.mine(130);
    until_ok("the lag grows to 150 blocks", async || match daemon.metric(lag).await {
        found if found >= Some(150.0) => Ok(()),
        found => Err((found, daemon.report().await)),
    })
    .await;
    assert_eq!(daemon.metric("chainflume_database_writable").await, Some(0.0));
    assert!(daemon.metric("chainflume_database_errors_total{chain=\"dev\"}").await > Some(0.0));
    red(&daemon, |report| report["chains"]["dev"]["notReady"].to_string().contains("is 150 blocks behind"))
        .await;

    let sql = format!("alter database {name} allow_connections true");
    sqlx::query(AssertSqlSafe(sql)).execute(&other).await.expect("the statement runs");
    daemon.until_tip(248).await;
    assert_eq!(daemon.metric(lag).await, Some(0.0));
    daemon.stop_well().await;
    agrees(&chain, &url, 248).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_turns_read_only_is_not_ready() {
    let url = postgres::empty_database().await;
    let name = url.split(['/', '?']).find(|part| part.starts_with("test_")).expect("its name").to_owned();
    let other = connect(&url.replace(&name, "postgres")).await;
    let (chain, server) = devchain(73, 20).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(18).await;
    let set = async |value: &str| {
        for sql in [
            format!("alter database {name} set default_transaction_read_only = {value}"),
            format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"),
        ] {
            sqlx::query(AssertSqlSafe(sql)).execute(&other).await.expect("the statement runs");
        }
    };
    set("on").await;
    chain.mine(1);
    red(&daemon, |report| report["database"]["error"].to_string().contains("read-only transaction")).await;
    red(&daemon, |report| last_error(report).contains("read-only transaction")).await;
    set("off").await;
    daemon.until_tip(19).await;
    daemon.stop_well().await;
    agrees(&chain, &url, 19).await;
}

/// Every metric there is has its meaning, its kind and a sample.
fn explained(text: &str) {
    let source = include_str!("../../../crates/ops/src/metrics.rs");
    let names = source.lines().filter_map(|line| line.split_once(": &str = \"")?.1.strip_suffix("\";"));
    let names: Vec<&str> = names.filter(|name| name.starts_with("chainflume_")).collect();
    assert!(names.len() > 30);
    for name in names {
        for what in [format!("# HELP {name} "), format!("# TYPE {name} ")] {
            assert!(text.lines().any(|line| line.starts_with(&what)), "no {what}in {text}");
        }
        assert!(text.lines().any(|line| line.starts_with(name)), "no sample of {name}");
    }
}

/// Waits until a client was given a message.
async fn until_streamed(mut stream: reqwest::Response) {
    let mut streamed = String::new();
    while !streamed.contains("event: message") {
        let chunk = stream.chunk().await.expect("the stream goes on").expect("the stream goes on");
        streamed.push_str(&String::from_utf8_lossy(&chunk));
    }
}

/// A table of each kind that has metrics of its own.
fn tables_of_every_metric(receiver: &Receiver, port: u16) -> String {
    "[chain.audit]\nevery = \"50ms\"\n".to_owned()
        + &all_sources()
        + &webhook("crm", receiver, "")
        + "[[inbound]]\nname = \"hints\"\nprovider = \"alchemy\"\nsecret = \"of the tests\"\nchain = \"dev\"\n"
        + "[[schedule]]\nname = \"sync\"\ncron = \"0 0 * * *\"\ntype = \"sync.due\"\n"
        + &reaction("http://127.0.0.1:9/")
        + &format!("[server]\nlisten = \"127.0.0.1:{port}\"\n[server.auth]\nmode = \"none\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_described() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(74, 300).await;
    let (receiver, port) = (Receiver::start().await, free_port());
    let sources = tables_of_every_metric(&receiver, port);
    let home = Home::new(&server, &sources, Some(&url));
    let daemon = home.start();
    daemon.until_tip(298).await;
    for counter in ["reorgs_total", "events_orphaned_total", "database_errors_total", "unknown_users_total"] {
        let sample = format!("chainflume_{counter}{{chain=\"dev\"}}");
        assert_eq!(daemon.metric(&sample).await, Some(0.0), "{sample}");
    }
    let delivery = reqwest::Client::new().post(format!("http://127.0.0.1:{port}/webhooks/hints")).body("{}");
    assert_eq!(delivery.send().await.expect("the server answers").status().as_u16(), 401);
    chain.mine(1);
    daemon.until_tip(299).await;
    chain.reorg(4, 5);
    daemon.until_tip(300).await;
    let address = server.address().to_string();
    server.stop().await;
    red(&daemon, |report| last_error(report).contains("cannot reach the node")).await;
    let _server = chain.serve(&address).await.expect("the port is free");
    daemon.until_tip(300).await;
    let stream = reqwest::get(format!("http://127.0.0.1:{port}/v1/stream?rooms=all")).await;
    chain.mine(10);
    daemon.until_tip(310).await;
    until_streamed(stream.expect("the stream opens")).await;
    let published = "chainflume_messages_published_total{sink=\"in-process\",type=\"erc20.transfer\",state=\"confirmed\"}";
    until_async("a message is published in the process and to the webhook", async || {
        daemon.metric(published).await.is_some() && !receiver.taken().is_empty()
    })
    .await;

    let (_, text) = daemon.get("/metrics").await;
    explained(&text);
    let samples = [
        ("chainflume_head_block{chain=\"dev\"}", 312.0),
        ("chainflume_confirmed_block{chain=\"dev\"}", 310.0),
        ("chainflume_final_block{chain=\"dev\"}", 296.0),
        ("chainflume_tip_block{chain=\"dev\",source=\"vault\"}", 310.0),
        ("chainflume_lag_blocks{chain=\"dev\",source=\"vault\"}", 0.0),
        ("chainflume_reorgs_total{chain=\"dev\"}", 1.0),
        ("chainflume_reorg_depth_blocks_sum{chain=\"dev\"}", 2.0),
        ("chainflume_database_writable", 1.0),
        ("chainflume_commits_total{chain=\"dev\",kind=\"rewind\"}", 1.0),
        ("chainflume_consecutive_errors{chain=\"dev\"}", 0.0),
        ("chainflume_dead_letters_open", 0.0),
    ];
    for (sample, value) in samples {
        assert_eq!(daemon.metric(sample).await, Some(value), "{sample}");
    }
    let pool = connect(&url).await;
    let stored: i64 =
        sqlx::query_scalar("select count(*) from users").fetch_one(&pool).await.expect("a count");
    let staked = daemon.metric("chainflume_events_total{source=\"vault\",type=\"stake.staked\"}").await;
    assert!(stored > 0 && staked > Some(0.0));
    daemon.stop_well().await;
}
