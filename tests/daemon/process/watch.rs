use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::daemon::Home;
use crate::flume::{all_sources, connect, devchain};
use crate::postgres;

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_without_a_terminal_prints_pictures_one_by_one() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(93, 60).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(58).await;

    let mut watch = home.start_as(&["status", "--watch=200ms", "--json"], &[]);
    watch.until_printed("\"tip\":58").await;
    chain.mine(2);
    watch.until_printed("\"tip\":60").await;
    daemon
        .until("has a pace", |_, report| {
            report["chains"]["dev"]["sources"]["nft"]["blocksPerSecond"].is_f64()
        })
        .await;
    daemon.stop_well().await;
    watch.until_printed("{\"daemon\":null").await;
    watch.signal(rustix::process::Signal::INT);
    assert_eq!(watch.ended(Duration::from_secs(10)).await, Some(0));
    let lines: Vec<serde_json::Value> =
        watch.printed().lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!(lines[0]["daemon"]["chains"]["dev"]["provider"], server.address().to_string());
}

/// The chain's line once it is caught up.
const LIVE: &str = "dev    live";

/// On a terminal of its own, which `script` makes: what the terminal was sent.
fn on_a_terminal(home: &Home, shell: &str, until: &str) -> String {
    let log = home.path("typescript");
    let mut script = Command::new("script")
        .args(["-q", "-f", "-e", "-c", shell])
        .arg(&log)
        .env("CHAINFLUME_CONFIG", home.path("chainflume.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("script is part of every Debian (bsdutils)");
    let mut keyboard = script.stdin.take().expect("piped");
    let read = || String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while !read().contains(until) {
        assert!(std::time::Instant::now() < deadline, "{}", read());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    keyboard.write_all(b"typed\r\x03").expect("it reads");
    script.wait().expect("it is ours");
    read()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_on_a_terminal_stays_in_place_and_leaves_it_as_it_was() {
    let url = postgres::empty_database().await;
    let (_chain, server) = devchain(94, 20).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(18).await;
    // Ctrl-C is for all processes on the terminal; the shell prints how the watch ended.
    let shell = format!(
        "trap : INT; stty rows 14 cols 70; {} status --watch=200ms; echo \"ended $?\"; stty -a",
        env!("CARGO_BIN_EXE_chainflume")
    );
    let shown = tokio::task::block_in_place(|| on_a_terminal(&home, &shell, LIVE));
    let (_, inside) = shown.split_once("\u{1b}[?1049h").expect("it takes the second page");
    let (inside, after) = inside.rsplit_once("\u{1b}[?1049l").expect("it gives it back");
    let pages: Vec<&str> = inside.split("\u{1b}[H").skip(1).collect();
    assert!(pages.iter().all(|page| page.matches('\n').count() < 14), "{pages:#?}");
    assert!(pages.iter().all(|page| page.starts_with("chainflume status, 2")), "{pages:#?}");
    // A page of a daemon that was asked too late shows it.
    assert!(pages.iter().any(|page| page.contains(LIVE) && page.contains("vault")), "{pages:#?}");
    assert!(!inside.contains("typed"), "what is typed is not shown");
    assert!(after.contains("ended 0"), "{after}");
    assert!(after.contains(" echo ") && after.contains("susp = ^Z"), "{after}");
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_waits_for_no_lock() {
    let url = postgres::empty_database().await;
    let (_chain, server) = devchain(95, 5).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(3).await;
    daemon.stop_well().await;
    let pool = connect(&url).await;
    let mut holder = pool.begin().await.expect("a transaction");
    sqlx::query("lock table sources in access exclusive mode").execute(&mut *holder).await.expect("locked");
    let output = home.run(&["status"]).await;
    let error = output.error(69);
    assert!(error.contains("canceling statement due to statement timeout"), "{error}");
    assert!(output.took < Duration::from_secs(30), "{:?}", output.took);
}
