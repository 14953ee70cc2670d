//! A standby has another configuration than the leader, and takes over: every change there is, and its reverse.

use futures_util::future::join_all;
use serde_json::Value;

use super::week::{Change, changes, names, stored};
use super::{mine, run, scene, texts};
use crate::daemon::{Daemon, Home, chain};
use crate::postgres;
use crate::scene::Scene;

/// Changes that are tried at a time: each runs two daemons.
const AT_A_TIME: usize = 3;

fn home(scene: &Scene, name: &str, sources: &str) -> Home {
    let home = Home::bare();
    let sources = sources.replace("abi/", concat!(env!("CARGO_MANIFEST_DIR"), "/abi/"));
    let keys = format!("[standby]\nname = \"{name}\"\n");
    home.write(&(keys + &chain(&scene.server, "", &sources)), Some(&scene.url));
    home
}

/// Waits until a daemon leads and has everything of these sources up to the confirmed head.
async fn until_whole(daemon: &Daemon, scene: &Scene, change: &Change, sources: &[&str]) -> Value {
    let tip = scene.chain.head().number - 2;
    let has_all = |_: u16, report: &Value| {
        let of = |name: &str| &report["chains"]["dev"]["sources"][name];
        let is_followed =
            |name: &str| ["following", "partly_blocked"].iter().any(|state| of(name)["state"] == *state);
        sources.iter().all(|name| of(name)["tip"] == tip && of(name)["unread"].is_null() && is_followed(name))
    };
    daemon.until(&format!("{}: had all of {sources:?}", change.what), has_all).await
}

/// The leader runs with `before` and stops, the standby with `after` takes over. Then the first one takes over again.
async fn takes_over(change: Change) {
    let scene = scene(40).await;
    let (one, two) = (home(&scene, "one", &change.before), home(&scene, "two", &change.after));
    let stands_by = |_: u16, report: &Value| report["chains"]["dev"]["state"] == "standby";
    let first = one.start();
    until_whole(&first, &scene, &change, &names(&change.before)).await;
    let second = two.start();
    second.until("a standby", stands_by).await;
    mine(&scene, 5);
    until_whole(&first, &scene, &change, &names(&change.before)).await;
    let at_first = stored(&scene).await;

    first.stop_well().await;
    mine(&scene, 5);
    let report = until_whole(&second, &scene, &change, change.whole).await;
    match change.blocked {
        Some((name, remedy)) => {
            let state = report["chains"]["dev"]["sources"][name]["state"].to_string();
            assert!(state.contains("blocked"), "{}: {name} is {state}", change.what);
            let reasons = report["chains"]["dev"]["notReady"].to_string();
            assert!(reasons.contains(remedy), "{}: {reasons}", change.what);
        }
        None => drop(until_whole(&second, &scene, &change, &names(&change.after)).await),
    }
    let later = stored(&scene).await;
    assert!(
        later.is_superset(&at_first) && later.len() > at_first.len(),
        "{}: something is gone",
        change.what
    );

    let first = one.start();
    first.until("a standby", stands_by).await;
    second.stop_well().await;
    mine(&scene, 5);
    until_whole(&first, &scene, &change, &names(&change.before)).await;
    first.stop_well().await;
    assert!(stored(&scene).await.is_superset(&later), "{}: something is gone on the way back", change.what);
    assert_eq!(texts(&scene, "select count(*)::text from orphaned_events").await, ["0"], "{}", change.what);
    let retracted = "select count(*)::text from outbox where message::jsonb->>'state' = 'retracted'";
    assert_eq!(texts(&scene, retracted).await, ["0"], "{}", change.what);
    run(&scene, &change.widest, &names(&change.widest)).await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_with_any_other_sources_loses_and_retracts_nothing() {
    let mut changes = changes();
    while !changes.is_empty() {
        let some = changes.split_off(changes.len().saturating_sub(AT_A_TIME));
        join_all(some.into_iter().map(takes_over)).await;
        postgres::sweep_up();
    }
}
