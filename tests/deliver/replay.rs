//! History is published again, to streams of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use sqlx::postgres::PgPool;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use uuid::Uuid;

use chainflume_db::Database;
use chainflume_publish::{
    ActivityChange, ActivityStatus, ChangedBy, EventDefaults, EventSchemas, NewActivity, Publisher,
};

use crate::daemon::database;
use crate::flume::{Flume, WAIT_LIMIT, all_sources, config, connect, devchain};
use crate::postgres;
use crate::redis_server::{Cut, RedisServer, Wire};
use crate::schema::closed;

/// A database with a chain's history, all of it published once, and a configuration.
struct House {
    folder: TempDir,
    pool: PgPool,
    url: String,
    redis: RedisServer,
    final_number: u64,
}

impl House {
    async fn new() -> Self {
        let url = postgres::database().await;
        let pool = connect(&url).await;
        let (_chain, server) = devchain(11, 60).await;
        let sources =
            all_sources().replace("start_block = 0\n", "start_block = 0\npublish_from = \"start\"\n");
        let text = config(&server, "", &sources);
        let flume = Flume::start(&text, &url).await;
        flume.until_tip("dev", 58).await;
        flume.stop().await;
        let final_number: i64 =
            sqlx::query_scalar("select final_number from chains").fetch_one(&pool).await.expect("one chain");
        let folder = tempfile::tempdir().expect("a folder");
        let redis = RedisServer::start();
        let house = Self { folder, pool, redis, url, final_number: final_number.unsigned_abs() };
        house.configure(&text, Some(&house.redis.url()));
        std::fs::write(house.folder.path().join("text"), text).expect("written");
        house
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("chainflume.toml")
    }

    fn configure(&self, text: &str, redis: Option<&str>) {
        let redis =
            redis.map(|url| format!("[redis]\nurl = \"{url}\"\ntimeout = \"1s\"\n")).unwrap_or_default();
        std::fs::write(self.file(), database(&self.url) + &redis + text).expect("written");
    }

    fn configure_redis(&self, redis: Option<&str>) {
        let text = std::fs::read_to_string(self.folder.path().join("text")).expect("it is there");
        self.configure(&text, redis);
    }

    fn command(&self, args: &[&str]) -> Command {
        self.command_to(self.final_number, args)
    }

