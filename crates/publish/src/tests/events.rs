use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fixture::*;
use chainflume_db::Database;

fn event(id: u64, of: &str) -> Value {
    json!({
        "id": format!("00000000-0000-4000-8000-{id:012}"), "type": "order.shipped", "aggregateType": "order",
        "aggregateId": of, "payload": { "n": id }, "metadata": { "userId": "u7", "correlationId": "c1" },
    })
}

#[tokio::test]
async fn events_of_a_request_are_stored_once_and_numbered_in_order() {
    let (publisher, database) = publisher().await;
    let sent = json!([event(1, "a"), event(2, "b"), event(1, "a")]);
    let (status, answer) = ask(&publisher, "POST /v1/domain-events", sent).await.expect("stored");
    assert_eq!(status, 201);
    let flags = |answer: &Value| -> Vec<(u64, bool)> {
        let events = answer["events"].as_array().expect("events");
        events.iter().map(|one| (one["seq"].as_u64().expect("a number"), one["duplicate"] == true)).collect()
    };
    assert_eq!(flags(&answer), [(1, false), (2, false), (1, true)]);
    // Another payload under the same id: the first is kept.
    let mut other = event(1, "a");
    other["payload"] = json!({ "n": "another" });
    let (_, again) = ask(&publisher, "POST /v1/domain-events", other).await.expect("answered");
    assert_eq!(flags(&again), [(1, true)]);
    let messages = messages(&database).await;
    assert_eq!(messages.len(), 2);
    assert_eq!((&messages[0]["payload"], &messages[0]["seq"]), (&json!({ "n": 1 }), &json!(1)));
    assert_eq!(
        (&messages[1]["aggregateId"], &messages[1]["metadata"]["userId"]),
        (&json!("b"), &json!("u7"))
    );
}

#[tokio::test]
async fn a_request_with_one_bad_event_stores_none() {
    let (publisher, database) = publisher().await;
    let mut bad = event(2, "b");
    bad["type"] = json!("erc20.transfer");
    let refusal =
        ask(&publisher, "POST /v1/domain-events", json!([event(1, "a"), bad])).await.expect_err("bad");
    assert_eq!((refusal.code, refusal.pointer.as_deref()), ("reserved_type", Some("/1/type")));
    for sent in [json!([]), Value::Array((0..501).map(|n| event(n, "a")).collect())] {
        let refusal = ask(&publisher, "POST /v1/domain-events", sent).await.expect_err("too many or none");
        assert_eq!(refusal.code, "too_many_events");
    }
    assert_eq!(messages(&database).await, Vec::<Value>::new());
    let most = Value::Array((0..500).map(|n| event(n, "a")).collect());
    ask(&publisher, "POST /v1/domain-events", most).await.expect("stored");
    assert_eq!(messages(&database).await.len(), 500);
}

#[tokio::test]
async fn events_are_looked_up_by_index_in_a_table_that_grows() {
    let (publisher, database) = publisher_on_one_connection().await;
    let publish = async |n: u64| {
        let events: Vec<Value> = (n * 32..(n + 1) * 32).map(|id| event(id, "a")).collect();
        ask(&publisher, "POST /v1/domain-events", events.into()).await.expect("stored");
    };
    // PostgreSQL keeps a plan from the sixth execution on. This one would be made for an almost empty table.
    for n in 1..=8 {
        publish(n).await;
    }
    let many = "insert into domain_events (seq, id, type, aggregate_type, aggregate_id, payload, source, happened_at) \
        select n, gen_random_uuid(), 'order.shipped', 'order', 'a', '{}', 'test', now() from generate_series(1000, 20999) n";
    sqlx::query(many).execute(database.pool()).await.expect("inserts");
    let before = rows_read_by_scans(&database).await;
    publish(9).await;
    let read = rows_read_by_scans(&database).await - before;
    assert!(read < 20_000, "{read} rows were read to look up 32 events");
}

/// Rows of `domain_events` that PostgreSQL read without an index, by its statistics.
async fn rows_read_by_scans(database: &Database) -> i64 {
    sqlx::query("select pg_stat_force_next_flush()").execute(database.pool()).await.expect("flushes");
    let sql = "select seq_tup_read from pg_stat_user_tables where relname = 'domain_events'";
    sqlx::query_scalar(sql).fetch_one(database.pool()).await.expect("reads")
}

