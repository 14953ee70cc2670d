//! The reader of the log may stop, go away or have no room: the work goes on.

use std::fs::File;
use std::io::{PipeWriter, Read, Write, pipe};
use std::time::Duration;

use chainflume_devchain::{DevChain, Effect, RpcError, Rule, Server};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Home, agrees};
use crate::flume::{all_sources, devchain};
use crate::postgres;
use crate::wait::until_ok_within;

/// A chain, a daemon's home on it and its database.
async fn house(seed: u64, blocks: u64) -> (DevChain, Server, Home, String) {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(seed, blocks).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    (chain, server, home, url)
}

/// Waits until all is well with the chain, whatever the log does.
async fn until_live(daemon: &Daemon, tip: u64) {
    let at = |_: u16, report: &Value| {
        let dev = &report["chains"]["dev"];
        let sources = dev["sources"].as_object();
        dev["notReady"] == json!([]) && sources.is_some_and(|all| all.values().all(|one| one["tip"] == tip))
    };
    daemon.until(&format!("live at block {tip}"), at).await;
}

/// A failure, a recovery and a reorg, each of which is logged, and all is stored afterwards.
async fn goes_on(daemon: &Daemon, chain: &DevChain) {
    chain.faults().add(Rule::any(Effect::Error(RpcError::new(-32000, "out of order"))).times(6));
    chain.mine(5);
    until_live(daemon, chain.head().number - 2).await;
    chain.reorg(5, 6);
    until_live(daemon, chain.head().number - 2).await;
}

/// Lines are lost: readiness is red and names it, and the watchdog does not end a daemon whose work goes on.
async fn is_red_for_its_log(daemon: &Daemon) {
    let says_so = |status: u16, report: &Value| {
        let reason = report["loops"]["log"]["notReady"][0].as_str().unwrap_or_default();
        status == 503 && reason.contains("log lines are lost: stderr accepts none")
    };
    daemon.until("red for its log", says_so).await;
    assert_eq!(daemon.get("/livez").await.0, 200);
}

async fn lost(daemon: &Daemon, reason: &str) -> f64 {
    let sample = format!("chainflume_log_lines_lost_total{{reason=\"{reason}\"}}");
    daemon.metric(&sample).await.expect("it starts at zero")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_log_that_goes_away_stops_nothing() {
    let (chain, _server, home, url) = house(95, 50).await;
    let (mut reader, writer) = pipe().expect("a pipe");
    let daemon = home.start_into(&["run"], writer);
    let first = tokio::task::spawn_blocking(move || reader.read(&mut [0; 64]).expect("it is ours"));
    assert!(first.await.expect("it reads") > 0);
    until_live(&daemon, 48).await;
    goes_on(&daemon, &chain).await;
    assert!(lost(&daemon, "failed").await > 0.0);
    is_red_for_its_log(&daemon).await;
    daemon.stop_well().await;
    agrees(&chain, &url, chain.head().number - 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_on_a_full_disk_stops_nothing() {
    let (chain, _server, home, url) = house(96, 50).await;
    let full = || File::options().write(true).open("/dev/full").expect("Linux has one");
    let daemon = home.start_into(&["run"], full());
    until_live(&daemon, 48).await;
    goes_on(&daemon, &chain).await;
    assert!(lost(&daemon, "failed").await > 0.0);
    is_red_for_its_log(&daemon).await;
    daemon.stop_well().await;
    agrees(&chain, &url, chain.head().number - 2).await;

    home.rewrite("listen = ", "listen_at = ");
    let mut refused = home.start_into(&["run"], full());
    assert_eq!(
        refused.ended(Duration::from_secs(60)).await,
        Some(78),
        "its error cannot be read, its code can"
    );
}

/// Writes until the pipe takes no more.
fn fill(pipe: &mut PipeWriter) {
    let blocking = fcntl_getfl(&*pipe).expect("it is ours");
    fcntl_setfl(&*pipe, blocking | OFlags::NONBLOCK).expect("it is ours");
    while pipe.write(&[b'.'; 4096]).is_ok() {}
    while pipe.write(b".").is_ok() {}
    fcntl_setfl(&*pipe, blocking).expect("it is ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_log_that_is_stopped_holds_up_nothing() {
    let (chain, _server, home, url) = house(97, 5_000).await;
    home.rewrite(
        "chain_id = 31337",
        "chain_id = 31337\nhistory = { commit_logs = 0, initial_range = 1, max_range = 1 }",
    );
    let (mut reader, mut writer) = pipe().expect("a pipe");
    fill(&mut writer);
    // A line for each block, which is soon more than may wait.
    let daemon = home.start_into(&["--log-level", "debug", "run"], writer);
    until_ok_within(Duration::from_secs(300), "lines of the log are lost", async || {
        daemon.try_get("/livez").await.ok_or("no answer")?;
        if lost(&daemon, "full").await > 0.0 { Ok(()) } else { Err("none is lost") }
    })
    .await;
    is_red_for_its_log(&daemon).await;
    // It is read again: what waited comes, and then the loss is reported.
    let (reported, is_told) = tokio::sync::oneshot::channel();
    let log = tokio::task::spawn_blocking(move || {
        let (mut log, mut reported) = (Vec::new(), Some(reported));
        let mut chunk = [0; 4096];
        while let Ok(bytes @ 1..) = reader.read(&mut chunk) {
            log.extend_from_slice(&chunk[..bytes]);
            if log.windows(7).any(|part| part == b"\"lost\":")
                && let Some(reported) = reported.take()
            {
                reported.send(()).expect("it is waited for");
            }
        }
        String::from_utf8(log).expect("text")
    });
    tokio::time::timeout(Duration::from_secs(120), is_told)
        .await
        .expect("it is reported")
        .expect("it is read");
    let takes_lines = |_: u16, report: &Value| report["loops"]["log"].is_null();
    daemon.until("no more lost", takes_lines).await;
    daemon.stop_well().await;
    let log = log.await.expect("it is read");
    assert!(
        log.trim_end().lines().last().is_some_and(|line| line.contains("\"daemon stopped\"")),
        "flushed at the end"
    );

    home.rewrite("initial_range = 1, max_range = 1 ", "initial_range = 1000, max_range = 1000 ");
    let (_stopped, mut writer) = pipe().expect("a pipe");
    fill(&mut writer);
    let daemon = home.start_into(&["run"], writer);
    daemon.until_tip(4_998).await;
    goes_on(&daemon, &chain).await;
    daemon.stop_well().await;
    agrees(&chain, &url, chain.head().number - 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_reader_goes_away_ends_in_silence() {
    let (_chain, _server, home, _url) = house(98, 5).await;
    for arguments in [&["status"][..], &["views"], &["migrate"], &["schema"], &["help"]] {
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        let mut command = home.configured(arguments);
        command.stdout(writer.try_clone().expect("a descriptor")).stderr(writer);
        let mut ended = Daemon::new(command, 0);
        assert_eq!(ended.ended(Duration::from_secs(60)).await, Some(0), "{arguments:?}");
    }
}
