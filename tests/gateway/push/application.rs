//! Facts of the application, from an HTTP request to every receiver of messages.

mod crash;
mod document;
mod figures;
mod fuzz;
mod guides;
mod merge;
mod statuses;

use sqlx::AssertSqlSafe;

use super::log::new_key;
use super::wire::{Frame, Socket};
use super::*;
use crate::receiver::Receiver;
use crate::receiver::webhook;
use crate::redis_server::RedisServer;
use crate::wait::{until, until_equal};
use document::{Answered, ApiDocument};

/// A back end with its key.
struct BackEnd<'a> {
    gate: &'a Gate,
    bearer: String,
}

impl BackEnd<'_> {
    /// Every answer is one that `/openapi.json` describes.
    async fn send(&self, line: &str, body: &str) -> Answered {
        let answered = self.ask(line, body).await;
        ApiDocument::shared(self.gate).await.admit(line, &answered);
        answered
    }

    async fn ask(&self, line: &str, body: &str) -> Answered {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.gate.request(method, path).header("authorization", &self.bearer);
        let answer = request.body(body.to_owned()).send().await.expect("the server answers");
        Answered::of(answer).await
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let answered = self.send(&format!("POST {path}"), &body.to_string()).await;
        assert_eq!(answered.status, 201, "{}", answered.json);
        answered.json
    }
}

async fn gate(seed: u64, more: &str, scopes: &str) -> (Gate, String) {
    let (key, hash) = new_key().await;
    let tables = format!(
        "[server.auth]\nsecret = \"{SECRET}\"\n[[server.key]]\nname = \"backend\"\nhash = {hash}\nscopes = [{scopes}]\n{more}"
    );
    (Gate::new(seed, &tables).await, format!("Bearer {key}"))
}

