//! A source follows some logs of an event, by values of its indexed arguments. Other values later are as other events later.

use alloy_primitives::Address;
use chainflume_devchain::{Effect, Rule};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{A, B, mine, other, run, scene, source, until_whole};
use crate::daemon::Home;
use crate::postgres;
use crate::scene::Scene;

fn who(n: u8) -> Address {
    Address::with_last_byte(n)
}

/// `usd` follows the transfers of one contract that meet one of these.
fn usd(alternatives: &[&str]) -> String {
    let tables: Vec<String> =
        alternatives.iter().map(|table| format!("{{ event = \"Transfer\", {table} }}")).collect();
    let filter = match tables.is_empty() {
        true => String::new(),
        false => format!("where = [{}]\n", tables.join(", ")),
    };
    generic() + &filter
}

fn generic() -> String {
    super::source_of("usd", &[A], (&["Transfer"], 0, "generic"))
}

fn to(addresses: &[u8]) -> String {
    argument("to", addresses)
}

fn argument(name: &str, addresses: &[u8]) -> String {
    let addresses: Vec<String> = addresses.iter().map(|n| who(*n).to_string()).collect();
    format!("{name} = {addresses:?}")
}

/// Senders and receivers of the stored transfers, counted.
async fn stored(scene: &Scene) -> Vec<(u8, u8, i64)> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "select e.args->>'from', e.args->>'to', count(*) from events e join event_kinds k on k.id = e.kind_id \
         where k.source = 'usd' group by 1, 2 order by 1, 2",
    )
    .fetch_all(&scene.pool)
    .await
    .expect("reads");
    let last = |text: &str| text.parse::<Address>().expect("an address").0[19];
    rows.iter().map(|(from, to, count)| (last(from), last(to), *count)).collect()
}

