//! What a developer would copy works: the example consumers, and what docs/CONSUMING.md promises about them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use redis::RedisResult;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;
use tokio::process::{Child, Command};

use crate::consumer::{canonical, until_all, users};
use crate::daemon::Home;
use crate::flume::{connect, devchain};
use crate::random::{Random, seed};
use crate::redis_server::RedisServer;
use crate::relays::sources;
use crate::schema::closed;
use crate::{flume, postgres};

const GUIDE: &str = include_str!("../../docs/CONSUMING.md");
const STREAMS: [&str; 4] = ["events:user", "events:token", "events:nft", "events:contract"];
/// What another consumer took is taken over after so long. Short, so that they take over from each other while all live.
const IDLE: &str = "100";
/// Node.js, Python and a debug build share two cores with other tests.
const EXAMPLE_TIMEOUT: Duration = Duration::from_secs(60);

fn root(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(inside)
}

/// How each example is started. Its name is its group.
fn examples() -> [(&'static str, Vec<PathBuf>); 3] {
    let tool = |path: &str| {
        let path = root(path);
        assert!(path.exists(), "{} is missing; scripts/test-tools installs it", path.display());
        path
    };
    let source = std::fs::read(root("examples/consumer.mjs")).expect("it is there");
    let checked = std::fs::read(tool(".tools/examples/consumer.mjs")).expect("it is there");
    assert!(source == checked, "consumer.mjs has changed; scripts/test-tools checks it");
    [
        ("rust", vec![rust()]),
        ("node", vec![PathBuf::from("node"), tool(".tools/examples/consumer.mjs")]),
        ("python", vec![tool(".tools/python/bin/python"), root("examples/consumer.py")]),
    ]
}

/// Built here, since `cargo test --test deliver` builds no examples.
fn rust() -> PathBuf {
    let mut build = std::process::Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--example", "consumer"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let built = build.current_dir(root("")).output().expect("cargo runs the tests");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let binary = Path::new(env!("CARGO_BIN_EXE_chainflume"));
    binary.with_file_name("examples").join("consumer")
}

/// The code blocks of the guide in this language.
fn blocks(language: &str) -> Vec<String> {
    let (open, mut blocks) = (format!("```{language}"), Vec::new());
    let mut lines = GUIDE.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if line == open {
                blocks.push(block.join("\n"));
            }
        }
    }
    blocks
}

/// Consumers of one example.
struct Crew<'a> {
    group: &'static str,
    program: &'a [PathBuf],
    url: String,
}