fn id(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

fn event(n: usize, order: &str, user: &str) -> Value {
    json!({
        "id": id(n), "type": "order.shipped", "aggregateType": "order", "aggregateId": order, "payload": { "n": n },
        "metadata": { "userId": user, "correlationId": "c1" }
    })
}

fn user(sub: &str) -> String {
    format!("Bearer {}", token(&json!({ "sub": sub, "exp": seconds_from_now(600) })))
}

/// Messages off the chain in order.
async fn facts(gate: &Gate) -> Vec<Value> {
    let all = gate.outbox().await.into_iter().map(|(_, message)| message);
    all.filter(|message| message["metadata"]["chainId"].is_null()).collect()
}

async fn until_redis_has(redis: &RedisServer, stream: &str, expected: &[Value]) {
    let read = async || {
        let held = redis.streams().await.remove(stream).unwrap_or_default();
        held.iter().map(|(_, text)| serde_json::from_str(text).expect("JSON")).collect::<Vec<Value>>()
    };
    until_equal(&format!("the stream {stream} has {expected:?}"), expected.to_vec(), read).await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one life of one process, in its order")]
async fn facts_reach_rooms_pages_redis_and_webhooks_in_order() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let more = format!("[redis]\nurl = \"{}\"\n{}", redis.url(), webhook("crm", &receiver, ""));
    let (gate, bearer) = gate(71, &more, "\"read\", \"publish\"").await;
    let mut daemon = gate.start().await;
    let backend = BackEnd { gate: &gate, bearer: bearer.clone() };
    let own = user("u7");
    let mut socket = Socket::open(gate.port, &[("authorization", own.as_str())]).await.expect("it opens");
    socket.join(&["user-u7"]).await;

    let sent = json!([event(1, "9", "u7"), event(2, "10", "u8"), event(3, "9", "u7")]);
    let answer = backend.post("/v1/domain-events", &sent).await;
    assert_eq!(
        answer["events"][2]["seq"],
        answer["events"][0]["seq"].as_u64().map(|seq| seq + 2).expect("a number")
    );
    let begun = json!({ "userId": "u7", "type": "send", "title": "Send", "transaction": { "chainId": 31337, "hash": format!("0x{}", "ab".repeat(32)) } });
    let activity =
        backend.post("/v1/activities", &begun).await["eventId"].as_str().expect("an id").to_owned();
    let changed =
        backend.send(&format!("PATCH /v1/activities/{activity}"), "{\"status\":\"in_progress\"}").await;
    assert_eq!(changed.status, 200, "{}", changed.json);
    let ended = backend.send(&format!("POST /v1/activities/{activity}/complete"), "{}").await;
    // Whoever wrote reads what was written, from any server.
    let line = format!("GET /v1/activities/{activity}?min_position={}", ended.position);
    let read = backend.send(&line, "").await;
    assert_eq!((read.status, &read.json["status"]), (200, &json!("completed")), "{}", read.json);

    let mut seen = Vec::new();
    for _ in 0..5 {
        let Frame::Text(frame) = socket.next().await else { panic!("the socket ended") };
        let data = &frame["data"];
        let what =
            if frame["event"] == "activity" { data["status"].clone() } else { data["payload"]["n"].clone() };
        seen.push((frame["event"].as_str().expect("a name").to_owned(), what));
    }
    let expected = [("message", json!(1)), ("message", json!(3)), ("activity", json!("pending"))];
    let expected =
        expected.into_iter().chain([("activity", json!("in_progress")), ("activity", json!("completed"))]);
    assert_eq!(seen, expected.map(|(event, what)| (event.to_owned(), what)).collect::<Vec<_>>());

    let facts = facts(&gate).await;
    let of =
        |kind: &str| facts.iter().filter(|fact| fact["aggregateType"] == kind).cloned().collect::<Vec<_>>();
    assert_eq!((of("order").len(), of("activity").len()), (3, 3));
    let schema = crate::schema::closed();
    assert!(facts.iter().all(|fact| schema.is_valid(fact)), "{facts:#?}");
    for (query, expected) in [
        ("room=order-9", [1, 3].as_slice()),
        ("aggregate=order-9", &[1, 3]),
        ("user=u7&aggregate=order", &[1, 3]),
        ("user=u8&type=order.*", &[2]),
        ("user=u8&aggregate=invoice", &[]),
    ] {
        let page = backend.send(&format!("GET /v1/messages?{query}"), "").await;
        let found =
            page.json["messages"].as_array().unwrap_or_else(|| panic!("{query}: {}", page.json)).clone();
        let found: Vec<u64> = found.iter().filter_map(|message| message["payload"]["n"].as_u64()).collect();
        assert_eq!(found, expected, "{query}");
    }
    for (path, status) in [
        ("/v1/messages?room=user-u7".to_owned(), 200),
        ("/v1/messages?room=user-u8".to_owned(), 403),
        ("/v1/messages?room=order-9".to_owned(), 403),
        (format!("/v1/activities/{activity}"), 200),
        ("/v1/activities?userId=u8".to_owned(), 403),
        (format!("/v1/messages/{}/trace", id(1)), 403),
    ] {
        assert_eq!(gate.get(&path, &[("authorization", &own)]).await.0, status, "{path}");
    }
    let other = user("u8");
    let (status, none) = gate.get(&format!("/v1/activities/{activity}"), &[("authorization", &other)]).await;
    assert_eq!((status, &none["code"]), (404, &json!("not_found")));
    let trace = backend.send(&format!("GET /v1/messages/{}/trace", id(1)), "").await;
    assert_eq!(trace.json["messages"], 3, "{}", trace.json);

    until_redis_has(&redis, "events:order", &of("order")).await;
    until_redis_has(&redis, "events:activity", &of("activity")).await;
    let has = |fact: &Value| receiver.taken().iter().any(|got| got.json() == *fact);
    until("the webhook has all facts", || facts.iter().all(has)).await;
    // A daemon that starts again finds its own streams, also those the application named.
    daemon.kill_9().await;
    daemon = gate.start().await;
    backend.post("/v1/domain-events", &event(4, "9", "u7")).await;
    let orders: Vec<Value> =
        self::facts(&gate).await.into_iter().filter(|fact| fact["aggregateType"] == "order").collect();
    assert_eq!(orders.len(), 4);
    until_redis_has(&redis, "events:order", &orders).await;
    daemon.stop_well().await;
}

/// Takes the database away from the daemon, or gives it back.
async fn allow_connections(gate: &Gate, allows: bool) {
    let name = gate.url.split(['/', '?']).find(|part| part.starts_with("test_")).expect("its name");
    let other = connect(&gate.url.replace(name, "postgres")).await;
    for sql in [
        format!("alter database {name} allow_connections {allows}"),
        format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}' and not {allows}"
        ),
    ] {
        sqlx::query(AssertSqlSafe(sql)).execute(&other).await.expect("the statement runs");
    }
}

