//! What the commands that ask a node print where it lies, hangs or lags: an exit code, what is wrong, and the remedy.

use std::time::{Duration, Instant};

use chainflume_devchain::{DEMO_TOKEN, DevChain, Effect, RpcError, Rule, Server, Settings, Wire};
use chainflume_ops::text::is_unprintable;
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::daemon::Home;
use crate::flume::{all_sources, devchain, source};
use crate::postgres;

/// A node, and a database that has its blocks up to 58.
async fn stored(seed: u64) -> (DevChain, Server, Home) {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(seed, 60).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(58).await;
    daemon.stop_well().await;
    (chain, server, home)
}

const COMMANDS: [&[&str]; 5] = [
    &["check"],
    &["verify"],
    &["backfill", "--source", "token", "--from", "0", "--to", "40"],
    &["rewind"],
    &["rewind", "--to", "50", "--yes"],
];

fn body(text: &str) -> Effect {
    Effect::Wire(Wire::Status { status: 200, headers: Vec::new(), body: text.to_owned() })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_names_the_fault_of_the_node_and_the_remedy() {
    let (chain, _server, home) = stored(210).await;
    let stranger = DevChain::new(Settings { chain_id: 1, seed: 7, history: 30, ..Settings::default() });
    let steering = RpcError::new(-32000, "\u{1b}[2Jno\u{202e}de\r\nok   chain dev");
    let lies = [
        (Effect::Stranger(stranger), 78, "the configuration has chain_id = 31337; correct one of the two"),
        (Effect::Wire(Wire::page()), 69, "it is a web page: check the url, and what answers there"),
        (body("Welcome"), 69, "it is no JSON: check the url, and what answers there"),
        (body("{{{{"), 69, "line 1 column 2): check the url, and what answers there"),
        (body(""), 69, "it is empty: check the url, and what answers there"),
        (Effect::Null, 69, "null instead of a result"),
        (Effect::Error(steering), 69, "eth_chainId refused: [2Jnode ok chain dev (code -32000)"),
        (Effect::Wire(Wire::Close), 69, "if that repeats, check scheme and port of the url"),
        (Effect::Wire(Wire::Hang), 69, "within 2 s; check the node, or raise `request_timeout`"),
        (Effect::Wire(Wire::Oversize(8 << 20)), 69, "is larger than 1048576 bytes"),
    ];
    for (lie, code, words) in lies {
        let lying = chain.faults().add(Rule::any(lie));
        let runs = join_all(COMMANDS.map(|command| home.run(command))).await;
        for (output, command) in runs.iter().zip(COMMANDS) {
            assert!(output.error(code).contains(words), "{command:?}: {words}: {output:#?}");
            let printed = format!("{}{}", output.out, output.err);
            assert!(!printed.contains(|c| c != '\n' && is_unprintable(c)), "{command:?}: {printed:?}");
        }
        lying.lift();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_headers_contradict_its_logs_is_named() {
    let (chain, _server, home) = stored(211).await;
    chain.faults().add(Rule::on(
        "eth_getBlockByNumber",
        Effect::edit(|block| {
            if block["number"] != "0x0" {
                block["hash"] = serde_json::json!(format!("0x{}", "ee".repeat(32)));
            }
        }),
    ));
    let output = home.run(&["check"]).await;
    assert_eq!(output.error(69), "a node cannot be used; see above", "{output:#?}");
    assert!(output.out.contains("FAIL "), "{output:#?}");
    let output = home.run(&["rewind"]).await.fine();
    assert!(output.contains("Use a node of the stored chain that keeps old blocks"), "{output}");
    let output = home.run(&["rewind", "--to", "50", "--yes"]).await;
    assert!(output.error(1).contains("that block has to go as well"), "{output:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lags_is_no_reason_to_take_anything_back() {
    let (chain, _server, home) = stored(212).await;
    chain.faults().set(|behaviour| behaviour.lag = 40);
    let checked = home.run(&["check"]).await.fine();
    let lags = "warn chain dev: the head of the node is block 20, 38 blocks below the newest stored block: the node lags";
    assert!(checked.contains(lags), "{checked}");
    let looked = home.run(&["rewind"]).await.fine();
    assert!(looked.starts_with("the head of the node is block 20, below the tip, block 58 (0x"), "{looked}");
    assert!(looked.ends_with("agree on is block 20; use a node that has the tip\n"), "{looked}");
    assert!(!looked.contains("rewind --to"), "{looked}");
    let output = home.run(&["rewind", "--json"]).await.json();
    assert_eq!(output, serde_json::json!({ "common": 20, "head": 20, "tip": 58 }));
    let output = home.run(&["rewind", "--to", "50", "--yes"]).await;
    assert!(
        output.error(1).ends_with("has no block 50: wait until it has synced, or use another node"),
        "{output:#?}"
    );
    chain.faults().clear();
    let looked = home.run(&["rewind"]).await.fine();
    assert!(looked.starts_with("the node agrees up to the tip, block 58"), "{looked}");
}

/// With one question at a time, a slow node and hundreds of sources take minutes.
#[tokio::test(flavor = "multi_thread")]
async fn check_looks_at_as_many_sources_at_once_as_the_node_takes() {
    const AT_ONCE: u64 = 4;
    let (chain, server) = devchain(213, 20).await;
    let url = postgres::empty_database().await;
    let names: Vec<String> = (0..12).map(|n| format!("s{n:02}")).collect();
    let sources = names.iter().enumerate();
    let sources: String =
        sources.map(|(n, name)| source(name, "erc20", format!("0x{:040x}", 0x9000 + n), 0)).collect();
    let home = Home::new(&server, &sources, Some(&url));
    home.rewrite(
        "request_timeout = \"2s\"",
        &format!("request_timeout = \"60s\"\npace.max_concurrent = {AT_ONCE}"),
    );
    let answered = CancellationToken::new();
    chain.faults().add(Rule::on("eth_getCode", Effect::Until(answered.clone())));
    let asked = async {
        let deadline = Instant::now() + Duration::from_secs(60);
        while chain.calls("eth_getCode") < AT_ONCE {
            assert!(Instant::now() < deadline, "{} at once", chain.calls("eth_getCode"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(chain.calls("eth_getCode"), AT_ONCE);
        answered.cancel();
    };
    let (output, ()) = tokio::join!(home.run(&["check"]), asked);
    let text = output.fine();
    let found = text.lines().filter_map(|line| line.strip_prefix("warn source ")?.split_once(": "));
    let found: Vec<(&str, bool)> = found.map(|(name, what)| (name, what.contains("has no code"))).collect();
    let expected: Vec<(&str, bool)> = names.iter().map(|name| (name.as_str(), true)).collect();
    assert_eq!(found, expected, "{text}");
}

const REREAD: [&[&str]; 2] = [
    &["verify", "--source", "token", "--give-up-after", "1s"],
    &["backfill", "--source", "token", "--from", "0", "--to", "40", "--give-up-after", "1s"],
];

/// A daemon waits for such a node. A person waits for the command.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_ends_where_its_only_node_fails_midway() {
    let (chain, _server, home) = stored(214).await;
    let elsewhere = Effect::edit(|logs| {
        for log in logs.as_array_mut().into_iter().flatten() {
            log["address"] = serde_json::json!(format!("0x{}", "ee".repeat(20)));
        }
    });
    for (lie, words) in [
        (elsewhere, "bad answer to eth_getLogs"),
        (Effect::Wire(Wire::Close), "bad answer to eth_getLogs: the connection ended before the answer came"),
        (Effect::Error(RpcError::new(-32000, "no such day")), "eth_getLogs refused: no such day"),
    ] {
        let lying = chain.faults().add(Rule::on("eth_getLogs", lie));
        for (output, command) in join_all(REREAD.map(|command| home.run(command))).await.iter().zip(REREAD) {
            let error = output.error(69);
            assert!(error.starts_with("127.0.0.1") && error.contains(words), "{command:?}: {output:#?}");
            assert!(error.contains("; blocks ") && error.contains(" times within "), "{output:#?}");
            assert!(
                error.ends_with("or add another [[chain.provider]], then run the command again"),
                "{error}"
            );
        }
        lying.lift();
    }
    for command in REREAD {
        home.run(command).await.fine();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_reports_a_node_that_leaves_logs_out() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(215, 60).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    home.rewrite("request_timeout", "verify = \"off\"\nrequest_timeout");
    let silent =
        |method| chain.faults().add(Rule::on(method, Effect::edit(|list| *list = serde_json::json!([]))));
    let logs = silent("eth_getLogs");
    let daemon = home.start();
    daemon.until_tip(58).await;
    daemon.stop_well().await;

    // Without a check of headers only the command's own look at them is left.
    let output = home.run(REREAD[1]).await;
    home.rewrite("verify = \"off\"\n", "");
    assert_eq!(output.out, "blocks 0..=40: 0 events added, 0 were there\n", "{output:#?}");
    assert!(output.err.contains("note: the node returned no event"), "{output:#?}");
    let receipts = silent("eth_getBlockReceipts");
    let output = home.run(REREAD[1]).await;
    assert_eq!(output.out, "blocks 0..=40: 0 events added, 0 were there\n", "{output:#?}");
    let words =
        "warning: the node returned no event, and it is not known whether this is true: the header of block ";
    assert!(output.err.contains(words) && output.code == Some(0), "{output:#?}");
    assert!(output.err.contains("do not have the root of its header; if you expect"), "{output:#?}");
    receipts.lift();
    logs.lift();

    let added = home.run(REREAD[1]).await.fine();
    assert!(added.ends_with(" events added, 0 were there\n") && !added.contains(": 0 events"), "{added}");
    let (_logs, _receipts) = (silent("eth_getLogs"), silent("eth_getBlockReceipts"));
    let output = home.run(REREAD[1]).await;
    let error = output.error(1);
    assert!(error.contains(" stored events of these blocks are not among them: "), "{output:#?}");
    assert!(error.ends_with("another node, and `chainflume verify --source token`"), "{error}");
    assert!(!output.err.contains("is stored"), "a command of this kind stores no such answer: {output:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_reads_for_long_reports_its_progress() {
    let (chain, _server, home) = stored(216).await;
    home.rewrite("request_timeout = \"2s\"", "request_timeout = \"60s\"");
    let answered = CancellationToken::new();
    chain.faults().add(Rule::on("eth_getLogs", Effect::Until(answered.clone())));
    let waited = async {
        tokio::time::sleep(Duration::from_secs(23)).await;
        answered.cancel();
    };
    let (output, ()) = tokio::join!(home.run(&["verify", "--source", "token"]), waited);
    let lines: Vec<&str> = output.err.lines().filter(|line| line.contains(" blocks read (0..=")).collect();
    assert!(lines.len() == 2 && lines[0].starts_with("token: 0 of "), "{output:#?}");
    assert_eq!(output.code, Some(0), "{output:#?}");
}

/// Each that hangs has its own timeout. One after the other, or asked again, they would take half a minute.
#[tokio::test(flavor = "multi_thread")]
async fn check_waits_once_for_all_that_hangs() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(217, 20).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("it is bound");
    let hooks =
        format!("[[webhook]]\nname = \"crm\"\nurl = \"http://{address}/\"\nallow_hosts = [\"127.0.0.1\"]\n");
    let second = crate::daemon::chain(&server, "", &source("far", "erc20", DEMO_TOKEN, 0))
        .replace("\"dev\"", "\"other\"")
        .replace("31337", "31338");
    let sources = format!(
        "{}\n{second}\n{hooks}timeout = \"4s\"\nsecret = \"whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0\"\n",
        all_sources()
    );
    let home = Home::new(&server, &sources, Some(&url));
    home.rewrite("request_timeout = \"2s\"", "request_timeout = \"4s\"");
    chain.faults().add(Rule::any(Effect::Wire(Wire::Hang)));
    let output = home.run(&["check"]).await;
    assert_eq!(output.code, Some(69), "{output:#?}");
    assert_eq!(output.out.matches("no answer to eth_chainId within 4 s").count(), 2, "{output:#?}");
    assert!(output.out.contains("webhook crm: "), "{output:#?}");
    assert!(output.took < Duration::from_secs(8), "{output:#?}");
}
