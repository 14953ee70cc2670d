//! The stock clients of Socket.IO, from npm and PyPI.

use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::push::refused::until_dropped;
use crate::push::serve::gate;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A stock client, and what it got.
struct Stock {
    name: String,
    client: Client,
    messages: Vec<Value>,
    other: Vec<Value>,
}

impl Gate {
    /// A client of this language over this transport.
    fn stock(&self, language: &str, transport: &str, token: Option<&str>) -> Stock {
        let (mut command, url) = (Command::new(format!("{ROOT}/.tools/python/bin/python")), self.url());
        if language == "node" {
            command = Command::new("node");
            command.args([&*format!("{ROOT}/tests/tools/socketio.mjs"), "follow"]);
        } else {
            command.arg(format!("{ROOT}/tests/tools/follow.py"));
        }
        command.args([&*url, transport, ROOM]).args(token);
        let client = Client::start(&mut command);
        Stock {
            name: format!("{language} over {transport}"),
            client,
            messages: Vec::new(),
            other: Vec::new(),
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// An answer of the transport for long polling, without a client.
    pub async fn poll(&self, sid: &str, body: Option<String>) -> (u16, String) {
        chainflume_ops::tls::install();
        let client = reqwest::Client::builder().no_proxy().timeout(WAIT_LIMIT).build().expect("a client");
        let url = format!("{}/socket.io/?EIO=4&transport=polling{sid}", self.url());
        let request = match body {
            Some(body) => client.post(url).body(body),
            None => client.get(url),
        };
        let answer = request.send().await.expect("the server answers");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    /// Opens a connection by long polling; the parameter that names it.
    pub async fn opened(&self) -> String {
        let (status, text) = self.poll("", None).await;
        assert_eq!(status, 200, "{text}");
        let open: Value = serde_json::from_str(&text[1..]).expect("JSON after the type");
        format!("&sid={}", open["sid"].as_str().expect("a number of the session"))
    }
}

impl Stock {
    /// Reads until something comes for which `wanted` holds.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.client.next().await;
            if line["event"] == "message" {
                self.messages.push(line.clone());
            } else {
                self.other.push(line.clone());
            }
            if wanted(&line) {
                return line;
            }
        }
    }

    async fn joined(&mut self) -> Value {
        self.until(|line| !line["joined"].is_null()).await["joined"].clone()
    }

    /// Reads up to this position, and compares all that came with the outbox.
    async fn read(&mut self, outbox: &[(String, Value)], skipped: usize) {
        let last = &outbox.last().expect("there are messages").0;
        self.until(|line| line["meta"]["position"] == last.as_str()).await;
        let expected: Vec<Value> = outbox[skipped..]
            .iter()
            .map(|(position, message)| {
                let meta = json!({
                    "id": message["id"], "seq": message["seq"], "position": position, "state": message["state"],
                    "rooms": [ROOM],
                });
                json!({ "event": "message", "data": message, "meta": meta })
            })
            .collect();
        assert_eq!(self.messages, expected, "{}", self.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_clients_follow_over_every_transport_through_faults() {
    let gate = Gate::new(67, &format!("[server.auth]\nsecret = \"{SECRET}\"\n")).await;
    let daemon = gate.start().await;
    gate.mine(&daemon, 3).await;
    let before = gate.outbox().await.len();
    let token = token(&json!({ "sub": "7", "exp": seconds_from_now(600) }));
    let mut clients = Vec::new();
    for language in ["node", "python"] {
        for transport in ["websocket", "polling", "upgrade"] {
            let mut client = gate.stock(language, transport, Some(&token));
            let joined = client.joined().await;
            assert_eq!(
                (&joined["ok"], &joined["recovered"]),
                (&json!(true), &json!(true)),
                "{}",
                client.name
            );
            let foreign = client.until(|line| !line["foreign"].is_null()).await;
            assert_eq!(foreign["foreign"]["code"], "forbidden", "{}", client.name);
            clients.push(client);
        }
    }
    gate.mine(&daemon, 4).await;
    gate.chain.reorg(5, 6);
    daemon.until_tip(gate.chain.head().number - 2).await;
    let stored = gate.outbox().await;
    assert!(
        stored.iter().any(|(_, message)| message["state"] == "retracted"),
        "the reorg took messages back"
    );
    for client in &mut clients {
        client.read(&stored, before).await;
    }
    for stock in clients.iter().filter(|stock| stock.name == "node over upgrade") {
        assert!(stock.other.contains(&json!({ "upgraded": "websocket" })), "{:?}", stock.other);
    }

    daemon.kill_9().await;
    gate.chain.mine(4);
    gate.chain.reorg(2, 3);
    let daemon = gate.start().await;
    let all = gate.outbox().await;
    assert!(all.len() > stored.len(), "messages were stored while the clients were away");
    for client in &mut clients {
        client.read(&all, before).await;
    }
    assert!(daemon.metric("chainflume_push_connections{protocol=\"socketio\"}").await >= Some(6.0));

    // A server that stops ends each connection in order, and no client takes that for its own wish.
    daemon.stop_well().await;
    let daemon = gate.start().await;
    gate.mine(&daemon, 2).await;
    let all = gate.outbox().await;
    for client in &mut clients {
        client.read(&all, before).await;
    }
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_in_the_connect_callback_is_never_lost_and_in_order() {
    let gate = Gate::new(68, "[server.auth]\nmode = \"none\"\n").await;
    let daemon = gate.start().await;
    let mut crowds = Vec::new();
    for transport in ["websocket", "upgrade"] {
        let mut command = Command::new("node");
        let script = format!("{ROOT}/tests/tools/socketio.mjs");
        command.args([&*script, "crowd", &gate.url(), transport, ROOM, "150"]).stdin(Stdio::piped());
        let mut crowd = Client::start(&mut command);
        assert_eq!(crowd.next().await, json!({ "joined": 150 }));
        crowds.push(crowd);
    }
    let before = gate.outbox().await.len();
    gate.mine(&daemon, 30).await;
    let outbox = gate.outbox().await;
    let expected: Vec<String> =
        outbox[before..].iter().map(|(_, message)| message["seq"].to_string()).collect();
    for crowd in &mut crowds {
        let input = crowd.child.stdin.as_mut().expect("it is piped");
        input.write_all(format!("{}\n", outbox.len()).as_bytes()).await.expect("written");
        assert_eq!(crowd.next().await, json!({ "seqs": [expected.join(",")] }));
    }
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_or_expired_client_learns_the_code() {
    let gate = Gate::new(69, &format!("[server.auth]\nsecret = \"{SECRET}\"\n")).await;
    let daemon = gate.start().await;
    let short = token(&json!({ "sub": "7", "exp": seconds_from_now(15) }));
    let mut clients: Vec<Stock> =
        ["node", "python"].iter().map(|language| gate.stock(language, "websocket", Some(&short))).collect();
    for language in ["node", "python"] {
        let mut refused = gate.stock(language, "polling", Some("a.b.c"));
        let line = refused.until(|line| !line["refused"].is_null()).await;
        assert_eq!(line["refused"]["code"], "token_invalid", "{}", refused.name);
    }
    for client in &mut clients {
        assert_eq!(client.joined().await["ok"], true);
        let expired = client.until(|line| line["event"] == "expired").await;
        assert_eq!(expired["data"], json!({ "code": "token_expired" }), "{}", client.name);
        client.until(|line| !line["disconnected"].is_null()).await;
    }
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_socket_io_ends_its_connection_and_no_other() {
    let gate = Gate::new(70, "[server.auth]\nmode = \"none\"\n").await;
    let daemon = gate.start().await;
    let mut bystander = gate.stock("node", "websocket", None);
    bystander.joined().await;
    let oversize = format!("42[\"join\",\"{}\"]", "x".repeat(70 << 10));
    for packet in ["4x", "42{}", "451-[\"a\",{\"_placeholder\":true,\"num\":0}]", "42[\"join\"", &oversize] {
        let sid = gate.opened().await;
        let (_, answer) = gate.poll(&sid, Some("40".to_owned())).await;
        assert_eq!(answer, "ok");
        let (_, connected) = gate.poll(&sid, None).await;
        assert!(connected.contains("40{\"sid\":"), "{connected}");
        let _any = gate.poll(&sid, Some(packet.to_owned())).await;
        // What waits may come first; then the session is not known any more.
        let mut end = gate.poll(&sid, None).await;
        for _ in 0..3 {
            end = if end.0 == 200 { gate.poll(&sid, None).await } else { end };
        }
        assert_eq!(end.0, 400, "{packet}: {end:?}");
    }
    // An event that does not exist is answered, and another namespace refused, with the connection as it was.
    let sid = gate.opened().await;
    let packets =
        "40/admin,\u{1e}40\u{1e}420[\"no\"]\u{1e}421[\"join\",\"User\"]\u{1e}422[\"join\",\"order-1\"]";
    gate.poll(&sid, Some(packets.to_owned())).await;
    let mut answers = String::new();
    while !answers.contains("432[") {
        answers += &gate.poll(&sid, None).await.1;
    }
    for part in [
        "44/admin,{\"message\":\"Invalid namespace\"}",
        "40{",
        "430[{\"code\":\"malformed\"",
        "431[{\"code\":\"bad_room\"",
        "432[{\"ok\":true",
    ] {
        assert!(answers.contains(part), "{part}: {answers}");
    }
    let (status, problem) = gate.get("/socket.io/?EIO=4&transport=polling&token=x", &[]).await;
    assert_eq!((status, &problem["code"]), (400, &json!("token_in_query")));
    let (status, _) = gate.poll("&sid=AAAAAAAAAAAAAAAAAAAAAA", None).await;
    assert_eq!(status, 400);
    let before = gate.outbox().await.len();
    gate.mine(&daemon, 4).await;
    bystander.read(&gate.outbox().await, before).await;
    daemon.stop_well().await;
}

impl Gate {
    /// Sends packets of a client that polls, where there are any, and reads until something comes with these words.
    async fn until_polled(&self, sid: &str, packets: &str, words: &str) -> String {
        if !packets.is_empty() {
            self.poll(sid, Some(packets.to_owned())).await;
        }
        let mut found = String::new();
        while !found.contains(words) {
            let (status, text) = self.poll(sid, None).await;
            assert_eq!(status, 200, "never {words}: {found} {text}");
            found.push_str(&text);
        }
        found
    }

    async fn revoke(&self, bearer: &str, what: &Value) {
        let request = self.request(reqwest::Method::POST, "/v1/revocations").header("authorization", bearer);
        let answer = request.body(what.to_string()).send().await.expect("the server answers");
        assert_eq!(answer.status().as_u16(), 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_replaced_and_revoked_on_an_open_connection() {
    let (gate, admin) = gate(71, "").await;
    let daemon = gate.start().await;
    let user = |sub: &str, id: &str| token(&json!({ "sub": sub, "jti": id, "exp": seconds_from_now(600) }));
    let connect = |token: &str| format!("40{}", json!({ "token": token }));
    let refresh = |number: u32, token: &str| format!("42{number}{}", json!(["refresh", token]));
    let sid = gate.opened().await;
    gate.until_polled(&sid, &connect(&user("7", "old")), "40{\"sid\":").await;
    gate.until_polled(&sid, "421[\"join-user\",7]", "431[{\"ok\":true").await;
    for (number, token, code) in [
        (2, user("8", "other"), "forbidden"),
        (3, "a.b.c".to_owned(), "token_invalid"),
        (4, String::new(), "token_invalid"),
    ] {
        let answer = gate.until_polled(&sid, &refresh(number, &token), &format!("43{number}[")).await;
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
    }
    gate.until_polled(&sid, &refresh(5, &user("7", "new")), "435[{\"ok\":true").await;

    // The old token is worth nothing any more, and the connection is of the new one.
    gate.revoke(&admin, &json!({ "jti": "old" })).await;
    gate.until_polled(&sid, "426[\"join\",\"chain-31337\"]", "436[{\"ok\":true").await;
    gate.revoke(&admin, &json!({ "jti": "new" })).await;
    let end = gate.until_polled(&sid, "", "42[\"revoked\"").await;
    assert!(end.contains("42[\"revoked\",{\"code\":\"credential_revoked\"}]"), "{end}");
    for token in [user("7", "old"), user("7", "new")] {
        let sid = gate.opened().await;
        let refused = gate.until_polled(&sid, &connect(&token), "44{").await;
        assert!(refused.contains("\"code\":\"credential_revoked\""), "{refused}");
    }
    until_dropped(&daemon, "revoked", 1.0).await;
    daemon.stop_well().await;
}
