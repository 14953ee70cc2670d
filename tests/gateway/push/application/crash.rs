//! What was answered is there once, whatever dies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chainflume_devchain::MinerSettings;
use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::daemon::{agrees, postmaster};
use crate::random::{Random, seed};
use crate::wait::until_ok;

const PUBLISHERS: usize = 64;
/// Events of a publisher at least.
const EVENTS: usize = 5;
const KILLS: usize = 6;
/// From one event of a publisher to the next: a test build on a busy machine stores some hundred a second.
const PACE: Duration = Duration::from_millis(100);

/// A back end that publishes until it is stopped, and sends again whatever is not answered with 201.
#[derive(Clone)]
struct CrashPublisher {
    client: reqwest::Client,
    address: String,
    bearer: String,
    is_over: Arc<AtomicBool>,
    /// Every other one names its events by the key alone.
    number: usize,
}

/// An event that was answered: its place at the publisher, id and number.
type AnsweredEvent = (usize, String, u64);

impl CrashPublisher {
    async fn run(self) -> Vec<AnsweredEvent> {
        let mut answered = Vec::new();
        while answered.len() < EVENTS || !self.is_over.load(Ordering::Relaxed) {
            answered.push(self.publish(answered.len()).await);
            tokio::time::sleep(PACE).await;
        }
        answered
    }