impl Crew<'_> {
    fn start(&self, name: &str) -> Child {
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).args([&self.url, self.group, name]).env("IDLE_MS", IDLE);
        let log = |kind: &str| {
            let file = root("target/tmp").join(format!("example-{}-{name}.{kind}", self.group));
            std::fs::File::create(file).expect("target/tmp takes a file")
        };
        command.stdout(log("out")).stderr(log("err")).kill_on_drop(true);
        command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.program[0].display()))
    }

    /// A consumer takes some entries of each stream and is never seen again.
    async fn someone_dies(&self, server: &RedisServer) {
        for stream in STREAMS {
            let made: RedisResult<()> = redis::cmd("XGROUP")
                .arg(&["CREATE", stream, self.group, "0", "MKSTREAM"])
                .query_async(&mut server.connection().await)
                .await;
            made.expect("there is no such group");
            server
                .run::<redis::Value>(&format!(
                    "XREADGROUP GROUP {} dead COUNT 30 STREAMS {stream} >",
                    self.group
                ))
                .await;
        }
    }

    /// Waits until nothing is left to be read or acknowledged.
    async fn until_done(&self, server: &RedisServer) {
        let deadline = Instant::now() + EXAMPLE_TIMEOUT;
        for stream in STREAMS {
            loop {
                let groups: Vec<BTreeMap<String, redis::Value>> =
                    server.run(&format!("XINFO GROUPS {stream}")).await;
                let is_ours = |group: &&BTreeMap<String, redis::Value>| {
                    group["name"] == redis::Value::BulkString(self.group.into())
                };
                let group = groups.iter().find(is_ours).expect("it was made");
                if [&group["pending"], &group["lag"]] == [&redis::Value::Int(0); 2] {
                    break;
                }
                assert!(Instant::now() < deadline, "{}: {stream}: {group:?}: {}", self.group, self.log());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn log(&self) -> String {
        let read = |name: &str| {
            let file = root("target/tmp").join(format!("example-{}-{name}.err", self.group));
            std::fs::read_to_string(file).unwrap_or_default()
        };
        read("one") + &read("two")
    }

    /// What the consumers hold to be so: ids and wallets that remain, and their count by aggregate type.
    async fn result(&self, server: &RedisServer) -> (BTreeSet<String>, BTreeMap<String, i64>) {
        let seen: BTreeMap<String, String> = server.run(&format!("HGETALL {{{}}}:seen", self.group)).await;
        let confirmed = seen.into_iter().filter(|(_, seen)| seen.ends_with(" confirmed"));
        let counts: BTreeMap<String, i64> =
            server.run(&format!("HGETALL {{{}}}:confirmed", self.group)).await;
        (confirmed.map(|(subject, _)| subject).collect(), counts)
    }
}

/// What should remain, by the tables.
async fn truth(pool: &PgPool) -> (BTreeSet<String>, BTreeMap<String, i64>) {
    let users = users(pool).await;
    let mut counts: BTreeMap<String, i64> = sqlx::query_as(
        "select case s.family when 'erc20' then 'token' when 'erc721' then 'nft' else 'user' end, count(*) \
         from events e join event_kinds k on k.id = e.kind_id join sources s on s.name = k.source group by 1",
    )
    .fetch_all(pool)
    .await
    .expect("reads")
    .into_iter()
    .collect();
    *counts.entry("user".to_owned()).or_default() += i64::try_from(users.len()).expect("few");
    let mut subjects = canonical(pool).await;
    subjects.extend(users.into_keys());
    (subjects, counts)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_count_every_event_once_through_all_faults() {
    let programs = examples();
    let (url, server) = (postgres::database().await, RedisServer::start());
    let pool = connect(&url).await;
    let (chain, node) = devchain(51, 40).await;
    let [daemons, groups] = &acl(&server).await[..] else { panic!("a user for the daemon, one for groups") };
    let redis = |user: &str| format!("redis://{user}:CHANGE-ME@127.0.0.1:{}/", server.port);
    let home = Home::new(&node, &sources(&redis(daemons)), Some(&url));
    let daemon = home.start();
    daemon.until_tip(chain.head().number - 2).await;
    until_all(&pool, &server).await;

    let crew = |(group, program): &'_ (&'static str, Vec<PathBuf>)| (*group, program.clone());
    let programs: Vec<_> = programs.iter().map(crew).collect();
    let crews: Vec<Crew<'_>> = programs
        .iter()
        .map(|(group, program)| Crew { group, program, url: redis(&groups.replace("activity", group)) })
        .collect();
    let mut running = Vec::new();
    for crew in &crews {
        crew.someone_dies(&server).await;
        running.extend(["one", "two"].map(|name| crew.start(name)));
    }
    for round in 0..6u64 {
        chain.reorg(3 + round, 6 + round);
        daemon.until_tip(chain.head().number - 2).await;
        // In turn, in the middle of whatever it does.
        let victim = usize::try_from(round).expect("small");
        running[victim].kill().await.expect("it is ours");
        running[victim] = crews[victim / 2].start(["one", "two"][victim % 2]);
    }
    daemon.stop_well().await;
    until_all(&pool, &server).await;
    let expected = truth(&pool).await;
    for crew in &crews {
        crew.until_done(&server).await;
        assert_eq!(crew.result(&server).await, expected, "{}: {}", crew.group, crew.log());
    }
    // All of it once more, as after a Redis that lost its groups.
    for crew in &crews {
        for stream in STREAMS {
            server.run::<()>(&format!("XGROUP SETID {stream} {} 0 ENTRIESREAD 0", crew.group)).await;
        }
    }
    for crew in &crews {
        crew.until_done(&server).await;
        assert_eq!(crew.result(&server).await, expected, "{}: {}", crew.group, crew.log());
    }
}

/// Makes the users of the guide, the one for groups once for each example; their names.
async fn acl(server: &RedisServer) -> Vec<String> {
    let lines = blocks("");
    let lines: Vec<&str> = lines.iter().flat_map(|block| block.lines()).collect();
    for line in &lines {
        for group in ["rust", "node", "python"] {
            server.run::<()>(&line.replace("activity", group)).await;
        }
    }
    lines.iter().map(|line| line.split(' ').nth(2).expect("a name").to_owned()).collect()
}

#[test]
fn the_message_in_the_guide_is_what_the_schema_promises() {
    let schema = closed();
    let messages = blocks("json");
    assert_eq!(messages.len(), 1);
    let message: Value = serde_json::from_str(&messages[0]).expect("json");
    let problems: Vec<String> = schema.iter_errors(&message).map(|error| error.to_string()).collect();
    assert_eq!(problems, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statement_in_the_guide_counts_each_once_in_any_order() {
    let mut random = Random::new(seed("guide"));
    let url = postgres::database().await;
    let pool = connect(&url).await;
    let (chain, node) = devchain(52, 20).await;
    let daemon = flume::Flume::start(&flume::config(&node, "", &sources("")), &url).await;
    for _ in 0..4 {
        daemon.until_tip("dev", chain.head().number - 2).await;
        chain.reorg(5, 7);
    }
    daemon.until_tip("dev", chain.head().number - 2).await;
    daemon.stop().await;
    let mut messages: Vec<String> =
        sqlx::query_scalar("select message from outbox").fetch_all(&pool).await.expect("reads");
    messages.extend_from_within(..);
    for last in (1..messages.len()).rev() {
        messages.swap(last, usize::try_from(random.below(last as u64 + 1)).expect("small"));
    }
    let [table, insert] = &blocks("sql")[..] else { panic!("a table and a statement") };
    sqlx::raw_sql(AssertSqlSafe(table.clone())).execute(&pool).await.expect("a table");
    for message in messages {
        let message: Value = serde_json::from_str(&message).expect("json");
        let subject = if message["type"].as_str().is_some_and(|kind| kind.starts_with("user.")) {
            "aggregateId"
        } else {
            "id"
        };
        sqlx::query(AssertSqlSafe(insert.clone()))
            .bind(message[subject].as_str())
            .bind(message["seq"].as_i64())
            .bind(message["state"].as_str())
            .execute(&pool)
            .await
            .expect("inserts");
    }
    let confirmed: Vec<String> = sqlx::query_scalar("select subject from seen where state = 'confirmed'")
        .fetch_all(&pool)
        .await
        .expect("reads");
    assert_eq!(confirmed.into_iter().collect::<BTreeSet<_>>(), truth(&pool).await.0);
}
