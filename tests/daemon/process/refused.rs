use std::time::Duration;

use chainflume_devchain::{DevChain, Effect, RpcError, Rule, Settings};
use futures_util::future::join_all;

use crate::daemon::{CommandOutput, Home, agrees, chain};
use crate::flume::{all_sources, connect, devchain, source};
use crate::postgres;
use crate::wait::until_async;

/// Tables there are, of anybody.
pub async fn tables(url: &str) -> i64 {
    let pool = connect(url).await;
    let sql = "select count(*) from pg_tables where schemaname not in ('pg_catalog', 'information_schema')";
    let tables = sqlx::query_scalar(sql).fetch_one(&pool).await.expect("a count");
    pool.close().await;
    tables
}

/// `run` and every `check` that asks refuse with `code` and the same words.
async fn all_refuse(home: &Home, code: i32, words: &str) {
    let file = home.path("chainflume.toml");
    let expected = format!("{}: {words}", file.display());
    let commands = [&["run"][..], &["check"], &["check", "--start"], &["check", "--json"]];
    let all = join_all(commands.map(|arguments| home.run(arguments))).await;
    for (output, arguments) in all.into_iter().zip(commands) {
        assert_eq!(output.error(code), expected, "{arguments:?}");
        assert!(output.took < Duration::from_secs(15), "{arguments:?} took {:?}", output.took);
        if arguments.contains(&"--json") {
            let answer: serde_json::Value = serde_json::from_str(&output.out).expect("JSON");
            assert_eq!(answer["ok"], false);
            let lines = answer["connections"].as_array().expect("a list");
            assert!(lines.iter().any(|line| line["ok"] == false && line["text"] == expected), "{answer:#}");
        } else if arguments != ["run"] {
            assert!(output.out.contains(&format!("\nFAIL {expected}\n")), "{}", output.out);
        }
    }
    assert_eq!(home.run(&["check", "--offline"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_another_chain_is_refused_before_a_table_is_touched() {
    let url = postgres::empty_database().await;
    let (_, server) = devchain(61, 5).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    home.rewrite("chain_id = 31337", "chain_id = 1");
    let words = format!(
        "chain \"dev\": http: {}: the node is on chain 31337, and the configuration has chain_id = 1; correct one of the two",
        server.address()
    );
    all_refuse(&home, 78, &words).await;
    assert_eq!(tables(&url).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_on_another_chain_during_the_start_is_waited_for() {
    let stranger = DevChain::new(Settings { chain_id: 1, seed: 7, history: 30, ..Settings::default() });
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(64, 30).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let wrong = chain.faults().add(Rule::any(Effect::Stranger(stranger)));
    let mut daemon = home.start();
    daemon.until_printed("the nodes of a chain are on another chain; they are asked again").await;
    assert_eq!(tables(&url).await, 0);
    wrong.lift();
    daemon.until_tip(28).await;
    daemon.stop_well().await;
    agrees(&chain, &url, 28).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_or_refusing_node_is_named_before_tables_change() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(62, 5).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let host = server.address();
    let denied = RpcError::new(-32000, "no access for key canary-http, see https://node.example/canary");
    let rule = chain.faults().add(Rule::any(Effect::Error(denied)));
    let output = home.run(&["run"]).await;
    rule.lift();
    assert!(
        output.error(69).contains(&format!("chain \"dev\": http: {host}: eth_chainId refused: no access")),
        "{output:?}"
    );
    server.stop().await;
    let reason =
        "cannot reach the node (Connection refused (os error 111)); check the url and that the node runs";
    all_refuse(&home, 69, &format!("chain \"dev\": http: {host}: {reason}")).await;
    assert_eq!(tables(&url).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_reported_with_its_cause() {
    let (_, server) = devchain(63, 5).await;
    let home = Home::new(&server, &all_sources(), Some("postgres://somebody:canary-pg@127.0.0.1:1/flume"));
    let words = "database.url: no connection to the database at 127.0.0.1:1: Connection refused (os error 111); \
        check host and port, and that PostgreSQL runs and listens there";
    all_refuse(&home, 69, words).await;
    for output in
        join_all([["status"], ["views"], ["migrate"]].map(async |command| home.run(&command).await)).await
    {
        assert_eq!(output.error(69), format!("{}: {words}", home.path("chainflume.toml").display()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_reported_at_once_and_not_shown() {
    let url = postgres::empty_database().await;
    let stranger = stranger(&url).await;
    let (_, server) = devchain(64, 5).await;
    let home = Home::new(&server, &all_sources(), Some(&stranger));
    let folder = url.split("host=").nth(1).and_then(|rest| rest.split('&').next()).expect("a socket");
    let words = format!(
        "database.url: no connection to the database at {folder}: password authentication failed for user \"stranger\"; \
         check user and password: psql with the same url must connect"
    );
    all_refuse(&home, 69, &words).await;
    assert_eq!(tables(&url).await, 0);
}

/// The URL of the same database for a user with a password, which is not this one.
async fn stranger(url: &str) -> String {
    let pool = connect(url).await;
    let (hba, _): (String, i32) =
        sqlx::query_as("select current_setting('hba_file'), 1").fetch_one(&pool).await.expect("a path");
    let rules = std::fs::read_to_string(&hba).expect("the server is of this test run");
    std::fs::write(&hba, format!("local all stranger scram-sha-256\n{rules}")).expect("likewise");
    for sql in ["create role stranger login password 'right'", "select pg_reload_conf()"] {
        sqlx::query(sql).execute(&pool).await.expect("the statement runs");
    }
    let stranger = url.replace("user=postgres", "user=stranger&password=canary-pg");
    let refuses = async || sqlx::PgPool::connect(&stranger).await.is_err();
    until_async("the server applies its new rules and refuses the password", refuses).await;
    stranger
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_is_reported() {
    let url = postgres::empty_database().await;
    let (_, server) = devchain(65, 5).await;
    let pool = connect(&url).await;
    let name: String =
        sqlx::query_scalar("select current_database()").fetch_one(&pool).await.expect("a name");
    let sql = format!("alter database {name} set default_transaction_read_only = on");
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await.expect("the statement runs");
    let home = Home::new(&server, &all_sources(), Some(&url));
    let words = "the database takes no writes: default_transaction_read_only is on for role postgres; \
        set it to off where it was set";
    for command in ["check", "run"] {
        let output = home.run(&[command]).await;
        assert!(output.error(69).contains(words), "{output:#?}");
    }
    assert_eq!(tables(&url).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn right_data_is_reported_right_and_nothing_is_made() {
    let url = postgres::empty_database().await;
    let (_, server) = devchain(66, 5).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    for arguments in [&["check"][..], &["check", "--start"]] {
        let text = home.run(arguments).await.fine();
        let end = format!(
            "\nok   chain dev: the node answers, head 5\nok   chain dev: the websocket of {} takes a subscription to heads\n\
             ok   database: connected, empty; the daemon will create its tables\n",
            server.address()
        );
        assert!(text.ends_with(&end), "{text}");
    }
    let answer = home.run(&["check", "--json"]).await.json();
    assert_eq!((&answer["ok"], answer["connections"].as_array().map(Vec::len)), (&true.into(), Some(3)));
    assert_eq!(tables(&url).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_chains_the_one_whose_node_is_away_waits_alone() {
    let url = postgres::empty_database().await;
    let (dev, server) = devchain(67, 50).await;
    let settings =
        chainflume_devchain::Settings { chain_id: 31_338, seed: 68, history: 30, ..Default::default() };
    let other = chainflume_devchain::DevChain::new(settings);
    let away = other.serve("127.0.0.1:0").await.expect("a free port");
    let address = away.address().to_string();
    let second = chain(&away, "", &source("far", "erc20", chainflume_devchain::DEMO_TOKEN, 0))
        .replace("\"dev\"", "\"other\"")
        .replace("31337", "31338\nmax_head_age = \"0s\"");
    away.stop().await;
    let home = Home::bare();
    home.write(&format!("{}\n{second}", chain(&server, "", &all_sources())), Some(&url));

    let reason = format!(
        "chain \"other\": http: {address}: cannot reach the node (Connection refused (os error 111)); check the url and that the node runs"
    );
    let reason = format!("{}: {reason}", home.path("chainflume.toml").display());
    let start: CommandOutput = home.run(&["check", "--start"]).await;
    assert!(start.fine().contains(&format!("FAIL {reason}\n")));
    assert_eq!(home.run(&["check"]).await.error(69), "a node cannot be used; see above");

    let daemon = home.start();
    let report = daemon
        .until("one live and one away", |status, report| {
            status == 503
                && report["chains"]["dev"]["sources"]["nft"]["tip"] == 48
                && report["chains"]["dev"]["state"] == "live"
                && report["chains"]["other"]["consecutiveErrors"].as_u64() > Some(1)
        })
        .await;
    assert_eq!((&report["ready"], &report["database"]["writable"]), (&false.into(), &true.into()));
    assert_eq!(report["chains"]["dev"]["notReady"], serde_json::json!([]));
    let other_report = &report["chains"]["other"];
    assert_eq!(other_report["state"], "failing");
    assert!(
        other_report["notReady"][0].as_str().is_some_and(|text| text.ends_with("errors in a row")),
        "{report:#}"
    );
    assert!(
        other_report["lastError"].as_str().is_some_and(|text| text.contains("cannot reach the node")),
        "{report:#}"
    );
    dev.mine(2);
    let status = home.run(&["status"]).await.fine();
    assert!(status.contains("is NOT ready\n  chain other: "), "{status}");

    let back = other.serve(&address).await.expect("the port is free");
    let far = |report: &serde_json::Value| report["chains"]["other"]["sources"]["far"]["tip"] == 28;
    daemon.until("both followed", |status, report| status == 200 && far(report)).await;
    daemon.until_tip(50).await;
    daemon.stop_well().await;
    back.stop().await;
}