#[tokio::test]
async fn concurrent_publishers_share_commits_without_a_gap() {
    let (publisher, database) = publisher().await;
    let calls = (0..64u64).map(|caller| {
        let publisher = publisher.clone();
        tokio::spawn(async move {
            for n in 0..4 {
                let sent = event(caller * 10 + n, &caller.to_string());
                ask(&publisher, "POST /v1/domain-events", sent).await.expect("stored");
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("no panic");
    }
    let messages = messages(&database).await;
    let seqs: Vec<u64> = messages.iter().filter_map(|message| message["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=256).collect::<Vec<_>>());
    for caller in 0..64 {
        let of = messages
            .iter()
            .filter(|message| message["aggregateId"].as_str() == Some(caller.to_string().as_str()));
        let order: Vec<u64> = of.filter_map(|message| message["payload"]["n"].as_u64()).collect();
        assert_eq!(
            order,
            (0..4).map(|n| caller * 10 + n).collect::<Vec<u64>>(),
            "each publisher's own order"
        );
    }
    let commits: i64 = sqlx::query_scalar("select count(distinct xmin::text) from domain_events")
        .fetch_one(database.pool())
        .await
        .expect("counts");
    assert!(commits < 200, "{commits} commits for 256 calls");
}

#[tokio::test]
async fn publishers_that_share_a_commit_pause_within_the_limit() {
    const PAUSE: Duration = Duration::from_millis(300);
    const SLOW: Duration = Duration::from_millis(500);
    let database = database().await;
    let publisher = publisher_that_pauses(&database, PAUSE);
    // With a kind that is known, a call waits for its commit alone.
    ask(&publisher, "POST /v1/domain-events", event(1, "a")).await.expect("stored");
    let mut writer = database.pool().begin().await.expect("begins");
    sqlx::query("update outbox_head set seq = seq").execute(&mut *writer).await.expect("locks the head");
    let publish = async |n| {
        ask(&publisher, "POST /v1/domain-events", event(n, "a")).await.expect("stored");
        Instant::now()
    };
    let release = async {
        tokio::time::sleep(SLOW).await;
        writer.commit().await.expect("commits");
    };
    let (shared, _, ()) = tokio::join!(publish(2), publish(3), release);
    let paused = publish(4).await - shared;
    assert!(paused >= PAUSE - Duration::from_millis(20), "{paused:?}");
    // One that waits for each answer never pauses.
    let began = Instant::now();
    for n in 5..9 {
        publish(n).await;
    }
    assert!(began.elapsed() < 4 * PAUSE, "{:?}", began.elapsed());
    let commits: i64 = sqlx::query_scalar("select count(distinct xmin::text) from domain_events")
        .fetch_one(database.pool())
        .await
        .expect("counts");
    assert_eq!(commits, 7, "two of the eight events share one");
}

#[tokio::test]
async fn a_repeat_with_its_key_stores_nothing_more() {
    let (publisher, database) = publisher().await;
    let mut sent = event(1, "a");
    sent.as_object_mut().expect("an object").remove("id");
    let call =
        |key: Option<&'static str>| ask_with(&publisher, "POST /v1/domain-events", (sent.clone(), key));
    let (_, first) = call(Some("k1")).await.expect("stored");
    let (_, again) = call(Some("k1")).await.expect("answered");
    assert_eq!(
        (&first["events"][0]["id"], &again["events"][0]["duplicate"]),
        (&again["events"][0]["id"], &json!(true))
    );
    call(Some("k2")).await.expect("stored");
    call(None).await.expect("stored");
    assert_eq!(messages(&database).await.len(), 3);
    // After a day the server forgets a key: what is sent with it then is another event.
    let mut other = sent.clone();
    other["payload"] = json!({ "n": "another" });
    let (_, fresh) =
        ask_with(&publisher, "POST /v1/domain-events", (other, Some("k1"))).await.expect("stored");
    assert_eq!((&fresh["events"][0]["duplicate"], messages(&database).await.len()), (&json!(false), 4));
}

#[tokio::test]
async fn kinds_of_things_are_bounded() {
    let (publisher, database) = publisher().await;
    let kind = |name: &str| {
        let mut event = event(name.len() as u64, "1");
        event["aggregateType"] = json!(name);
        event
    };
    // Nothing is stored yet, and one request names one kind too many.
    let seven: Vec<Value> = (1..=7).map(|n| kind(&"k".repeat(n))).collect();
    let refusal = ask(&publisher, "POST /v1/domain-events", seven.into()).await.expect_err("seven kinds");
    assert_eq!((refusal.status, refusal.code), (422, "too_many_aggregate_types"));
    for name in ["a", "bb", "ccc", "dddd", "eeeee", "ffffff"] {
        ask(&publisher, "POST /v1/domain-events", kind(name)).await.expect("stored");
    }
    let refusal = ask(&publisher, "POST /v1/domain-events", kind("ggggggg")).await.expect_err("one more");
    assert_eq!((refusal.status, refusal.code), (422, "too_many_aggregate_types"));
    assert_eq!(messages(&database).await.len(), 6);
    // Another server knows the stored kinds, and takes no more than they leave.
    let other = publisher_with(&database, Vec::new());
    let refusal = ask(&other, "POST /v1/domain-events", kind("ggggggg")).await.expect_err("one more");
    assert_eq!(refusal.code, "too_many_aggregate_types");
    ask(&other, "POST /v1/domain-events", kind("ffffff")).await.expect("a stored kind");
}

#[tokio::test]
async fn a_trace_has_what_caused_a_message_and_what_it_caused() {
    let (publisher, _database) = publisher().await;
    let id = |n: u64| format!("00000000-0000-4000-8000-{n:012}");
    let caused = |n: u64, cause: Option<u64>, group: Option<&str>| {
        let mut event = event(n, "a");
        event["metadata"] = json!({ "causationId": cause.map(id), "correlationId": group });
        event
    };
    let sent = json!([
        caused(1, None, Some("flow")),
        caused(2, Some(1), None),
        caused(3, Some(2), None),
        caused(4, None, Some("flow")),
        caused(5, None, Some("another"))
    ]);
    ask(&publisher, "POST /v1/domain-events", sent).await.expect("stored");
    for n in 1..=4 {
        let (_, trace) =
            ask(&publisher, &format!("GET /v1/messages/{}/trace", id(n)), Value::Null).await.expect("read");
        assert_eq!((&trace["messages"], &trace["isCut"]), (&json!(4), &json!(false)), "{n}");
        let roots = trace["roots"].as_array().expect("roots");
        assert_eq!((roots.len(), &roots[0]["id"], &roots[1]["id"]), (2, &json!(id(1)), &json!(id(4))));
        assert_eq!(roots[0]["caused"][0]["caused"][0]["id"], json!(id(3)));
    }
    let refusal =
        ask(&publisher, &format!("GET /v1/messages/{}/trace", id(9)), Value::Null).await.expect_err("none");
    assert_eq!((refusal.status, refusal.code), (404, "not_found"));
}

#[tokio::test]
async fn events_whose_time_is_over_are_deleted_by_page() {
    let (publisher, database) = publisher().await;
    for n in 0..5 {
        let event =
            json!({ "type": "order.shipped", "aggregateType": "order", "aggregateId": n.to_string() });
        ask(&publisher, "POST /v1/domain-events", event).await.expect("stored");
    }
    let old = "update domain_events set stored_at = now() - interval '91 days' where aggregate_id <> '4'";
    sqlx::query(old).execute(database.pool()).await.expect("aged");
    let kept = std::time::Duration::from_hours(90 * 24);
    for expected in [3, 1, 0] {
        assert_eq!(crate::trim_events(&database, kept, 3).await.expect("trims"), expected);
    }
    let left: Vec<String> = sqlx::query_scalar("select aggregate_id from domain_events")
        .fetch_all(database.pool())
        .await
        .expect("reads");
    assert_eq!(left, ["4"]);
    assert_eq!(messages(&database).await.len(), 5, "messages have a retention of their own");
}
