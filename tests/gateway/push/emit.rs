//! What clients send over connections that stay open: events of the application, and too much.

use std::collections::BTreeSet;

use super::log::new_key;
use super::refused::{store_large, until_dropped};
use super::wire::{Frame, Socket};
use super::*;
use crate::wait::until_equal;

/// The next frames, as many as this.
async fn frames(socket: &mut Socket, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    while found.len() < count {
        let Frame::Text(frame) = socket.next().await else { panic!("the connection stays: {found:?}") };
        found.push(frame);
    }
    found
}

fn event(id: u32, order: &str) -> Value {
    json!({
        "id": format!("00000000-0000-4000-8000-{id:012}"), "type": "order.shipped", "aggregateType": "order",
        "aggregateId": order, "payload": { "n": id }, "metadata": { "userId": "u7" },
    })
}

async fn gate(seed: u64, more: &str) -> (Gate, String) {
    let (key, hash) = new_key().await;
    let tables = format!(
        "{more}[server.auth]\nsecret = \"{SECRET}\"\n[[server.key]]\nname = \"backend\"\nhash = {hash}\n\
         scopes = [\"read\", \"publish\", \"admin\"]\n"
    );
    (Gate::new(seed, &tables).await, format!("Bearer {key}"))
}

fn user(sub: &str, scope: &str) -> String {
    format!("Bearer {}", token(&json!({ "sub": sub, "exp": seconds_from_now(600), "scope": scope })))
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_emitted_by_websocket_by_who_may_publish() {
    let (gate, bearer) = gate(82, "").await;
    let daemon = gate.start().await;
    let open =
        async |bearer: &str| Socket::open(gate.port, &[("authorization", bearer)]).await.expect("it opens");
    let mut backend = open(&bearer).await;
    backend.join(&["order-9", "user-u7"]).await;
    let emit = json!({ "id": 7, "op": "emit", "event": event(1, "9") });
    backend.send(1, emit.to_string().as_bytes()).await;
    let mut found = frames(&mut backend, 3).await;
    found.sort_by_key(|frame| frame["room"].to_string());
    let (seq, position) = (found[0]["data"]["seq"].clone(), found[0]["position"].clone());
    let published = json!([{ "id": event(1, "9")["id"], "seq": seq, "duplicate": false }]);
    let answer = json!({ "id": 7, "ok": true, "events": published, "position": position });
    assert_eq!(found[2], answer, "{found:?}");
    assert_eq!((&found[0]["room"], &found[1]["room"]), (&json!("order-9"), &json!("user-u7")));
    assert_eq!(found[0]["data"]["payload"], json!({ "n": 1 }));

    // The same event again is the same event, and several are one transaction.
    let Frame::Text(again) = backend.ask(&emit).await else { panic!("an answer") };
    assert_eq!((&again["events"][0]["duplicate"], &again["events"][0]["seq"]), (&json!(true), &seq));
    let mut writer = open(&user("7", "publish")).await;
    let several = json!({ "id": "b", "op": "emit", "events": [event(2, "9"), event(3, "10")] });
    let Frame::Text(answer) = writer.ask(&several).await else { panic!("an answer") };
    assert_eq!((&answer["ok"], answer["events"].as_array().map(Vec::len)), (&json!(true), Some(2)));
    let later = frames(&mut backend, 3).await;
    let rooms: BTreeSet<&str> = later.iter().filter_map(|frame| frame["room"].as_str()).collect();
    assert_eq!(rooms, BTreeSet::from(["order-9", "user-u7"]), "{later:?}");

    // Whatever is refused has its code, and the connection stays.
    let mut reader = open(&user("8", "read admin")).await;
    let Frame::Text(refused) = reader.ask(&json!({ "id": 1, "op": "emit", "event": event(4, "9") })).await
    else {
        panic!("an answer")
    };
    assert_eq!((&refused["ok"], &refused["code"]), (&json!(false), &json!("forbidden")));
    let reserved = json!({ "type": "erc20.transfer", "aggregateType": "order", "aggregateId": "9" });
    for (op, code) in [
        (json!({ "id": 1, "op": "emit" }), "malformed"),
        (json!({ "id": 1, "op": "subscribe", "rooms": ["order-9"], "sinse": "e.1" }), "malformed"),
        (json!({ "id": 1, "op": "ping", "rooms": ["order-9"] }), "malformed"),
        (json!({ "id": 1, "op": "subscribe", "rooms": ["order-\0"] }), "malformed"),
        (json!({ "id": 1, "op": "emit", "event": event(5, "9"), "events": [] }), "malformed"),
        (json!({ "id": 1, "op": "emit", "event": reserved }), "reserved_type"),
        (json!({ "id": 1, "op": "emit", "events": [] }), "too_many_events"),
        (json!({ "id": 1, "op": "emit", "event": { "type": "a.b" } }), "bad_body"),
    ] {
        let Frame::Text(refused) = backend.ask(&op).await else { panic!("an answer to {op}") };
        let found = (&refused["id"], &refused["ok"], &refused["code"]);
        assert_eq!(found, (&json!(1), &json!(false), &json!(code)), "{refused}");
    }
    backend.send(1, br#"{"id":1,"op":"ping","op":"emit"}"#).await;
    assert!(matches!(backend.next().await, Frame::Text(refused) if refused["code"] == "malformed"));
    let facts = gate.outbox().await.into_iter().filter(|(_, fact)| fact["type"] == "order.shipped").count();
    assert_eq!(facts, 3);
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_frames_is_refused_and_paced() {
    let (gate, _) = gate(83, "requests_per_second = 5\n").await;
    let mut daemon = gate.start().await;
    let (flooder, other) = (user("7", ""), user("8", ""));
    let mut flood = Socket::open(gate.port, &[("authorization", &flooder)]).await.expect("it opens");
    let pings: Vec<String> = (0..110).map(|id| json!({ "id": id, "op": "ping" }).to_string()).collect();
    flood.send_texts(&pings).await;
    let answers = frames(&mut flood, pings.len()).await;
    let refused = answers.iter().filter(|answer| answer["code"] == "too_many_requests").count();
    assert!((1..=10).contains(&refused), "20 s of it come at once, and more as time passes: {refused}");
    let ids: Vec<u64> = answers.iter().filter_map(|answer| answer["id"].as_u64()).collect();
    assert_eq!(ids, (0..110).collect::<Vec<_>>(), "each is answered, in order");
    let sample = "chainflume_push_refused_total{code=\"too_many_requests\"}";
    assert!(daemon.metric(sample).await >= Some(1.0));
    daemon.until_printed("frame refused").await;
    let mut socket = Socket::open(gate.port, &[("authorization", &other)]).await.expect("it opens");
    socket.join(&[ROOM]).await;

    // Over Socket.IO one connection has many tries of a credential.
    let mut stranger =
        Socket::try_open_at(gate.port, "/socket.io/?EIO=4&transport=websocket").await.expect("it opens");
    stranger.send_texts(&["40{\"token\":\"a.b.c\"}".to_owned()]).await;
    loop {
        let packet = stranger.next_text().await.expect("it stays");
        if packet.starts_with("44") {
            assert!(packet.contains("\"code\":\"token_invalid\""), "{packet}");
            break;
        }
    }
    assert!(daemon.metric("chainflume_push_refused_total{code=\"token_invalid\"}").await >= Some(1.0));
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_have_a_position_and_a_report_of_late_values() {
    let (gate, bearer) = gate(84, "").await;
    let daemon = gate.start().await;
    let get = async |path: &str| {
        let answer = gate.ask(reqwest::Method::GET, path, &[("authorization", &bearer)]).await;
        let position = answer.headers().get("chainflume-position").cloned();
        let position = position.and_then(|value| value.to_str().ok().map(str::to_owned));
        let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a body"));
        (status, position, serde_json::from_str::<Value>(&text).expect("JSON"))
    };
    let empty = json!({
        "webhookProcessingTime": null, "websocketLatency": null, "queryResponseTime": null, "cacheHitRate": null
    });
    assert_eq!(get("/v1/report").await.2, empty);
    let mut socket = Socket::open(gate.port, &[("authorization", &bearer)]).await.expect("it opens");
    socket.join(&[ROOM]).await;
    gate.mine(&daemon, 3).await;
    let newest = gate.outbox().await.last().expect("messages").0.clone();
    while !matches!(socket.next().await, Frame::Text(frame) if frame["position"] == newest) {}
    for path in ["/v1/report", "/v1/status", "/v1/activities?userId=7", "/v1/messages?limit=1"] {
        let joint = if path.contains('?') { '&' } else { '?' };
        let (status, position, _) = get(&format!("{path}{joint}min_position={newest}")).await;
        assert_eq!((status, position.as_deref()), (200, Some(&*newest)), "{path}");
        let elsewhere = get(&format!("{path}{joint}min_position=abcdefabcdef.1")).await;
        assert_eq!((elsewhere.0, &elsewhere.2["code"]), (409, &json!("epoch_mismatch")), "{path}");
    }
    let latency = get("/v1/report").await.2["websocketLatency"].as_f64().expect("milliseconds");
    assert!(latency > 0.0 && latency < 60_000.0, "{latency}");
    let bytes = daemon.metric("chainflume_push_bytes_total{protocol=\"websocket\"}").await;
    assert!(bytes > Some(1_000.0), "{bytes:?}");
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_read_is_ended_and_no_other() {
    use tokio::io::AsyncWriteExt as _;
    let gate = Gate::new(85, "[server.auth]\nmode = \"none\"\n").await;
    let daemon = gate.start().await;
    gate.mine(&daemon, 5).await;
    let first = gate.outbox().await[0].0.clone();
    store_large(&gate, 600).await;
    let last = gate.outbox().await.last().expect("messages").0.clone();
    // What the server has not read yet would come to both as news, faster than any client of a debug build reads.
    let path = format!("/v1/messages?limit=1&min_position={last}");
    let status = async || gate.ask(reqwest::Method::GET, &path, &[]).await.status().as_u16();
    until_equal(&format!("the server has read up to {last}"), 200, status).await;
    let open = async || {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4_096).expect("it is ours");
        let mut stream = socket.connect(([127, 0, 0, 1], gate.port).into()).await.expect("it listens");
        let head = format!("GET /v1/stream?rooms={ROOM}&since={first} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream
    };
    // A backlog that is resumed is paced by its reader, and one that reads nothing at all is no reader.
    let _unread = open().await;
    let path = format!("/v1/stream?rooms={ROOM}&since={first}");
    let mut read = gate.ask(reqwest::Method::GET, &path, &[]).await;
    let last = format!("\"position\":\"{last}\"");
    let mut text = String::new();
    while !text.contains(&last) {
        let chunk = read.chunk().await.unwrap_or_else(|e| panic!("{e:?} after {text}"));
        let chunk = chunk.unwrap_or_else(|| panic!("it ends after {text}"));
        text =
            format!("{}{}", text.split_off(text.len().saturating_sub(200)), String::from_utf8_lossy(&chunk));
    }
    until_dropped(&daemon, "slow", 1.0).await;
    daemon.stop_well().await;
}