    async fn publish(&self, n: usize) -> AnsweredEvent {
        let mut event = event(self.number * 100_000 + n, &self.number.to_string(), "u7");
        event["payload"]["n"] = json!(n);
        let has_key = self.number.is_multiple_of(2);
        if has_key {
            event.as_object_mut().expect("an object").remove("id");
        }
        let deadline = Instant::now() + 2 * WAIT_LIMIT;
        loop {
            let mut request = self.client.post(&self.address).header("authorization", &self.bearer);
            if has_key {
                request = request.header("idempotency-key", format!("{}-{n}", self.number));
            }
            if let Ok(answer) = request.body(event.to_string()).send().await {
                let status = answer.status().as_u16();
                let answer: Value = answer
                    .text()
                    .await
                    .ok()
                    .and_then(|text| serde_json::from_str(&text).ok())
                    .unwrap_or_default();
                if let (201, Some(seq)) = (status, answer["events"][0]["seq"].as_u64()) {
                    return (n, answer["events"][0]["id"].as_str().expect("an id").to_owned(), seq);
                }
                assert!(status == 201 || status == 503, "{status}: {answer}");
            }
            assert!(Instant::now() < deadline, "an event is never stored");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn kill_9(pid: u32) {
    let pid = Pid::from_raw(pid.try_into().expect("a pid")).expect("not 0");
    kill_process(pid, Signal::KILL).expect("it is ours");
}

/// The postmaster, once it runs.
async fn database_of(home: &Home) -> u32 {
    let runs = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    until_ok("a postmaster runs", async || postmaster(&home.path("data")).filter(runs).ok_or("it does not"))
        .await
}

/// What a run of publishers has in the database.
async fn check(pool: &PgPool, answered: &[Vec<AnsweredEvent>]) {
    let rows: Vec<(i64, String)> =
        sqlx::query_as("select seq, message from outbox order by seq").fetch_all(pool).await.expect("reads");
    assert!(rows.windows(2).all(|two| two[0].0 + 1 == two[1].0) && rows[0].0 == 1, "numbers have no gap");
    let facts: Vec<Value> = rows.iter().map(|(_, text)| serde_json::from_str(text).expect("JSON")).collect();
    let facts: Vec<&Value> = facts.iter().filter(|fact| fact["type"] == "order.shipped").collect();
    let ids: BTreeSet<&str> = facts.iter().filter_map(|fact| fact["id"].as_str()).collect();
    let expected: usize = answered.iter().map(Vec::len).sum();
    assert_eq!((facts.len(), ids.len()), (expected, expected), "each event once");
    let mut stored: BTreeMap<&str, Vec<AnsweredEvent>> = BTreeMap::new();
    for fact in facts {
        let n = usize::try_from(fact["payload"]["n"].as_u64().expect("a number")).expect("small");
        let (id, seq) =
            (fact["id"].as_str().expect("an id").to_owned(), fact["seq"].as_u64().expect("a number"));
        stored.entry(fact["aggregateId"].as_str().expect("an id")).or_default().push((n, id, seq));
    }
    for (number, answered) in answered.iter().enumerate() {
        assert_eq!(
            stored[&*number.to_string()],
            *answered,
            "of publisher {number}, in its order, as it was answered"
        );
    }
    let joined: i64 = sqlx::query_scalar(
        "select count(*) from domain_events e join outbox o on o.seq = e.seq and o.message::jsonb ->> 'id' = e.id::text",
    )
    .fetch_one(pool)
    .await
    .expect("counts");
    assert_eq!(usize::try_from(joined), Ok(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_survive_random_kills_of_daemon_and_database() {
    let mut random = Random::new(seed("facts_survive_random_kills"));
    let (chain, server) = devchain(73, 20).await;
    let (home, port) = (Home::bare(), free_port());
    let (key, hash) = new_key().await;
    let tables = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\n[server.auth]\nsecret = \"{SECRET}\"\n[[server.key]]\nname = \"backend\"\n\
         hash = {hash}\nscopes = [\"publish\"]\n{}",
        crate::daemon::chain(&server, "", &all_sources())
    );
    home.write(&tables, None);
    let mut daemon = home.start();
    daemon.until_tip(18).await;
    chainflume_ops::tls::install();
    let client = reqwest::Client::builder().no_proxy().timeout(WAIT_LIMIT).build().expect("a client");
    let is_over = Arc::new(AtomicBool::new(false));
    let publisher = |number| {
        let address = format!("http://127.0.0.1:{port}/v1/domain-events");
        let bearer = format!("Bearer {key}");
        CrashPublisher { client: client.clone(), address, bearer, is_over: is_over.clone(), number }
    };
    let publishers: Vec<_> = (0..PUBLISHERS).map(|number| tokio::spawn(publisher(number).run())).collect();
    let block_time = Duration::from_millis(200);
    let miner = chain.run(MinerSettings { block_time, reorg_every: Some(8), max_reorg_depth: 4 });
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(random.between(200, 1_500))).await;
        let (daemon_dies, database_dies) = random.pick(&[(true, false), (false, true), (true, true)]);
        if database_dies {
            kill_9(database_of(&home).await);
        }
        if daemon_dies {
            daemon.kill_9().await;
            daemon = home.start();
        }
        daemon.until("ready again", |status, _| status == 200).await;
    }
    drop(miner);
    is_over.store(true, Ordering::Relaxed);
    let mut answered = Vec::new();
    for publisher in publishers {
        answered.push(publisher.await.expect("every event is answered"));
    }
    let tip = chain.head().number - 2;
    daemon.until_tip(tip).await;
    let pool = connect(&home.private_url()).await;
    check(&pool, &answered).await;
    pool.close().await;
    agrees(&chain, &home.private_url(), tip).await;
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_does_not_wait_for_a_request_that_was_cut_off() {
    let (gate, bearer) = gate(76, "", "\"publish\", \"read\"").await;
    let daemon = gate.start().await;
    let mut event = event(1, "9", "u7");
    event.as_object_mut().expect("an object").remove("id");
    let activity = json!({ "userId": "u7", "type": "send", "title": "Send" });
    let send = async |path: &str, body: &Value| {
        let request = gate.request(reqwest::Method::POST, path).header("authorization", &bearer);
        let answer =
            request.header("idempotency-key", "k").body(body.to_string()).send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, serde_json::from_str::<Value>(&answer.text().await.expect("a body")).expect("JSON"))
    };
    let (first, begun) = (send("/v1/domain-events", &event).await, send("/v1/activities", &activity).await);
    assert_eq!((first.0, begun.0), (201, 201), "{first:?} {begun:?}");
    // As a server leaves it that is killed after the commit and before its answer.
    let sql = "update request_answers set status = null, answer = null, began_at = now()";
    sqlx::query(sql).execute(&gate.pool).await.expect("cut off");
    let (status, again) = send("/v1/domain-events", &event).await;
    assert_eq!((status, &again["events"][0]["duplicate"]), (201, &json!(true)), "{again}");
    assert_eq!(again["events"][0]["id"], first.1["events"][0]["id"]);
    assert_eq!(send("/v1/activities", &activity).await, begun);
    let (status, other) =
        send("/v1/activities", &json!({ "userId": "u8", "type": "send", "title": "Send" })).await;
    assert_eq!((status, &other["code"]), (422, &json!("idempotency_key_reused")));
    assert_eq!(facts(&gate).await.len(), 2);
    daemon.stop_well().await;
}