    fn command_to(&self, to: u64, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chainflume"));
        command
            .args(["replay", "--from", "0", "--to", &to.to_string(), "--json"])
            .args(args)
            .arg("--config")
            .arg(self.file());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn replay(&self, args: &[&str]) -> (i32, Value, String) {
        read(self.command(args).output().await.expect("it runs"))
    }

    /// The messages in the outbox about the events of final blocks, without what differs when they are published again.
    async fn published(&self) -> Vec<Value> {
        let sql = "select message from outbox where type not like 'user.%' \
             and (message::jsonb #>> '{metadata,blockNumber}')::bigint <= $1 and not message::jsonb ? 'replay' \
             order by seq";
        let rows: Vec<String> = sqlx::query_scalar(sql)
            .bind(i64::try_from(self.final_number).expect("small"))
            .fetch_all(&self.pool)
            .await
            .expect("reads");
        rows.iter().map(|row| plain(serde_json::from_str(row).expect("json"))).collect()
    }

    /// The user a message is about as the database knows it today: of the parties in the order of the event's arguments the first who is one.
    async fn user_of(&self, message: &Value) -> Option<Uuid> {
        let wallets = ["developer", "from", "to", "owner", "spender", "approved", "operator"];
        let wallets: Vec<&str> = wallets.iter().filter_map(|key| message["payload"][key].as_str()).collect();
        let sql = "select id from unnest($1::text[]) with ordinality as named(wallet, nth) \
             join users on '0x' || encode(users.wallet, 'hex') = named.wallet order by nth limit 1";
        sqlx::query_scalar(sql).bind(wallets).fetch_optional(&self.pool).await.expect("reads")
    }

    /// What the streams of this prefix hold, by number.
    async fn replayed(&self, prefix: &str) -> BTreeMap<u64, Value> {
        let streams = self.redis.streams().await.into_iter();
        let ours = streams.filter(|(name, _)| name.starts_with(&format!("{prefix}events:")));
        ours.flat_map(|(_, entries)| entries)
            .map(|(seq, message)| (seq, serde_json::from_str(&message).expect("json")))
            .collect()
    }
}

fn read(Output { status, stdout, stderr }: Output) -> (i32, Value, String) {
    let answer = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
    (status.code().expect("it ended by itself"), answer, String::from_utf8_lossy(&stderr).into_owned())
}

/// Without number, depth and mark, and without the user, who may have become known since the first publication.
fn plain(mut message: Value) -> Value {
    message["seq"].take();
    message["metadata"]["confirmations"].take();
    let metadata = message["metadata"].as_object_mut().expect("an object");
    metadata.retain(|key, _| !matches!(key.as_str(), "userId" | "counterpartyUserId"));
    message.as_object_mut().expect("an object").remove("replay");
    message
}

fn plains(messages: &BTreeMap<u64, Value>) -> Vec<Value> {
    messages.values().cloned().map(plain).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_publishes_marked_messages_on_its_own_streams() {
    let house = House::new().await;
    let published = house.published().await;
    let count = published.len() as u64;
    assert!(count > 50, "{count}");
    let mut types: BTreeMap<String, u64> = BTreeMap::new();
    for message in &published {
        *types.entry(message["type"].as_str().expect("text").to_owned()).or_default() += 1;
    }
    let (code, size, errors) = house.replay(&["--dry-run"]).await;
    assert_eq!((code, size, errors.as_str()), (0, json!({ "messages": count, "types": types }), ""));
    assert_eq!(house.redis.streams().await, BTreeMap::new());

    for round in 0..2 {
        let (code, answer, errors) = house.replay(&["--rate", "100000"]).await;
        assert_eq!((code, &answer["messages"], errors.as_str()), (0, &json!(count), ""));
        let mut replayed = house.replayed("replay:").await;
        assert_eq!(
            replayed.keys().copied().collect::<Vec<_>>(),
            (1..=count * (round + 1)).collect::<Vec<_>>()
        );
        let this_round = replayed.split_off(&(count * round + 1));
        assert_eq!(plains(&this_round), published);
        let schema = closed();
        for (seq, message) in &this_round {
            assert_eq!((&message["seq"], &message["replay"]), (&json!(seq), &json!(true)));
            schema.validate(message).unwrap_or_else(|error| panic!("{error}: {message:#}"));
            let known = house.user_of(message).await;
            assert_eq!(message["metadata"]["userId"], json!(known), "{message:#}");
        }
    }
    assert_eq!(house.replayed("").await, BTreeMap::new(), "the live streams are left alone");

    let few = ["--type", "erc20.mint", "--type", "stake.staked", "--stream", "few", "--sink", "redis"];
    assert_eq!(house.replay(&few).await.0, 0);
    let wanted =
        |message: &&Value| ["erc20.mint", "stake.staked"].contains(&message["type"].as_str().expect("text"));
    let expected: Vec<Value> = published.iter().filter(wanted).cloned().collect();
    assert_eq!(plains(&house.replayed("few:").await), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_replay_names_its_place_and_doubles_nothing() {
    let house = House::new().await;
    let child = house.command(&["--rate", "30"]).spawn().expect("it runs");
    let until = Instant::now() + WAIT_LIMIT;
    while house.replayed("replay:").await.is_empty() {
        assert!(Instant::now() < until, "nothing is published");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (code, _, errors) = house.replay(&[]).await;
    assert_eq!((code, errors.as_str()), (75, "error: another replay runs on this database\n"));
    let pid = child.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.expect("kill").success());
    let (code, answer, errors) = read(child.wait_with_output().await.expect("it ends"));
    let upto = answer["upto"].as_str().expect("a place").to_owned();
    assert_eq!((code, &answer["done"]), (1, &json!(false)), "{errors}");
    assert!(errors.ends_with(&format!("stopped; go on with --after {upto}\n")), "{errors}");
    let published = house.published().await;
    let first = answer["messages"].as_u64().expect("a count");
    assert!(first < published.len() as u64);
    let (code, answer, _) = house.replay(&["--rate", "100000", "--after", &upto]).await;
    assert_eq!((code, &answer["messages"]), (0, &json!(published.len() as u64 - first)));
    assert_eq!(plains(&house.replayed("replay:").await), published);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_requests_and_replies_double_and_drop_nothing() {
    let house = House::new().await;
    let wire = Wire::to(house.redis.port).await;
    house.configure_redis(Some(&wire.url()));
    for cut in [Cut::Reply, Cut::Request, Cut::Reply, Cut::Reply, Cut::Request] {
        wire.cut(cut);
    }
    let (code, _, errors) = house.replay(&["--rate", "200"]).await;
    assert_eq!((code, wire.cuts()), (0, 5), "{errors}");
    let replayed = house.replayed("replay:").await;
    let published = house.published().await;
    assert_eq!(
        replayed.keys().copied().collect::<Vec<_>>(),
        (1..=published.len() as u64).collect::<Vec<_>>()
    );
    assert_eq!(plains(&replayed), published);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_loses_what_was_replayed_ends_the_replay() {
    let mut house = House::new().await;
    let child = house.command(&["--rate", "30"]).spawn().expect("it runs");
    let until = Instant::now() + WAIT_LIMIT;
    while house.replayed("replay:").await.is_empty() {
        assert!(Instant::now() < until, "nothing is published");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    house.redis.kill();
    house.redis.restart();
    let (code, _, errors) = read(child.wait_with_output().await.expect("it ends"));
    assert!(code == 1 && errors.contains(" ends at 0, where "), "{code} {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_replay_goes_through_the_outbox() {
    let house = House::new().await;
    house.configure_redis(None);
    let published = house.published().await;
    assert_eq!(house.replay(&[]).await.0, 78, "without redis there is no stream of its own");
    assert_eq!(house.replay(&["--live", "--rate", "100000"]).await.0, 0);
    let again: Vec<String> =
        sqlx::query_scalar("select message from outbox where message::jsonb ? 'replay' order by seq")
            .fetch_all(&house.pool)
            .await
            .expect("reads");
    let again: Vec<Value> =
        again.iter().map(|text| plain(serde_json::from_str(text).expect("json"))).collect();
    assert_eq!((again, house.published().await), (published.clone(), published));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_still_be_undone_and_what_is_unknown_is_not_replayed() {
    let house = House::new().await;
    let (number, next) = (house.final_number, house.final_number + 1);
    let (code, _, errors) = read(house.command_to(next, &[]).output().await.expect("it runs"));
    let expected = format!(
        "error: block {next} may still be undone; a replay ends at the final block at most, which is {number}\n"
    );
    assert_eq!((code, errors), (1, expected));
    let (code, _, errors) = house.replay(&["--type", "user.activated"]).await;
    assert!(
        code == 1 && errors.starts_with("error: no event is of type `user.activated`; there are: erc20."),
        "{errors}"
    );
    let (code, _, errors) = house.replay(&["--type", "order.*"]).await;
    assert!(
        code == 1 && errors.starts_with("error: no event is of type `order.*`; there are: erc20."),
        "{errors}"
    );
    for wrong in [["--stream", "a:b"], ["--type", "erc20*"], ["--type", "erc20"]] {
        assert_eq!(house.replay(&wrong).await.0, 64, "{wrong:?}");
    }
    assert_eq!(house.replay(&["--after", "1/2"]).await.0, 64);
    assert_eq!(house.replay(&["--sink", "kafka"]).await.0, 78);
    assert_eq!(house.redis.streams().await, BTreeMap::new());
}

/// Sixty events of the application, and an activity that was changed once: messages as they were published.
async fn application_facts(house: &House) -> Vec<Value> {
    let settings = chainflume_db::Settings {
        url: house.url.clone(),
        max_connections: 4,
        acquire_timeout: Duration::from_secs(30),
    };
    let database = Database::connect(&settings).await.expect("connects");
    let settings = chainflume_publish::Settings {
        schemas: EventSchemas::default(),
        activity_types: vec!["send".to_owned()],
        activity_texts: Vec::new(),
        chains: Vec::new(),
        limits: chainflume_publish::FactLimits::default(),
    };
    let publisher = Publisher::new(&database, settings);
    for n in 0..60u128 {
        let event = json!({ "type": "order.shipped", "aggregateType": "order", "aggregateId": (n % 7).to_string(), "payload": { "n": n } });
        let defaults =
            EventDefaults { id: Uuid::from_u128(n), source: "backend".to_owned(), now: SystemTime::now() };
        let event = publisher.read_event(event, defaults).expect("an event");
        publisher.publish(vec![event]).await.expect("published");
    }
    let new = NewActivity {
        id: Uuid::from_u128(1_000),
        user_id: "7".to_owned(),
        activity_type: "send".to_owned(),
        status: ActivityStatus::Pending,
        title: "Send".to_owned(),
        description: None,
        data: serde_json::Map::new(),
        transaction: None,
    };
    let by = ChangedBy::Caller("backend".to_owned());
    publisher.create_activity(new, &by).await.expect("begun");
    let change = ActivityChange { status: Some(ActivityStatus::Completed), ..ActivityChange::default() };
    publisher.change_activity(Uuid::from_u128(1_000), &change, &by).await.expect("changed");
    let rows: Vec<String> =
        sqlx::query_scalar("select message from outbox where chain_id is null order by seq")
            .fetch_all(&house.pool)
            .await
            .expect("reads");
    rows.iter().map(|row| without_number(serde_json::from_str(row).expect("json"))).collect()
}

fn without_number(mut message: Value) -> Value {
    message["seq"].take();
    message.as_object_mut().expect("an object").remove("replay");
    message
}

fn replay_facts(house: &House, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chainflume"));
    command.args(["replay", "--application", "--json"]).args(args).arg("--config").arg(house.file());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_of_the_application_are_published_again_through_a_kill() {
    let house = House::new().await;
    let published = application_facts(&house).await;
    assert_eq!(published.len(), 62);
    let replay = async |args: &[&str]| read(replay_facts(&house, args).output().await.expect("it runs"));
    let types = json!({ "activity.completed": 1, "activity.created": 1, "order.shipped": 60 });
    let (code, size, errors) = replay(&["--dry-run"]).await;
    assert_eq!((code, size, errors.as_str()), (0, json!({ "messages": 62, "types": types }), ""));
    let (code, answer, errors) = replay(&["--rate", "100000"]).await;
    assert_eq!((code, &answer["messages"], errors.as_str()), (0, &json!(62), ""));
    let replayed = house.replayed("replay:").await;
    assert!(replayed.values().all(|message| message["replay"] == true));
    assert_eq!(replayed.keys().copied().collect::<Vec<_>>(), (1..=62).collect::<Vec<_>>());
    let replayed: Vec<Value> = replayed.into_values().map(without_number).collect();
    assert_eq!(replayed, published);
    let schema = closed();
    for message in house.replayed("replay:").await.values() {
        schema.validate(message).unwrap_or_else(|error| panic!("{error}: {message:#}"));
    }

    let few = ["--aggregate", "order-3", "--stream", "few"];
    assert_eq!(replay(&few).await.0, 0);
    let about: Vec<Value> =
        published.iter().filter(|message| message["aggregateId"] == "3").cloned().collect();
    let found: Vec<Value> = house.replayed("few:").await.into_values().map(without_number).collect();
    assert_eq!(found, about);

    // A line names the place from which a killed replay would go on. What is published twice has the same id.
    let mut child = replay_facts(&house, &["--rate", "5", "--stream", "killed"]).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let line = tokio::time::timeout(WAIT_LIMIT, lines.next_line()).await.expect("in time").expect("reads");
    let line = line.expect("a line");
    child.kill().await.expect("killed");
    let place = line.split_once("--after ").and_then(|(_, rest)| rest.split(' ').next()).expect("a place");
    assert_eq!(replay(&["--stream", "killed", "--rate", "100000", "--after", place]).await.0, 0);
    let mut ids: Vec<Value> = Vec::new();
    for message in house.replayed("killed:").await.into_values() {
        if !ids.contains(&message["id"]) {
            ids.push(message["id"].clone());
        }
    }
    assert_eq!(ids, published.iter().map(|message| message["id"].clone()).collect::<Vec<_>>());

    house.configure_redis(None);
    assert_eq!(replay(&["--live", "--type", "activity.completed"]).await.0, 0);
    let last: String = sqlx::query_scalar("select message from outbox order by seq desc limit 1")
        .fetch_one(&house.pool)
        .await
        .expect("reads");
    let last: Value = serde_json::from_str(&last).expect("json");
    assert_eq!(last["replay"], true);
    assert_eq!(Some(&without_number(last)), published.last());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_facts_takes_patterns_and_no_unknown_name() {
    let house = House::new().await;
    application_facts(&house).await;
    let replay = async |args: &[&str]| read(replay_facts(&house, args).output().await.expect("it runs"));
    let (code, size, _) = replay(&["--dry-run", "--type", "activity.*"]).await;
    let types = json!({ "activity.completed": 1, "activity.created": 1 });
    assert_eq!((code, size), (0, json!({ "messages": 2, "types": types })));
    let unknown = ["--id", "00000000-0000-0000-0000-00000000ffff"];
    for wrong in [["--type", "ordre.*"], ["--type", "order.paid"], ["--aggregate", "ordre"], unknown] {
        let (code, _, errors) = replay(&wrong).await;
        assert!(code == 1 && errors.starts_with("error: no fact of the application "), "{wrong:?}: {errors}");
    }
    let times = ["--since", "2026-02-01T00:00:00Z", "--until", "2026-02-01T00:00:00Z"];
    for wrong in [
        &["--after", "1/2/3"][..],
        &["--from", "0", "--to", "1"],
        &["--since", "yesterday"],
        &["--id", "7"],
        &["--type", "order*"],
        &times,
    ] {
        assert_eq!(replay(wrong).await.0, 64, "{wrong:?}");
    }
}
