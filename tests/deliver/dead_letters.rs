//! Logs that fit no ABI, and the command that sees to them beside the running daemon.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use chainflume_core::domain::{Address, U256};
use chainflume_devchain::{Action, DevChain, RawLog, Server};
use serde_json::{Value, json};
use sqlx::postgres::PgPool;
use tempfile::TempDir;
use tokio::process::Command;

use crate::consumer::{canonical, fold, published};
use crate::daemon::database;
use crate::flume::{Flume, config, connect, devchain, source};
use crate::postgres;
use crate::random::{Random, seed};
use crate::redis_server::RedisServer;
use crate::relays::Relays;

const MARK: Address = Address::repeat_byte(0x3a);

/// Which argument is indexed is not part of an event's signature: the wrong way round everything seems to fit, until the
/// amount is read as an address.
fn abi(who_indexed: bool) -> String {
    json!([{ "type": "event", "name": "Marked", "anonymous": false, "inputs": [
        { "name": "who", "type": "address", "indexed": who_indexed },
        { "name": "amount", "type": "uint256", "indexed": !who_indexed },
    ]}])
    .to_string()
}

fn marked(who: u8) -> Action {
    let topic = alloy_primitives::keccak256("Marked(address,uint256)");
    let who = Address::repeat_byte(who).into_word();
    Action::Raw(Box::new(RawLog::new(MARK, &[topic, who], &U256::MAX.to_be_bytes::<32>())))
}

/// A daemon with a wrong ABI, and the folder of its configuration.
struct House {
    folder: TempDir,
    text: String,
    url: String,
    pool: PgPool,
    chain: DevChain,
    _server: Server,
}

impl House {
    async fn new() -> Self {
        let url = postgres::database().await;
        let pool = connect(&url).await;
        let folder = tempfile::tempdir().expect("a folder");
        let (chain, server) = devchain(5, 0).await;
        let abi_file = folder.path().join("marks.json");
        let table = source("marks", "generic", MARK, 0)
            + &format!("abi = \"{}\"\nuser = \"who\"\npublish_from = \"start\"\n", abi_file.display());
        let text = config(&server, "", &table);
        let house = Self { folder, text, url, pool, chain, _server: server };
        house.write_abi(false);
        std::fs::write(house.file(), database(&house.url) + &house.text).expect("written");
        house
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("chainflume.toml")
    }

    fn write_abi(&self, right: bool) {
        std::fs::write(self.folder.path().join("marks.json"), abi(right)).expect("written");
    }

    async fn daemon(&self) -> Flume {
        Flume::start(&self.text, &self.url).await
    }

