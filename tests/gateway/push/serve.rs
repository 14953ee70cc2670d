use sqlx::AssertSqlSafe;

use super::log::new_key;
use super::wire::{Frame, Socket};
use super::*;
use crate::certificates::Certificates;
use crate::systemd::Systemd;
use crate::wait::{until_equal, until_ok};

/// A public server without chains, on the database of a gate.
struct Served {
    daemon: Daemon,
    home: Home,
    port: u16,
}

impl Served {
    async fn beside(gate: &Gate, variables: &[(&str, &str)]) -> Self {
        let (home, port) = (Home::bare(), free_port());
        gate.write(&home, port);
        let daemon = home.start_as(&["serve"], variables);
        daemon.until("ready", |status, _| status == 200).await;
        Self { daemon, home, port }
    }

    async fn get(&self, path: &str, bearer: &str) -> (u16, Value) {
        let answer =
            request(self.port, reqwest::Method::GET, path).header("authorization", bearer).send().await;
        let answer = answer.expect("the server answers");
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON"))
    }

    async fn post(&self, path: &str, bearer: &str, (key, body): (Option<&str>, &Value)) -> reqwest::Response {
        let request = request(self.port, reqwest::Method::POST, path).header("authorization", bearer);
        let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
        request.body(body.to_string()).send().await.expect("the server answers")
    }

    /// Waits until it answers a request with this code.
    async fn until_refused(&self, bearer: &str, code: &str) {
        let read = async || {
            let (status, answer) = self.get("/v1/messages?room=chain-1", bearer).await;
            if (status, &answer["code"]) == (401, &json!(code)) { Ok(()) } else { Err((status, answer)) }
        };
        until_ok(&format!("the server refuses the credential with {code}"), read).await;
    }
}

/// Reads a stream until it has these words, or its end.
async fn until_streamed(answer: &mut reqwest::Response, text: &mut String, words: &str) {
    while !text.contains(words) {
        let chunk = tokio::time::timeout(WAIT_LIMIT, answer.chunk()).await.expect("the stream goes on");
        match chunk.expect("it can be read") {
            Some(chunk) => text.push_str(&String::from_utf8_lossy(&chunk)),
            None => panic!("the stream ended without {words}: {text}"),
        }
    }
}

pub async fn gate(seed: u64, more: &str) -> (Gate, String) {
    let (key, hash) = new_key().await;
    let tables = format!(
        "[server.auth]\nsecret = \"{SECRET}\"\n{more}[[server.key]]\nname = \"backend\"\nhash = {hash}\nscopes = [\"read\", \"admin\"]\n"
    );
    (Gate::new(seed, &tables).await, format!("Bearer {key}"))
}

