//! What is stored is read a second time: by the audit, by `verify`, and after a `rewind`.

use chainflume_devchain::{Effect, Lie, Request, RpcError, Rule};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Home, agrees};
use crate::flume::{all_sources, config, connect, devchain};
use crate::postgres;

const LOGS: &str = "eth_getLogs";

/// The demo's sources, announced from the start, and an audit that hurries and leaves the repair to a command: 21 reads are the
/// 315 final blocks of the first test.
fn sources() -> String {
    let audit = "[chain.audit]\nblocks = 15\nevery = \"20ms\"\nrepair = false\n";
    let announced = all_sources().replace("start_block = 0\n", "start_block = 0\npublish_from = \"start\"\n");
    format!("{audit}{announced}")
}

/// Until all blocks are stored, whether the audit has found something by then or not.
async fn until_stored(daemon: &Daemon, tip: u64) {
    daemon
        .until("stored", |_, report| {
            let sources = report["chains"]["dev"]["sources"].as_object();
            sources.is_some_and(|all| all.len() == 3 && all.values().all(|one| one["tip"] == json!(tip)))
        })
        .await;
}

async fn until_audited(daemon: &Daemon, to: u64) {
    daemon
        .until("audited", |_, report| {
            let sources = report["chains"]["dev"]["sources"].as_object().expect("sources");
            sources.len() == 3 && sources.values().all(|source| source["verifiedTo"] == json!(to))
        })
        .await;
}

