//! Every row of changes, in pairs, while live and while down: the end is what a fresh sync gives.

use futures_util::future::join_all;

use super::{A, B, BOTH, TRANSFER, mine, other, run, scene, source, source_of, until_whole};
use crate::daemon::Home;
use crate::flume::connect;
use crate::postgres;

/// What `usd` may be configured as.
fn rows() -> [String; 5] {
    [
        source("usd", &[A], TRANSFER),
        source("usd", &[A, B], TRANSFER),
        source("usd", &[A], BOTH),
        source("usd", &[B], TRANSFER),
        source_of("usd", &[A], (TRANSFER, 30, "erc20")),
    ]
}

/// One configuration, another one, and at last all that any of them follows.
async fn pair(first: String, second: String) {
    let scene = scene(50).await;
    run(&scene, &(first + &other()), &["usd", "other"]).await;
    // A week goes by.
    mine(&scene, 40);
    let flume = scene.start_with("", &(second + &other())).await;
    for _ in 0..4 {
        mine(&scene, 3);
    }
    until_whole(&flume, "usd", 100).await;
    flume.stop().await;
    mine(&scene, 2);
    run(&scene, &(source("usd", &[A, B], BOTH) + &other()), &["usd", "other"]).await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_two_changes_end_as_a_fresh_sync_does() {
    let rows = rows();
    let mut pairs = Vec::new();
    for (i, first) in rows.iter().enumerate() {
        let others = rows.iter().enumerate().filter(|(j, _)| *j != i);
        pairs.extend(others.map(|(_, second)| (first.clone(), second.clone())));
    }
    for some in pairs.chunks(4) {
        join_all(some.iter().map(|(first, second)| pair(first.clone(), second.clone()))).await;
        crate::postgres::sweep_up();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_with_other_sources_reads_them_once_it_leads() {
    let scene = scene(60).await;
    let url = postgres::empty_database().await;
    let home = |name: &str, sources: &str| {
        let home = Home::bare();
        let chain = crate::daemon::chain(&scene.server, "", sources);
        home.write(&format!("[standby]\nname = \"{name}\"\n{chain}"), Some(&url));
        home
    };
    let (one, two) = (
        home("one", &(source("usd", &[A], TRANSFER) + &other())),
        home("two", &(source("usd", &[A, B], BOTH) + &other())),
    );
    let first = one.start();
    first.until_tip(58).await;
    let second = two.start();
    let stands_by = |_, report: &serde_json::Value| report["chains"]["dev"]["state"] == "standby";
    second.until("a standby", stands_by).await;
    mine(&scene, 5);
    first.until_tip(63).await;
    first.stop_well().await;
    mine(&scene, 5);
    let is_whole = |_, report: &serde_json::Value| {
        let usd = &report["chains"]["dev"]["sources"]["usd"];
        usd["tip"] == 68 && usd["state"] == "following"
    };
    second.until("it has read what is new", is_whole).await;
    second.stop_well().await;
    let pool = connect(&url).await;
    let by_contract =
        "select concat_ws(' ', encode(address, 'hex'), count(*)) from events group by address order by 1";
    let counts: Vec<String> = sqlx::query_scalar(by_contract).fetch_all(&pool).await.expect("reads");
    let line = |byte: &str, count: u64| format!("{} {count}", byte.repeat(20));
    assert_eq!(counts, [line("a1", 2 * 68), line("b2", 68), line("c3", 68)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_status_name_differences_and_a_start_goes_on() {
    let scene = scene(60).await;
    let url = postgres::empty_database().await;
    let home = Home::new(&scene.server, &(source("usd", &[A], TRANSFER) + &other()), Some(&url));
    let daemon = home.start();
    daemon.until_tip(58).await;
    daemon.stop_well().await;
    assert!(!home.run(&["check"]).await.fine().contains("source usd reads"));

    home.rewrite("name = \"usd\"", "name = \"usdc\"");
    let output = home.run(&["check"]).await;
    let text = output.error(78).to_owned();
    assert!(text.contains("another configuration"), "{text}");
    let status = home.run(&["status"]).await.fine();
    assert!(status.contains("`chainflume sources rename usd usdc`"), "{status}");
    home.run(&["check", "--start"]).await.fine();
    let daemon = home.start();
    let others_go_on = |status, report: &serde_json::Value| {
        let chain = &report["chains"]["dev"];
        status == 503
            && chain["sources"]["usdc"]["state"] == "blocked"
            && chain["sources"]["other"]["tip"] == 58
    };
    let report = daemon.until("blocked usdc alone", others_go_on).await;
    let reasons = report["chains"]["dev"]["notReady"].to_string();
    assert!(reasons.contains("sources rename usd usdc"), "{reasons}");
    daemon.stop_well().await;

    home.rewrite("name = \"usdc\"", "name = \"usd\"");
    home.rewrite("events = [\"Transfer\"]\nstart_block = 0\n[[source]]", "start_block = 0\n[[source]]");
    let text = home.run(&["check"]).await.fine();
    assert!(
        text.contains(
            "source usd reads the past of event Approval(address,address,uint256): blocks 0 to 58, 59 left"
        ),
        "{text}"
    );
    let status = home.run(&["status", "--json"]).await.json();
    assert_eq!(status["differences"][0]["unread"], true);
}
