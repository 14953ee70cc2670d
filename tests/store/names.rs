//! ABIs that are edited under a database that has events: other names of arguments, newer events of the same name.

use std::fs;

use chainflume_core::decode::parse_abi;
use chainflume_core::domain::{Address, B256, U256};
use chainflume_devchain::{Action, DevChain, RawLog, Server};
use serde_json::{Value, json};
use sqlx::postgres::PgPool;

use crate::daemon::Home;
use crate::flume::{Flume, all_sources, config, connect, devchain, source};
use crate::postgres;

const KITTIES: Address = Address::repeat_byte(0xa1);

fn declaration(owner: &str, kitty: &str) -> String {
    format!(
        r#"{{"type":"event","name":"Birth","inputs":[{{"name":"{owner}","type":"address","indexed":true}},
        {{"name":"{kitty}","type":"uint256"}}]}}"#
    )
}

/// The event after the contract was upgraded: one argument more.
const NEWER: &str = r#"{"type":"event","name":"Birth","inputs":[{"name":"owner","type":"address","indexed":true},
    {"name":"kittyId","type":"uint256"},{"name":"genes","type":"uint256"}]}"#;

fn topic(declaration: &str) -> B256 {
    parse_abi(&format!("[{declaration}]")).expect("an ABI")[0].topic0
}

/// A kitty is born, by this declaration, which may have a third argument.
fn birth(declaration: &str, kitty: u64) -> Action {
    let owner = Address::repeat_byte(7).into_word();
    let words = if declaration == NEWER { vec![kitty, 1_000 + kitty] } else { vec![kitty] };
    let data: Vec<u8> = words.into_iter().flat_map(|word| U256::from(word).to_be_bytes::<32>()).collect();
    Action::Raw(Box::new(RawLog::new(KITTIES, &[topic(declaration), owner], &data)))
}

struct House {
    folder: tempfile::TempDir,
    url: String,
    pool: PgPool,
    chain: DevChain,
    server: Server,
}

impl House {
    async fn new() -> Self {
        let url = postgres::database().await;
        let pool = connect(&url).await;
        let (chain, server) = devchain(71, 0).await;
        Self { folder: tempfile::tempdir().expect("a folder"), url, pool, chain, server }
    }

    /// A daemon that follows these declarations.
    async fn start(&self, declarations: &[&str]) -> Flume {
        let abi = self.folder.path().join("abi.json");
        fs::write(&abi, format!("[{}]", declarations.join(","))).expect("written");
        let more = format!("abi = \"{}\"\npublish_from = \"start\"\n", abi.display());
        let sources = source("kitties", "generic", KITTIES, 0) + &more;
        Flume::start(&config(&self.server, "", &sources), &self.url).await
    }

    async fn texts(&self, sql: &'static str) -> Vec<String> {
        sqlx::query_scalar(sql).fetch_all(&self.pool).await.expect("the query runs")
    }