    /// What `chainflume dead-letters` answers: exit code, and the JSON of stdout, one value or a list of lines.
    async fn command(&self, args: &[&str]) -> (i32, Vec<Value>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chainflume"));
        command.arg("dead-letters").args(args).arg("--json").arg("--config").arg(self.file());
        let Output { status, stdout, stderr } = command.output().await.expect("it runs");
        let values = serde_json::Deserializer::from_slice(&stdout).into_iter();
        let values = values.collect::<Result<_, _>>().unwrap_or_else(|error| {
            panic!("{error}: {} {}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
        });
        (status.code().expect("it ended by itself"), values)
    }

    /// Numbers of the letters that are open.
    async fn open(&self) -> Vec<u64> {
        let (code, answer) = self.command(&["list"]).await;
        assert_eq!(code, 0);
        let letters = answer[0].as_array().expect("a list").clone();
        letters.iter().map(|letter| letter["id"].as_u64().expect("a number")).collect()
    }

    /// What is stored and what was published, in order.
    async fn stored(&self) -> (Vec<String>, Vec<String>) {
        let texts = async |sql| sqlx::query_scalar(sql).fetch_all(&self.pool).await.expect("reads");
        let events =
            texts("select block_number || ' ' || encode(account, 'hex') from events order by 1").await;
        let published =
            "select state || ' ' || (message::jsonb #>> '{metadata,blockNumber}') from outbox order by seq";
        (events, texts(published).await)
    }
}

fn outcome(id: u64, word: &str) -> Value {
    json!({ "id": id, "outcome": word })
}

/// Without the reasons, which are for people.
fn outcomes((code, lines): (i32, Vec<Value>)) -> (i32, Vec<Value>) {
    let short = |line: Value| json!({ "id": line["id"], "outcome": line["outcome"] });
    (code, lines.into_iter().map(short).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_the_abi_was_corrected_stores_each_log_once() {
    let house = House::new().await;
    house.chain.mine_with(vec![vec![marked(1)], vec![marked(2), marked(3)]]);
    house.chain.mine_empty(2);
    let flume = house.daemon().await;
    flume.until_tip("dev", 2).await;
    let open = house.open().await;
    assert_eq!((open.len(), house.stored().await), (3, (vec![], vec![])));
    let (_, shown) = house.command(&["show", &open[0].to_string()]).await;
    assert_eq!((&shown[0]["kind"], &shown[0]["attempts"]), (&json!("decode"), &json!(1)));
    assert_eq!(shown[0]["raw"]["data"], json!(format!("0x{}", "ff".repeat(32))));

    let too_early = outcomes(house.command(&["retry", &open[0].to_string()]).await);
    assert_eq!(too_early, (1, vec![outcome(open[0], "failed")]));
    let (_, shown) = house.command(&["show", &open[0].to_string()]).await;
    assert_eq!((&shown[0]["state"], &shown[0]["attempts"]), (&json!("open"), &json!(2)));

    house.write_abi(true);
    let right = outcomes(house.command(&["retry", "--all"]).await);
    assert_eq!(right, (0, open.iter().map(|id| outcome(*id, "stored")).collect()));
    let stored = house.stored().await;
    let events = [1, 2, 3].map(|who| format!("{} {}", who.min(2), hex(who))).to_vec();
    let published = ["confirmed 1", "confirmed 2", "confirmed 2"].map(str::to_owned).to_vec();
    assert_eq!(stored, (events, published));

    let again = outcomes(house.command(&["retry", &open[0].to_string(), "4711"]).await);
    assert_eq!(again, (1, vec![outcome(open[0], "resolved"), outcome(4711, "gone")]));
    assert_eq!(outcomes(house.command(&["retry", "--all"]).await), (0, vec![]));
    assert_eq!((house.open().await, house.stored().await), (vec![], stored));
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_retries_at_once_store_each_log_once() {
    let house = House::new().await;
    house.chain.mine_with((1..=20).map(|who| vec![marked(who)]).collect());
    house.chain.mine_empty(2);
    let flume = house.daemon().await;
    flume.until_tip("dev", 20).await;
    house.write_abi(true);
    let retry = || house.command(&["retry", "--all"]);
    let (one, two, three) = tokio::join!(retry(), retry(), retry());
    for (_, lines) in [&one, &two, &three] {
        assert!(lines.iter().all(|line| line["outcome"] != "failed"), "{lines:?}");
    }
    let published: Vec<String> = (1..=20).map(|block| format!("confirmed {block}")).collect();
    let mut sent = house.stored().await;
    sent.1.sort_by_key(|line| line.split(' ').nth(1).and_then(|block| block.parse::<u64>().ok()));
    assert_eq!((sent.0.len(), sent.1), (20, published));
    assert_eq!(house.open().await, [] as [u64; 0]);
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_killed_at_any_moment_publishes_each_event_once() {
    let mut random = Random::new(seed("retry"));
    let (house, server) = (House::new().await, RedisServer::start());
    house.chain.mine_with((1..=40).map(|who| vec![marked(who)]).collect());
    house.chain.mine_empty(2);
    let flume = house.daemon().await;
    flume.until_tip("dev", 40).await;
    let text = format!("{}[redis]\nurl = \"{}\"\n", house.text, server.url());
    let relays = Relays::start(&text, &house.url).await;
    house.write_abi(true);
    let mut kills = 0;
    while !house.open().await.is_empty() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chainflume"));
        command.args(["dead-letters", "retry", "--all", "--config"]).arg(house.file());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
        tokio::time::sleep(Duration::from_millis(40 + random.below(200))).await;
        if child.try_wait().expect("it is ours").is_none() {
            child.kill().await.expect("it is ours");
            kills += 1;
        }
    }
    assert!(kills > 0, "it was never in time");
    // Among the last of them: one goes with its block, and is reported.
    house.chain.reorg_with(3, &[vec![], vec![], vec![], vec![]]);
    flume.until_tip("dev", 41).await;
    relays.until_all("redis").await;
    let messages = published(&server).await;
    assert_eq!((messages.len(), fold(&messages)), (41, canonical(&house.pool).await));
    relays.stop().await;
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_a_block_that_was_taken_back_is_never_stored() {
    let house = House::new().await;
    house.chain.mine_with(vec![vec![marked(1)], vec![marked(2)]]);
    house.chain.mine_empty(2);
    let flume = house.daemon().await;
    flume.until_tip("dev", 2).await;
    let open = house.open().await;
    // Block 2 goes, and its log with it.
    house.chain.reorg_with(3, &[vec![], vec![], vec![], vec![]]);
    flume.until_tip("dev", 3).await;
    house.write_abi(true);
    let ids: Vec<String> = open.iter().map(u64::to_string).collect();
    let retried = outcomes(house.command(&["retry", &ids[0], &ids[1]]).await);
    assert_eq!(retried, (1, vec![outcome(open[0], "stored"), outcome(open[1], "gone")]));
    let expected = (vec![format!("1 {}", hex(1))], vec!["confirmed 1".to_owned()]);
    assert_eq!(house.stored().await, expected);
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_stored_before_their_reorg_was_seen_are_retracted() {
    let house = House::new().await;
    house.chain.mine_with(vec![vec![marked(1)], vec![marked(2)]]);
    house.chain.mine_empty(2);
    let flume = house.daemon().await;
    flume.until_tip("dev", 2).await;
    flume.stop().await;
    house.chain.reorg_with(3, &[vec![], vec![], vec![], vec![]]);
    house.write_abi(true);
    assert_eq!(house.command(&["retry", "--all"]).await.0, 0);
    let flume = house.daemon().await;
    flume.until_tip("dev", 3).await;
    let published = ["confirmed 1", "confirmed 2", "retracted 2"].map(str::to_owned).to_vec();
    assert_eq!(house.stored().await, (vec![format!("1 {}", hex(1))], published));
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_letter_stays_dropped() {
    let house = House::new().await;
    house.chain.mine_with(vec![vec![marked(1)]]);
    house.chain.mine_empty(2);
    let flume = house.daemon().await;
    flume.until_tip("dev", 1).await;
    let id = house.open().await[0];
    let dropped = house.command(&["drop", &id.to_string(), "--reason", "a trial run"]).await;
    assert_eq!(dropped, (0, vec![json!({ "id": id, "dropped": true })]));
    assert_eq!(house.command(&["drop", &id.to_string()]).await, (1, vec![]));
    house.write_abi(true);
    assert_eq!(outcomes(house.command(&["retry", "--all"]).await), (0, vec![]));
    assert_eq!(house.stored().await, (vec![], vec![]));
    let (_, listed) = house.command(&["list", "--resolved"]).await;
    assert_eq!((&listed[0][0]["state"], &listed[0][0]["note"]), (&json!("dropped"), &json!("a trial run")));
    flume.stop().await;
}

fn hex(who: u8) -> String {
    format!("{who:02x}").repeat(20)
}