fn counts(found: &Value, of: &str) -> u64 {
    found
        .as_array()
        .expect("sources")
        .iter()
        .map(|source| source[of]["count"].as_u64().expect("a count"))
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_omission_is_found_by_the_audit_and_repaired_live() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(81, 300).await;
    let lying = chain.faults().add(Rule::on(LOGS, Effect::Lie(Lie::DropEvery(7))));
    let home = Home::new(&server, &sources(), Some(&url));
    let daemon = home.start();
    until_stored(&daemon, 298).await;
    assert!(lying.fired() > 0);
    lying.lift();
    // What is not final yet is not looked at.
    chain.mine(30);
    until_stored(&daemon, 328).await;

    let report = daemon
        .until("found out", |_, report| {
            report["chains"]["dev"]["sources"]["token"]["differences"] != json!(0)
        })
        .await;
    assert_eq!(report["ready"], false, "what is stored differs, and delivery continues");
    let reasons = report["chains"]["dev"]["notReady"].to_string();
    assert!(reasons.contains("stored events of source token differ from the chain"), "{reasons}");
    let output = home.run(&["verify", "--json"]).await;
    let words =
        "stored events differ from the chain; compare with a node you trust, then run it again with --repair";
    assert_eq!(output.error(1), words);
    let found: Value = serde_json::from_str(&output.out).expect("json");
    let missing = counts(&found, "missing");
    assert!(missing > 10 && counts(&found, "surplus") + counts(&found, "differing") == 0, "{found}");

    let repaired = home.run(&["verify", "--repair"]).await.fine();
    assert!(repaired.contains("were missing and are there now"), "{repaired}");
    let again = home.run(&["verify", "--json"]).await.json();
    assert_eq!(counts(&again, "missing"), 0);
    agrees(&chain, &url, 328).await;
    until_audited(&daemon, 314).await;
    assert_eq!(
        daemon.metric("chainflume_audit_verified_block{chain=\"dev\",source=\"token\"}").await,
        Some(314.0)
    );
    assert_eq!(
        daemon.metric("chainflume_audit_differences{chain=\"dev\",source=\"token\"}").await,
        Some(0.0)
    );
    daemon.stop_well().await;
    let pool = connect(&url).await;
    let told: i64 = sqlx::query_scalar("select count(*) from outbox where type not like 'user.%'")
        .fetch_one(&pool)
        .await
        .expect("a count");
    let stored: i64 =
        sqlx::query_scalar("select count(*) from events").fetch_one(&pool).await.expect("a count");
    assert_eq!(told, stored, "events that are added late are published too");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_repairs_by_itself_what_receipts_prove() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(86, 120).await;
    let lying = chain.faults().add(Rule::on(LOGS, Effect::Lie(Lie::DropEvery(7))));
    let off = |method| {
        let error = RpcError::new(-32601, "the method does not exist/is not available");
        chain.faults().add(Rule::on(method, Effect::Error(error)))
    };
    let receipts = ["eth_getBlockReceipts", "eth_getTransactionReceipt"].map(off);
    let home = Home::new(&server, &sources().replace("repair = false\n", ""), Some(&url));
    let daemon = home.start();
    until_stored(&daemon, 118).await;
    assert!(lying.fired() > 0);
    lying.lift();
    chain.mine(30);
    until_stored(&daemon, 148).await;
    // Without a root nothing is proven, and nothing is changed.
    let differs = |_: u16, report: &Value| {
        let token = &report["chains"]["dev"]["sources"]["token"];
        token["differences"].as_u64() > Some(0) && report["ready"] == false
    };
    daemon.until("found out", differs).await;
    let repaired = async || {
        let of = |source| format!("chainflume_audit_repaired_total{{chain=\"dev\",source=\"{source}\"}}");
        let token = daemon.metric(&of("token")).await.unwrap_or_default();
        token + daemon.metric(&of("nft")).await.unwrap_or_default()
    };
    assert!(repaired().await.abs() < f64::EPSILON);
    receipts.into_iter().for_each(|receipts| receipts.lift());
    until_audited(&daemon, 134).await;
    let no_difference = |_: u16, report: &Value| {
        let chain = &report["chains"]["dev"];
        chain["sources"].as_object().is_some_and(|all| all.values().all(|one| one["differences"] == json!(0)))
            && !chain["notReady"].to_string().contains("differ")
    };
    daemon.until("no difference is left", no_difference).await;
    assert!(repaired().await > 1.0);
    daemon.stop_well().await;
    agrees(&chain, &url, 148).await;
    let pool = connect(&url).await;
    let differing =
        "select (select count(*) from outbox where type not like 'user.%') - (select count(*) from events)";
    let differing: i64 = sqlx::query_scalar(differing).fetch_one(&pool).await.expect("a count");
    assert_eq!(differing, 0, "what was added late is published");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_begins_with_a_small_question() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(85, 300).await;
    chain.faults().record();
    let audit = sources().replace("blocks = 15", "blocks = 95");
    // All is stored before the first look is taken.
    let home =
        Home::new(&server, &audit.replace("[chain.audit]", "[chain.audit]\nenabled = false"), Some(&url));
    let daemon = home.start();
    daemon.until_tip(298).await;
    daemon.stop_well().await;
    home.write(&crate::daemon::chain(&server, "", &audit), Some(&url));
    let daemon = home.start();
    until_audited(&daemon, 284).await;
    daemon.stop_well().await;
    // History is read for all three sources at once, the audit source by source.
    let number = |text: &Value| u64::from_str_radix(&text.as_str()?[2..], 16).ok();
    let width = |call: Request| {
        let asked = &call.params[0];
        let of_one = asked["address"].as_array().is_some_and(|addresses| addresses.len() == 1);
        let width = number(&asked["toBlock"])? + 1 - number(&asked["fromBlock"])?;
        (call.method == LOGS && of_one).then_some(width)
    };
    let widths: Vec<u64> = chain.faults().journal().into_iter().filter_map(width).collect();
    assert!(widths[0] <= 8 && widths.iter().any(|width| *width > 8), "{widths:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_provider_shows_the_audit_what_the_first_omits() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(84, 300).await;
    let other = chain.another_node();
    let other_server = other.serve("127.0.0.1:0").await.expect("a free port");
    let provider =
        |name: &str, url: String| format!("[[chain.provider]]\nname = \"{name}\"\nhttp = \"{url}\"\n");
    let providers = provider("one", server.http_url()) + &provider("other", other_server.http_url());
    let text = config(&server, &format!("ws = none\n{providers}"), &sources());
    let home = Home::bare();
    home.write(&text.replacen(&format!("http = \"{}\"\n", server.http_url()), "", 1), Some(&url));
    // It never stops doing so: another question would find that all agrees.
    let lying = chain.faults().add(Rule::on(LOGS, Effect::Lie(Lie::DropEvery(7))));
    let daemon = home.start();
    until_stored(&daemon, 298).await;
    chain.mine_empty(30);
    until_stored(&daemon, 328).await;
    assert!(lying.fired() > 0);
    let found = |_: u16, report: &Value| {
        let token = &report["chains"]["dev"]["sources"]["token"];
        token["differences"].as_u64() > Some(0)
    };
    // By then the header of a range's end may have shown what it is, so that the other one is asked for new blocks as well.
    daemon.until("found out", found).await;
    let repaired = home.run(&["verify", "--repair"]).await.fine();
    assert!(repaired.contains("were missing and are there now"), "{repaired}");
    agrees(&chain, &url, 328).await;
    until_audited(&daemon, 314).await;
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_below_final_lets_the_daemon_go_on_by_itself() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(82, 100).await;
    let home = Home::new(&server, &sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(98).await;
    assert_eq!(
        home.run(&["rewind"]).await.fine().split(", block").next(),
        Some("the node agrees up to the tip")
    );
    chain.reorg(40, 41);
    daemon.until("stopped", |_, report| report["chains"]["dev"]["state"] == "stopped").await;
    let error = daemon.until("reported", |_, _| true).await["chains"]["dev"]["lastError"].to_string();
    assert!(error.contains("`chainflume rewind`"), "{error}");

    // What the node has on the other branch is neither a difference nor added.
    let pool = connect(&url).await;
    let stored = async || -> (i64, i64) {
        let counts = "select (select count(*) from events), (select count(*) from outbox)";
        sqlx::query_as(counts).fetch_one(&pool).await.expect("counts")
    };
    let before = stored().await;
    for args in [
        &["verify"][..],
        &["verify", "--repair"],
        &["backfill", "--source", "token", "--from", "0", "--to", "80"],
    ] {
        let refused = home.run(args).await;
        assert!(refused.error(1).contains("run `chainflume rewind`"), "{refused:?}");
    }
    assert_eq!(stored().await, before);

    let found = home.run(&["rewind", "--json"]).await.json();
    let common = found["common"].as_u64().expect("a block");
    assert!(common <= 60 && found["tip"] == json!(98), "{found}");
    let refused = home.run(&["rewind", "--to", "84", "--yes"]).await;
    assert!(refused.error(1).contains("that block has to go as well"), "{refused:?}");
    assert_eq!(
        home.run(&["rewind", "--to", "60"]).await.error(64),
        "there is no terminal to ask on; add --yes"
    );
    let done = home.run(&["rewind", "--to", &common.to_string(), "--yes"]).await.fine();
    assert!(done.starts_with(&format!("{} blocks and ", 98 - common)), "{done}");
    daemon.until_tip(99).await;
    let status = home.run(&["status", "--json"]).await.json();
    assert_eq!(status["reorgs"][0]["reason"], "rewind");
    daemon.stop_well().await;
    agrees(&chain, &url, 99).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_common_block_is_found_above_a_source_that_starts_midway() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(83, 100).await;
    let home = Home::new(&server, &all_sources().replace("start_block = 0", "start_block = 50"), Some(&url));
    let daemon = home.start();
    daemon.until_tip(98).await;
    daemon.stop_well().await;
    chain.reorg(40, 41);
    let common = home.run(&["rewind", "--json"]).await.json()["common"].as_u64();
    assert!(common.is_some_and(|common| (50..=60).contains(&common)), "{common:?}");
}