fn user(sub: &str, issued_at: u64) -> String {
    format!(
        "Bearer {}",
        token(
            &json!({ "sub": sub, "iat": issued_at, "jti": format!("{sub}-{issued_at}"), "exp": seconds_from_now(900) })
        )
    )
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one life of one process, in its order")]
async fn a_server_without_chains_is_ready_with_a_database_and_drains() {
    let (gate, _) = gate(75, "").await;
    let daemon = gate.start().await;
    let folder = Home::bare();
    let path = folder.path("notify");
    let mut systemd = Systemd::at(&path);
    let served = Served::beside(&gate, &[("NOTIFY_SOCKET", path.to_str().expect("plain"))]).await;
    systemd.until("ready", |line| line == "READY=1");
    systemd.until("its position", |line| line.starts_with("STATUS=public server at position "));
    systemd.until("a ping", |line| line == "WATCHDOG=1");
    let (_, report) = served.daemon.report().await;
    assert_eq!(
        (&report["role"], &report["chains"], &report["sinks"]),
        (&json!("server"), &json!({}), &json!({}))
    );
    assert_eq!(report["public"]["notReady"], json!([]));
    assert_eq!(served.daemon.get("/livez").await.0, 200);
    assert_eq!(served.daemon.metric("chainflume_push_lag_messages").await, Some(0.0));
    assert_eq!(served.daemon.metric("chainflume_database_writable").await, Some(1.0));
    let (_, metrics) = served.daemon.get("/metrics").await;
    assert!(!metrics.contains("chain=\""), "no chain is here");

    // The daemon that writes goes away, and messages are read all the same.
    let bearer = user("7", seconds_from_now(0));
    let mut socket = Socket::open(served.port, &[("authorization", &bearer)]).await.expect("it opens");
    socket.join(&[ROOM]).await;
    gate.mine(&daemon, 3).await;
    assert!(matches!(socket.next().await, Frame::Text(frame) if frame["room"] == ROOM));
    daemon.stop_well().await;
    assert_eq!(served.daemon.report().await.0, 200);

    let name =
        gate.url.split(['/', '?']).find(|part| part.starts_with("test_")).expect("its name").to_owned();
    let other = connect(&gate.url.replace(&name, "postgres")).await;
    let shut = async |allowed: bool| {
        for sql in [
            format!("alter database {name} allow_connections {allowed}"),
            format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"),
        ] {
            sqlx::query(AssertSqlSafe(sql)).execute(&other).await.expect("the statement runs");
        }
    };
    shut(false).await;
    served
        .daemon
        .until("red without the database", |status, report| {
            status == 503 && report["database"]["writable"] == false
        })
        .await;
    shut(true).await;
    served.daemon.until("ready again", |status, _| status == 200).await;

    // At the end each client learns when to connect again, and a client that is late is refused.
    let mut stream = request(served.port, reqwest::Method::GET, &format!("/v1/stream?rooms={ROOM}"))
        .header("authorization", &bearer)
        .send()
        .await
        .expect("it opens");
    let mut text = String::new();
    until_streamed(&mut stream, &mut text, "retry: ").await;
    served.daemon.signal(rustix::process::Signal::TERM);
    while let Some(chunk) =
        tokio::time::timeout(WAIT_LIMIT, stream.chunk()).await.expect("it ends").expect("well")
    {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert_eq!(text.matches("retry: ").count(), 2, "{text}");
    let end = loop {
        match socket.next().await {
            Frame::Text(_) => {}
            end => break end,
        }
    };
    assert_eq!(end, Frame::Close(1012, "restart".to_owned()));
    systemd.until("stopping", |line| line == "STOPPING=1");
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", served.port)).await.is_err());
    let mut daemon = served.daemon;
    assert_eq!(daemon.ended(WAIT_LIMIT).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one life of two servers, in its order")]
async fn tickets_and_revocations_hold_on_every_server_of_a_database() {
    let (gate, service) = gate(76, "").await;
    let daemon = gate.start().await;
    gate.mine(&daemon, 6).await;
    let (one, two) = (Served::beside(&gate, &[]).await, Served::beside(&gate, &[]).await);
    let issued = seconds_from_now(0) - 30;
    let bearer = user("7", issued);

    // A ticket of one server opens a stream of another, once.
    let since = gate.outbox().await[0].0.clone();
    let body = json!({ "rooms": [ROOM], "since": since });
    let answer = one.post("/v1/tickets", &bearer, (Some("key-1"), &body)).await;
    assert_eq!(answer.status().as_u16(), 201);
    assert!(answer.headers().contains_key("chainflume-position"));
    let ticket: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
    let again = two.post("/v1/tickets", &bearer, (Some("key-1"), &body)).await;
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(serde_json::from_str::<Value>(&again.text().await.expect("a body")).expect("JSON"), ticket);
    let other = json!({ "rooms": [ROOM] });
    assert_eq!(two.post("/v1/tickets", &bearer, (Some("key-1"), &other)).await.status().as_u16(), 422);
    // A key belongs to its caller.
    let anew = two.post("/v1/tickets", &user("8", issued), (Some("key-1"), &other)).await;
    assert_eq!((anew.status().as_u16(), anew.headers().contains_key("idempotency-replayed")), (201, false));
    let path = format!("/v1/stream?ticket={}", ticket["ticket"].as_str().expect("a ticket"));
    let look =
        async || request(two.port, reqwest::Method::HEAD, &path).send().await.expect("an answer").status();
    assert_eq!(look().await.as_u16(), 200, "it would open");
    let mut stream = request(two.port, reqwest::Method::GET, &path).send().await.expect("it opens");
    assert_eq!(stream.status().as_u16(), 200);
    assert_eq!(look().await.as_u16(), 401);
    let mut text = String::new();
    let second = gate.outbox().await[1].0.clone();
    until_streamed(&mut stream, &mut text, &format!("\"position\":\"{second}\"")).await;
    for server in [&one, &two] {
        let spent = request(server.port, reqwest::Method::GET, &path).send().await.expect("an answer");
        assert_eq!(spent.status().as_u16(), 401, "a spent ticket opens nothing");
    }

    // Who is revoked at one is out at the other, and a newer token gets in.
    let mut socket = Socket::open(two.port, &[("authorization", &bearer)]).await.expect("it opens");
    socket.join(&[ROOM]).await;
    let left: Value = serde_json::from_str(
        &one.post("/v1/tickets", &bearer, (None, &body)).await.text().await.expect("a body"),
    )
    .expect("JSON");
    // The key of a ticket is free for a revocation: it belongs to its route.
    let keyed = (Some("key-1"), &json!({ "sub": "nobody" }));
    let ticketed = one.post("/v1/tickets", &service, (Some("key-1"), &other)).await;
    assert_eq!(ticketed.status().as_u16(), 201);
    let revoked = one.post("/v1/revocations", &service, keyed).await;
    assert_eq!(
        (revoked.status().as_u16(), revoked.headers().contains_key("idempotency-replayed")),
        (201, false)
    );
    let revoked = one.post("/v1/revocations", &service, (None, &json!({ "sub": "7" }))).await;
    assert_eq!(revoked.status().as_u16(), 201);
    let at = Instant::now();
    assert_eq!(one.get("/v1/messages?room=chain-1", &bearer).await.1["code"], "credential_revoked");
    let end = loop {
        match socket.next().await {
            Frame::Text(_) => {}
            end => break end,
        }
    };
    assert_eq!(end, Frame::Close(4403, "credential_revoked".to_owned()));
    until_streamed(&mut stream, &mut text, "event: revoked\n").await;
    assert!(at.elapsed() < Duration::from_secs(2), "the other server knows it after {:?}", at.elapsed());
    two.until_refused(&bearer, "credential_revoked").await;
    let path = format!("/v1/stream?ticket={}", left["ticket"].as_str().expect("a ticket"));
    let answer = request(two.port, reqwest::Method::GET, &path).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 401, "a ticket is worth no more than the token it was given for");
    let newer = user("7", seconds_from_now(30));
    assert_eq!(two.get("/v1/messages?room=chain-1", &newer).await.0, 200);
    let id = format!("7-{}", seconds_from_now(30));
    assert_eq!(
        two.post("/v1/revocations", &service, (None, &json!({ "jti": id, "sub": "7" })))
            .await
            .status()
            .as_u16(),
        400
    );

    // A service key is revoked by its name, without a restart.
    assert_eq!(two.get("/v1/messages", &service).await.0, 200);
    let said = one.home.run(&["keys", "revoke", "backend"]).await.fine();
    assert!(said.contains("is refused by every server"), "{said}");
    two.until_refused(&service, "credential_revoked").await;
    one.until_refused(&service, "credential_revoked").await;
    let listed = one.home.run(&["keys", "list", "--json"]).await.json();
    assert_eq!((&listed[0]["name"], listed[0]["revokedAt"].is_u64()), (&json!("backend"), true));
    one.home.run(&["keys", "revoke", "nobody"]).await.error(1);
    for server in [one.daemon, two.daemon, daemon] {
        server.stop_well().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_waits_for_the_position_of_a_write() {
    let (gate, service) = gate(77, "").await;
    let daemon = gate.start().await;
    let served = Served::beside(&gate, &[]).await;
    gate.mine(&daemon, 6).await;
    for _ in 0..3 {
        gate.mine(&daemon, 2).await;
        let newest = gate.outbox().await.last().expect("a message").0.clone();
        let path = format!("/v1/messages?limit=500&min_position={newest}");
        let answer =
            request(served.port, reqwest::Method::GET, &path).header("authorization", &service).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
        let position = answer.headers()["chainflume-position"].to_str().expect("ASCII").to_owned();
        let page: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
        let last = page["messages"].as_array().expect("messages").last().expect("one").clone();
        assert!(newest.ends_with(&format!(".{}", last["seq"])) || position != newest, "{newest} {last}");
    }
    let newest = gate.outbox().await.last().expect("a message").0.clone();
    let (epoch, seq) = newest.split_once('.').expect("a position");
    let ahead = format!("{epoch}.{}", seq.parse::<u64>().expect("a number") + 1_000);
    let (status, answer) = served.get(&format!("/v1/messages?min_position={ahead}"), &service).await;
    assert_eq!((status, &answer["code"]), (400, &json!("position_ahead")));
    // A message that this server cannot read in time: its number is taken, and it is not there.
    sqlx::query("update outbox_head set seq = seq + 1").execute(&gate.pool).await.expect("updated");
    let next = format!("{epoch}.{}", seq.parse::<u64>().expect("a number") + 1);
    let at = Instant::now();
    let path = format!("/v1/messages?min_position={next}");
    let answer =
        request(served.port, reqwest::Method::GET, &path).header("authorization", &service).send().await;
    let answer = answer.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (503, true));
    let problem: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
    assert_eq!(problem["code"], "position_timeout");
    assert!((2..4).contains(&at.elapsed().as_secs()), "{:?}", at.elapsed());
    served.daemon.stop_well().await;
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_logs_what_it_lacks() {
    let gate = Gate::new(78, "[server.auth]\nmode = \"none\"\n").await;
    let home = Home::bare();
    home.write(&gate.tables, Some(&gate.url));
    let said = home.run(&["serve"]).await;
    assert!(said.error(78).contains("server.listen"), "{said:?}");
    let port = free_port();
    home.write(&format!("[server]\nlisten = \"127.0.0.1:{port}\"\n{}", gate.tables), None);
    let said = home.run(&["serve"]).await;
    assert!(said.error(78).contains("database.url"), "{said:?}");

    // It waits for the tables, and is not ready meanwhile.
    gate.write(&home, port);
    let mut waiting = home.start_as(&["serve"], &[]);
    waiting
        .until("it waits", |status, report| status == 503 && report["database"]["writable"] == false)
        .await;
    waiting.until_printed("the database lacks tables of this program").await;
    home.run(&["migrate"]).await.fine();
    waiting.until("ready", |status, report| status == 200 && report["role"] == "server").await;
    let open = request(port, reqwest::Method::GET, "/openapi.json").send().await.expect("an answer");
    let api: Value = serde_json::from_str(&open.text().await.expect("a body")).expect("JSON");
    assert_eq!(api["openapi"], "3.1.0");
    for (path, methods) in api["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            let method = method.to_uppercase().parse().expect("a method");
            let answer = request(port, method, path).send().await.expect("an answer");
            assert_ne!(answer.status().as_u16(), 405, "{path}");
            if answer.status().as_u16() == 404 {
                // A path with a parameter names nothing that is stored; the path itself is there.
                let text = answer.text().await.expect("a body");
                assert!(!text.contains("there is nothing at this path"), "{path}: {text}");
            }
        }
    }
    let docs = request(port, reqwest::Method::GET, "/docs").send().await.expect("an answer");
    assert!(
        docs.headers()["content-security-policy"].to_str().expect("ASCII").contains("default-src 'none'")
    );
    waiting.stop_well().await;
}

/// Answers every request with what `set` is now, and counts.
pub async fn issuer(
    set: std::sync::Arc<std::sync::Mutex<Option<Value>>>,
) -> (u16, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (port, count) = (listener.local_addr().expect("bound").port(), std::sync::Arc::default());
    let counted: std::sync::Arc<std::sync::atomic::AtomicUsize> = count;
    let counter = counted.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let _head = stream.read(&mut [0; 4_096]).await;
            let body = set.lock().expect("no panic").as_ref().map(Value::to_string);
            let (status, body) = body.map_or(("500 No", String::new()), |body| ("200 OK", body));
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _gone = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    (port, counted)
}

/// Keys of an issuer: the old one, and the new one with a token of the user 7, which was made once and is valid until 2100.
pub fn keys() -> (Value, Value, String) {
    let pem = include_str!("../../../crates/api/src/access/fixtures/rsa.pem");
    let signed = include_str!("../../../crates/api/src/access/fixtures/rs256.jwt").trim().to_owned();
    let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    // The modulus of a key of 2048 bits, as SubjectPublicKeyInfo has it.
    let rsa = json!({ "kty": "RSA", "kid": "new", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(&der[33..289]) });
    let edwards =
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "old", "x": URL_SAFE_NO_PAD.encode([7; 32]) });
    (edwards, rsa, signed)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_issuer_are_fetched_when_new_and_kept_when_away() {
    let (edwards, rsa, signed) = keys();
    let set = std::sync::Arc::new(std::sync::Mutex::new(None));
    let (issuer, fetched) = issuer(set.clone()).await;
    let auth = format!(
        "[server.auth]\nalgorithms = [\"RS256\", \"EdDSA\"]\njwks_url = \"http://127.0.0.1:{issuer}/keys\"\n\
         revocations_kept = \"36500days\"\n"
    );
    let gate = Gate::new(79, &auth).await;
    let daemon = gate.start().await;
    let bearer = format!("Bearer {signed}");
    let headers = [("authorization", bearer.as_str())];
    let judged = async || gate.get("/v1/messages?room=chain-1", &headers).await;
    let until = async |code: &str, status: u16| {
        let read = async || {
            let (found, answer) = judged().await;
            let is_so = found == status && (code.is_empty() || answer["code"] == code);
            if is_so { Ok(()) } else { Err((found, answer)) }
        };
        until_ok(&format!("the token is answered with {status} {code}"), read).await;
    };
    until("keys_unavailable", 503).await;
    *set.lock().expect("no panic") = Some(json!({ "keys": [edwards] }));
    until("token_invalid", 401).await;
    // The issuer changes its key: the first token with the new one has it fetched.
    *set.lock().expect("no panic") = Some(json!({ "keys": [rsa] }));
    until("", 200).await;

    // Made-up keys have nothing fetched more often than every ten seconds, and an issuer that is away changes no client.
    *set.lock().expect("no panic") = None;
    let (before, since) = (fetched.load(std::sync::atomic::Ordering::SeqCst), Instant::now());
    let made_up = format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode("{\"alg\":\"EdDSA\",\"kid\":\"x\"}"));
    let made_up = format!("Bearer {made_up}");
    for _ in 0..40 {
        assert_eq!(gate.get("/v1/messages?room=chain-1", &[("authorization", &made_up)]).await.0, 401);
    }
    let fetches = fetched.load(std::sync::atomic::Ordering::SeqCst) - before;
    // A fetch that fails is tried again after 1, 2, 4 and 8 s, and then every 10.
    assert!(fetches as u64 <= 5 + since.elapsed().as_secs() / 10, "{fetches} in {:?}", since.elapsed());
    assert_eq!(judged().await.0, 200);
    assert!(daemon.metric("chainflume_push_key_fetches_total{result=\"fetched\"}").await >= Some(2.0));
    daemon.stop_well().await;
}

/// Whether the server answers a client that trusts this certificate alone.
async fn is_trusted(port: u16, pem: &[u8]) -> bool {
    chainflume_ops::tls::install();
    let trusted = reqwest::Certificate::from_pem(pem).expect("a certificate");
    let client = reqwest::Client::builder().no_proxy().timeout(WAIT_LIMIT).tls_certs_only([trusted]).build();
    let answer = client.expect("a client").get(format!("https://127.0.0.1:{port}/openapi.json")).send().await;
    answer.is_ok_and(|answer| answer.status() == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_without_a_restart() {
    let certificates = Certificates::new("IP:127.0.0.1");
    let path = |name: &str| certificates.path(name);
    let tables = format!(
        "tls_certificate_file = {:?}\ntls_key_file = {:?}\n[server.auth]\nmode = \"none\"\n",
        path("server.crt"),
        path("server.key")
    );
    let gate = Gate::new(82, &tables).await;
    let daemon = gate.start().await;
    let first = certificates.ca();
    assert!(is_trusted(gate.port, &first).await);
    let plain = request(gate.port, reqwest::Method::GET, "/openapi.json").send().await;
    assert!(plain.is_err(), "who speaks no TLS gets no answer: {plain:?}");
    let url = format!("wss://127.0.0.1:{}", gate.port);
    let mut command = node("push.mjs");
    command.args(["websocket", &*url, ROOM]).env("NODE_EXTRA_CA_CERTS", path("ca.crt"));
    let mut client = Client::start(&mut command);
    assert_eq!(client.next().await["ok"], true);

    certificates.replace("IP:127.0.0.1");
    let second = certificates.ca();
    until_equal("the certificate is replaced", true, async || is_trusted(gate.port, &second).await).await;
    assert!(!is_trusted(gate.port, &first).await);
    // The connection that was open stays, and files that are no pair change nothing.
    let refusals = || daemon.log().matches("certificate not replaced").count();
    let before = refusals();
    std::fs::write(path("server.key"), "no key").expect("written");
    until_ok("a pair that does not fit is logged", async || {
        if refusals() > before { Ok(()) } else { Err(daemon.log()) }
    })
    .await;
    assert!(is_trusted(gate.port, &second).await);
    gate.mine(&daemon, 6).await;
    assert_eq!(client.next().await["room"], ROOM);
    daemon.stop_well().await;
}