/// What `mine` made of it up to this block.
fn expected(tip: u64, admits: impl Fn(u8, u8) -> bool) -> Vec<(u8, u8, i64)> {
    let mut counts = std::collections::BTreeMap::new();
    for number in 1..=tip {
        let who = |n: u64| u8::try_from(n % 5 + 1).expect("small");
        let pair = (who(number), who(number * 3 + 1));
        if admits(pair.0, pair.1) {
            *counts.entry(pair).or_insert(0) += 1;
        }
    }
    counts.into_iter().map(|((from, to), count)| (from, to, count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_logs_that_a_filter_admits_are_asked_for_and_stored() {
    for keys in ["", "verify = \"receipts\"\n", "publish = \"pending_and_confirmed\"\n"] {
        let scene = scene(60).await;
        let flume = scene.start_with(keys, &usd(&[&to(&[2, 3])])).await;
        until_whole(&flume, "usd", 58).await;
        mine(&scene, 4);
        until_whole(&flume, "usd", 62).await;
        scene.reorg(3, 4);
        mine(&scene, 2);
        let tip = scene.chain.head().number - 2;
        until_whole(&flume, "usd", tip).await;
        flume.stop().await;
        assert!(stored(&scene).await.iter().all(|(_, to, _)| [2, 3].contains(to)));
        assert!(stored(&scene).await.iter().map(|(.., count)| count).sum::<i64>() > 10);
        scene.equals_fresh_sync().await;
        let values = json!([who(2).into_word(), who(3).into_word()]);
        let asked = scene.asked();
        assert!(!asked.is_empty());
        assert!(
            asked.iter().all(|asked| asked.topics[1].is_null() && asked.topics[2] == values),
            "{asked:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_a_filter_beside_it_lets_nothing_in() {
    let scene = scene(60).await;
    // Also by a node that answers what it was not asked for.
    let leak = |answer: &mut Value| {
        let Value::Array(logs) = answer else { return };
        let strangers = logs.iter().map(|log| {
            let mut log = log.clone();
            let index = log["logIndex"].as_str().and_then(|text| u64::from_str_radix(&text[2..], 16).ok());
            log["logIndex"] = json!(format!("{:#x}", index.unwrap_or_default() + 500));
            log["topics"][2] = json!(who(9).into_word());
            log
        });
        let strangers: Vec<Value> = strangers.collect();
        logs.extend(strangers);
    };
    let leaks = scene.chain.faults().add(Rule::on("eth_getLogs", Effect::edit(leak)));
    run(&scene, &usd(&[&to(&[2])]), &["usd"]).await;
    leaks.lift();
    assert_eq!(stored(&scene).await, expected(58, |_, to| to == 2));
    mine(&scene, 5);
    run(
        &scene,
        &(usd(&[&to(&[2])]) + &source("any", &[B], &["Transfer"]) + &other()),
        &["usd", "any", "other"],
    )
    .await;
    assert_eq!(stored(&scene).await, expected(63, |_, to| to == 2));
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_alternatives_and_arguments_of_one_table_are_not() {
    let scene = scene(60).await;
    let both = format!("{}, {}", argument("from", &[1]), to(&[5]));
    run(&scene, &usd(&[&both, &to(&[2])]), &["usd"]).await;
    assert_eq!(stored(&scene).await, expected(58, |from, to| (from, to) == (1, 5) || to == 2));
}

/// One filter, another one, and at last the widest.
async fn pair(first: Vec<String>, second: Vec<String>) {
    let filter = |rows: &[String]| usd(&rows.iter().map(String::as_str).collect::<Vec<_>>());
    let scene = scene(50).await;
    run(&scene, &(filter(&first) + &other()), &["usd", "other"]).await;
    mine(&scene, 20);
    let flume = scene.start_with("", &(filter(&second) + &other())).await;
    mine(&scene, 3);
    scene.reorg(4, 5);
    mine(&scene, 3);
    let tip = scene.chain.head().number - 2;
    until_whole(&flume, "usd", tip).await;
    flume.stop().await;
    mine(&scene, 2);
    run(&scene, &(generic() + &other()), &["usd", "other"]).await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_two_changes_of_a_filter_end_as_a_fresh_sync_does() {
    let rows: [Vec<String>; 5] = [
        vec![to(&[2])],
        vec![to(&[2, 3])],
        vec![argument("from", &[1]), to(&[2])],
        vec![format!("{}, {}", argument("from", &[1]), to(&[5]))],
        vec![],
    ];
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
async fn a_wider_filter_gets_its_past_and_a_narrower_one_keeps_it() {
    let scene = scene(60).await;
    run(&scene, &usd(&[&to(&[2])]), &["usd"]).await;
    mine(&scene, 5);
    run(&scene, &usd(&[&to(&[2, 3])]), &["usd"]).await;
    assert_eq!(stored(&scene).await, expected(63, |_, to| [2, 3].contains(&to)));
    scene.equals_fresh_sync().await;
    mine(&scene, 10);
    let flume = scene.start_with("", &usd(&[&to(&[2])])).await;
    until_whole(&flume, "usd", 73).await;
    let notes = super::of(&flume.chain("dev"), "usd").map(|usd| usd.notes.clone()).unwrap_or_default();
    flume.stop().await;
    assert!(notes[0].starts_with("source usd no longer follows the logs of event Transfer(address,address,uint256) that `where` leaves out"), "{notes:?}");
    let mut both = expected(63, |_, to| [2, 3].contains(&to));
    let later = expected(73, |_, to| to == 2);
    both.iter_mut().for_each(|row| {
        if let Some(more) = later.iter().find(|more| (more.0, more.1) == (row.0, row.1)) {
            row.2 = more.2;
        }
    });
    assert_eq!(stored(&scene).await, both);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_wider_filter_adds_quietly_leaves_quietly() {
    let scene = scene(60).await;
    run(&scene, &usd(&[&to(&[2])]), &["usd"]).await;
    // Published, since the source has seen a head.
    mine(&scene, 10);
    run(&scene, &usd(&[&to(&[2])]), &["usd"]).await;
    let flume = scene.start_with("", &usd(&[&to(&[2, 3])])).await;
    until_whole(&flume, "usd", 68).await;
    scene.reorg(9, 10);
    mine(&scene, 1);
    let tip = scene.chain.head().number - 2;
    until_whole(&flume, "usd", tip).await;
    flume.stop().await;
    scene.equals_fresh_sync().await;
    let count = async |sql: &'static str| -> i64 {
        sqlx::query_scalar(sql).fetch_one(&scene.pool).await.expect("reads")
    };
    let unheard = "select count(*) from outbox r where r.message::jsonb->>'state' = 'retracted' and not exists \
                   (select from outbox c where c.message::jsonb->>'id' = r.message::jsonb->>'id' and c.message::jsonb->>'state' = 'confirmed')";
    assert_eq!(count(unheard).await, 0, "what was not announced is not taken back");
    let left = "select count(*) from outbox c join orphaned_events o on o.block_number = (c.message::jsonb->'metadata'->>'blockNumber')::bigint \
                where c.message::jsonb->>'state' = 'confirmed' and lower(c.message::jsonb->'metadata'->>'blockHash') = '0x' || encode(o.block_hash, 'hex') \
                and not exists (select from outbox r where r.message::jsonb->>'id' = c.message::jsonb->>'id' and r.message::jsonb->>'state' = 'retracted')";
    assert_eq!(count(left).await, 0, "what was announced is taken back");
    let retracted = "select count(*) from outbox where message::jsonb->>'state' = 'retracted'";
    assert!(count(retracted).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_narrower_filter_leaves_out_is_no_difference() {
    let scene = scene(60).await;
    let url = postgres::empty_database().await;
    // Its folder has no ABI.
    let declared = |filter: &[u8]| {
        usd(&[&to(filter)]).replace("abi = \"abi/ERC20.json\"\n", "").replace(
            "events = [\"Transfer\"]",
            "events = [\"event Transfer(address indexed from, address indexed to, uint256 value)\"]",
        )
    };
    let (wide, narrow) = (declared(&[2, 3]), declared(&[2]));
    let home = Home::new(&scene.server, &wide, Some(&url));
    let daemon = home.start();
    daemon.until_tip(58).await;
    daemon.stop_well().await;
    home.rewrite(&wide, &narrow);
    let check = home.run(&["check"]).await.fine();
    assert!(check.contains("Transfer(address,address,uint256), as `where` says"), "{check}");
    let daemon = home.start();
    daemon.until_tip(58).await;
    daemon.stop_well().await;
    // Standard error names what is not followed any more.
    let output = home.run(&["verify", "--repair", "--json"]).await;
    let verified: Value = serde_json::from_str(&output.out).expect("it is JSON");
    let usd = &verified[0];
    let counts = ["missing", "differing", "surplus"].map(|key| usd[key]["count"].clone());
    assert_eq!(counts, [json!(0), json!(0), json!(0)], "{verified:#}");
    assert!(usd["notFollowed"].as_u64().is_some_and(|count| count > 5), "{verified:#}");
    let pool = crate::flume::connect(&url).await;
    let kept: i64 = sqlx::query_scalar("select count(*) from events").fetch_one(&pool).await.expect("reads");
    let all: i64 = expected(58, |_, to| [2, 3].contains(&to)).iter().map(|(.., count)| count).sum();
    assert_eq!(kept, all);
}
