//! The daemon is down for a week, and starts with another configuration: every change there is, and its reverse. Meanwhile the
//! chain moves on by many reorg windows.

use std::collections::BTreeSet;

use chainflume_devchain::Settings;
use futures_util::future::join_all;

use super::{A, B, BOTH, C, TRANSFER, mine, of, other, run, source, source_of, texts};
use crate::postgres;
use crate::scene::Scene;

/// Blocks of a week: ten reorg windows.
const WEEK: u64 = 7 * 24;
/// Seconds from one block to the next.
const BLOCK_TIME: u64 = 3_600;

/// A change, and what is to become of it.
pub struct Change {
    pub what: &'static str,
    /// The configurations before and after.
    pub before: String,
    pub after: String,
    /// The configuration that follows all that any of them follows and none holds for another.
    pub widest: String,
    /// Sources that have everything once the daemon ran with `after`.
    pub whole: &'static [&'static str],
    /// The source that waits for an operator, and the command that it names.
    pub blocked: Option<(&'static str, &'static str)>,
}

/// Two configurations of which neither blocks the other: what is new is read, what is gone stays.
fn read(what: [&'static str; 2], narrow: &str, wide: &str) -> [Change; 2] {
    let (narrow, wide) = (narrow.to_owned() + &other(), wide.to_owned() + &other());
    let change = |what, before: &String, after: &String| Change {
        what,
        before: before.clone(),
        after: after.clone(),
        widest: wide.clone(),
        whole: &["usd", "other"],
        blocked: None,
    };
    [change(what[0], &narrow, &wide), change(what[1], &wide, &narrow)]
}

/// One that an operator has to decide about.
fn waits(
    what: &'static str,
    [before, after]: [String; 2],
    whole: &'static [&'static str],
    blocked: (&'static str, &'static str),
) -> Change {
    Change { what, widest: before.clone(), before, after, whole, blocked: Some(blocked) }
}

pub fn changes() -> Vec<Change> {
    let usd = |addresses: &[_], events| source("usd", addresses, events);
    let from = |start| source_of("usd", &[A], (TRANSFER, start, "erc20"));
    let mut all: Vec<Change> = Vec::new();
    all.extend(read(["an address more", "an address less"], &usd(&[A], TRANSFER), &usd(&[A, B], TRANSFER)));
    all.extend(read(["an event more", "an event less"], &usd(&[A], TRANSFER), &usd(&[A], BOTH)));
    all.extend(read(["a lower start", "a higher start"], &from(30), &from(0)));
    all.extend(for_an_operator());
    all
}

/// Changes after which a source waits for a command.
fn for_an_operator() -> [Change; 8] {
    let generic = || source_of("usd", &[A], (TRANSFER, 0, "generic")) + &other();
    let named = |name| source(name, &[A], TRANSFER) + &other();
    let apart = || source("usd", &[A], TRANSFER) + &source("eur", &[B], TRANSFER) + &other();
    let joined = || source("usd", &[A, B], TRANSFER) + &other();
    let moved = || source("usd", &[A], TRANSFER) + &source("other", &[B, C], TRANSFER);
    [
        waits(
            "another name",
            [named("usd"), named("usdc")],
            &["other"],
            ("usdc", "`chainflume sources rename usd usdc`"),
        ),
        waits(
            "the old name again",
            [named("usdc"), named("usd")],
            &["other"],
            ("usd", "`chainflume sources rename usdc usd`"),
        ),
        waits(
            "family erc20",
            [generic(), named("usd")],
            &["other"],
            ("usd", "`chainflume sources reset usd`"),
        ),
        waits(
            "family generic",
            [named("usd"), generic()],
            &["other"],
            ("usd", "`chainflume sources reset usd`"),
        ),
        waits(
            "a contract moves here",
            [moved(), joined()],
            &["usd", "other"],
            ("usd", "`chainflume sources reset other`"),
        ),
        waits(
            "a contract moves away",
            [joined(), moved()],
            &["usd", "other"],
            ("other", "`chainflume sources reset usd`"),
        ),
        waits(
            "two sources become one",
            [apart(), joined()],
            &["usd", "other"],
            ("usd", "`chainflume sources remove eur`"),
        ),
        waits(
            "one source becomes two",
            [joined(), apart()],
            &["usd", "other"],
            ("eur", "`chainflume sources reset usd`"),
        ),
    ]
}

/// Every event that is stored.
pub async fn stored(scene: &Scene) -> BTreeSet<String> {
    let ids = "select event_id(chain_id, block_number, block_hash, tx_index, log_index)::text from events";
    texts(scene, ids).await.into_iter().collect()
}

/// The names of all sources of a configuration.
pub fn names(sources: &str) -> Vec<&str> {
    sources.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect()
}

/// The daemon runs with `before`, is down for a week, runs with `after`, is down for another week, and runs with `before` again.
/// Nothing that was stored is taken back, and the end is what a fresh sync stores.
async fn down_for_a_week(change: Change) {
    let Change { what, before, after, widest, whole, blocked } = change;
    let settings = Settings { history: 0, block_time: BLOCK_TIME, ..Settings::default() };
    let scene = Scene::of(settings).await;
    mine(&scene, 40);
    run(&scene, &before, &names(&before)).await;
    let at_first = stored(&scene).await;

    mine(&scene, WEEK);
    let tip = scene.chain.head().number - 2;
    let flume = scene.start_with("", &after).await;
    for name in whole {
        let has_all = |chain: &chainflume_ops::health::ChainHealth| {
            of(chain, name).is_some_and(|source| source.tip == Some(tip) && source.unread.is_none())
        };
        flume.until("dev", &format!("{what}: had all of {name}"), has_all).await;
    }
    let hindrance = |name: &str| of(&flume.chain("dev"), name).and_then(|source| source.hindrance.clone());
    match blocked {
        Some((name, remedy)) => {
            let why = hindrance(name).unwrap_or_else(|| panic!("{what}: {name} has a reason"));
            assert!(why.contains(remedy), "{what}: {why}");
        }
        None => {
            for name in names(&after) {
                assert_eq!(hindrance(name), None, "{what}: {name}");
            }
        }
    }
    flume.stop().await;
    let later = stored(&scene).await;
    assert!(later.is_superset(&at_first) && later.len() > at_first.len(), "{what}: something is gone");

    mine(&scene, WEEK);
    run(&scene, &before, &names(&before)).await;
    assert!(stored(&scene).await.is_superset(&later), "{what}: something is gone after the way back");
    assert_eq!(texts(&scene, "select count(*)::text from orphaned_events").await, ["0"], "{what}");
    let retracted = "select count(*)::text from outbox where message::jsonb->>'state' = 'retracted'";
    assert_eq!(texts(&scene, retracted).await, ["0"], "{what}");
    if widest != before {
        run(&scene, &widest, &names(&widest)).await;
    }
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_during_a_week_of_downtime_lose_and_retract_nothing() {
    let mut changes = changes();
    while !changes.is_empty() {
        let some = changes.split_off(changes.len().saturating_sub(4));
        join_all(some.into_iter().map(down_for_a_week)).await;
        postgres::sweep_up();
    }
}