    /// State and payload of each message.
    async fn messages(&self) -> Vec<(String, Value)> {
        let texts = self.texts("select message from outbox order by seq").await;
        let read = |text: String| {
            let message: Value = serde_json::from_str(&text).expect("json");
            (message["state"].as_str().expect("text").to_owned(), message["payload"].clone())
        };
        texts.into_iter().map(read).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_argument_empties_no_view_and_no_retraction() {
    let house = House::new().await;
    let first = declaration("owner", "kittyId");
    let base = house.chain.head().number;
    house.chain.mine_with(vec![vec![birth(&first, 1)], vec![birth(&first, 2)]]);
    house.chain.mine_empty(2);
    let flume = house.start(&[&first]).await;
    flume.until_tip("dev", base + 2).await;
    flume.stop().await;

    // Two names that swap their places, and one of them away from the topics: nothing changes on the chain.
    let second = declaration("kittyId", "owner");
    house.chain.truncate(3);
    house.chain.mine_with(vec![vec![birth(&second, 3)]]);
    house.chain.mine_empty(4);
    let flume = house.start(&[&second]).await;
    flume.until_tip("dev", house.chain.head().number - 2).await;
    flume.stop().await;

    let owner = format!("0x{}", "07".repeat(20));
    let by_first = |kitty: &str| json!({ "owner": owner, "kittyId": kitty });
    let by_second = |kitty: &str| json!({ "kittyId": owner, "owner": kitty });
    let expected = [
        ("confirmed", by_first("1")),
        ("confirmed", by_first("2")),
        ("retracted", by_second("2")),
        ("confirmed", by_second("3")),
    ];
    assert_eq!(house.messages().await, expected.map(|(state, payload)| (state.to_owned(), payload)));
    let shown = "select encode(kitty_id, 'hex') || ' ' || owner from kitties_birth order by block_number";
    assert_eq!(house.texts(shown).await, [1, 3].map(|kitty| format!("{} {kitty}", "07".repeat(20))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_event_of_the_same_name_stops_nothing() {
    let house = House::new().await;
    let first = declaration("owner", "kittyId");
    let base = house.chain.head().number;
    house.chain.mine_with(vec![vec![birth(&first, 1)]]);
    house.chain.mine_empty(2);
    let flume = house.start(&[&first]).await;
    flume.until_tip("dev", base + 1).await;
    flume.stop().await;
    sqlx::query("create view report as select kitty_id from kitties_birth")
        .execute(&house.pool)
        .await
        .expect("made");

    // The newer declaration alone, then both, then the older alone.
    for (round, declarations) in [vec![NEWER], vec![&first, NEWER], vec![&first]].into_iter().enumerate() {
        house.chain.mine_with(vec![vec![birth(declarations.last().expect("one"), 2 + round as u64)]]);
        house.chain.mine_empty(2);
        let flume = house.start(&declarations).await;
        flume.until_tip("dev", house.chain.head().number - 2).await;
        assert_eq!(flume.chain("dev").notices.views, [] as [String; 0], "{round}");
        flume.stop().await;
    }
    assert_eq!(house.texts("select kitty_id::text from report order by 1").await, ["1", "4"]);
    let newer = format!("kitties_birth_{}", &topic(NEWER).to_string()[2..10]);
    let shown = format!("select genes::text from {newer} order by block_number");
    let genes: Vec<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(shown)).fetch_all(&house.pool).await.expect("shown");
    assert_eq!(genes, ["1002", "1003"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_declared_twice_is_followed_as_one() {
    let house = House::new().await;
    let (first, again) = (declaration("who", "amount"), declaration("_who", "_amount"));
    house.chain.mine_with(vec![vec![birth(&first, 1)]]);
    house.chain.mine_empty(2);
    let flume = house.start(&[&first, &again]).await;
    flume.until_tip("dev", house.chain.head().number - 2).await;
    flume.stop().await;
    assert_eq!(house.texts("select amount::text from kitties_birth").await, ["1"]);
    assert_eq!(house.messages().await[0].1["amount"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impossible_view_is_named_by_commands_and_made_when_free() {
    let url = postgres::empty_database().await;
    let pool = connect(&url).await;
    let (_, server) = devchain(72, 5).await;
    sqlx::query("create table vault_staked (x int)").execute(&pool).await.expect("made");
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(3).await;
    let words = "view `vault_staked` of source `vault` is missing or out of date: a table `vault_staked` is there, which this \
                 program did not make; rename or drop it, then run `chainflume views`";
    let report = daemon
        .until("reports the view", |_, report| !report["chains"]["dev"]["viewTroubles"][0].is_null())
        .await;
    assert_eq!(
        (report["ready"].as_bool(), &report["chains"]["dev"]["viewTroubles"]),
        (Some(true), &json!([words]))
    );
    assert_eq!(daemon.metric("chainflume_views_missing{chain=\"dev\"}").await, Some(1.0));
    let status = home.run(&["status"]).await.fine();
    assert!(status.contains(&format!("  chain dev, warning: {words}\n")), "{status}");
    let check = home.run(&["check"]).await.fine();
    assert!(check.contains(&format!("warn {words}\n")), "{check}");
    assert_eq!(home.run(&["views"]).await.error(1), words);
    assert!(daemon.log().contains(words), "{}", daemon.log());

    sqlx::query("drop table vault_staked").execute(&pool).await.expect("dropped");
    let views = home.run(&["views"]).await.fine();
    assert!(views.contains("vault_staked (vault, Staked(address,uint256))"), "{views}");
    let check = home.run(&["check"]).await.fine();
    assert!(!check.contains("warn"), "{check}");
    daemon.stop_well().await;
}