/// Requests with what they are answered: method and path with the body, status and code.
fn bad_requests() -> Vec<((String, String), u16, &'static str)> {
    let events = |text: &str| ("POST /v1/domain-events".to_owned(), text.to_owned());
    let with = |field: &str, value: Value| {
        let mut event = event(1, "9", "u7");
        event[field] = value;
        events(&event.to_string())
    };
    let paid = json!({ "type": "order.paid", "aggregateType": "order", "aggregateId": "9", "payload": { "items": [1, "2"] } });
    let deep = format!("{{\"type\":{}{}}}", "[".repeat(200), "]".repeat(200));
    vec![
        (events("{"), 400, "bad_body"),
        (events(&event(1, "9", "u7").to_string().replacen('{', "{\"type\":\"a.b\",", 1)), 400, "bad_body"),
        (events(&deep), 400, "bad_body"),
        (events("[]"), 400, "too_many_events"),
        (with("type", json!("order")), 400, "bad_event_type"),
        (with("type", json!("erc20.transfer")), 400, "reserved_type"),
        (with("aggregateType", json!("token")), 400, "reserved_aggregate"),
        (with("payload", json!({ "text": "x".repeat(2_000) })), 413, "payload_too_large"),
        (events(&paid.to_string()), 422, "schema_violation"),
        (events(&format!("\"{}\"", "x".repeat((1 << 20) - 1))), 413, "body_too_large"),
        (("PUT /v1/domain-events".to_owned(), "{}".to_owned()), 405, "method_not_allowed"),
        (("PATCH /v1/activities?userId=u7&type=send".to_owned(), "{}".to_owned()), 400, "update_by_id_only"),
        (("PATCH /v1/activities/7".to_owned(), "{}".to_owned()), 404, "not_found"),
        (("GET /v1/activities?userId=u7".to_owned(), String::new()), 403, "forbidden"),
        (("GET /v1/activities?user=u7".to_owned(), String::new()), 400, "bad_query"),
        (("GET /v1/messages?aggregate=order.*".to_owned(), String::new()), 400, "bad_query"),
        (("GET /v1/messages?aggregate=Order-9".to_owned(), String::new()), 400, "bad_query"),
        (("GET /v1/messages?aggregate=9-order".to_owned(), String::new()), 400, "bad_query"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_facts_have_a_code_and_leave_nothing() {
    let schemas = tempfile::tempdir().expect("a folder");
    let schema = json!({ "type": "object", "properties": { "items": { "items": { "type": "integer" } } } });
    std::fs::write(schemas.path().join("order.paid.json"), schema.to_string()).expect("written");
    let more = format!("[publish]\nschemas = \"{}\"\npayload_bytes = \"1 KiB\"\n", schemas.path().display());
    let (gate, bearer) = gate(72, &more, "\"publish\"").await;
    let daemon = gate.start().await;
    let backend = BackEnd { gate: &gate, bearer };
    for ((line, body), status, code) in bad_requests() {
        let answered = backend.send(&line, &body).await;
        assert_eq!(
            (answered.status, &answered.json["code"]),
            (status, &json!(code)),
            "{line}: {}",
            answered.json
        );
        let expected = json!("/payload/items/1");
        assert!(code != "schema_violation" || answered.json["pointer"] == expected, "{}", answered.json);
    }
    let text =
        gate.request(reqwest::Method::POST, "/v1/domain-events").header("authorization", &backend.bearer);
    let answer = text.header("content-type", "text/plain").body("{}").send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 415);
    let stranger = BackEnd { gate: &gate, bearer: user("u7") };
    for line in ["POST /v1/domain-events", "POST /v1/activities"] {
        let answered = stranger.send(line, &event(1, "9", "u7").to_string()).await;
        assert_eq!((answered.status, &answered.json["code"]), (403, &json!("forbidden")), "{line}");
    }
    assert_eq!(facts(&gate).await, Vec::<Value>::new());

    allow_connections(&gate, false).await;
    let away = backend.send("POST /v1/domain-events", &event(1, "9", "u7").to_string()).await;
    assert_eq!((away.status, &away.json["code"]), (503, &json!("unavailable")), "{}", away.json);
    allow_connections(&gate, true).await;
    until_equal("the database is back and an event is stored", 201, async || {
        backend.send("POST /v1/domain-events", &event(1, "9", "u7").to_string()).await.status
    })
    .await;
    assert_eq!(facts(&gate).await.len(), 1);
    daemon.stop_well().await;
}
