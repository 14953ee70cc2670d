use std::time::Duration;

use super::wire::{Frame, Socket, raw};
use super::*;
use crate::wait::{until_async, until_ok};

/// A token that is wrong in one way.
fn forged(header: &Value, claims: &Value, secret: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

async fn refused(daemon: &Daemon, code: &str) -> f64 {
    daemon
        .metric(&format!("chainflume_push_refused_total{{code=\"{code}\"}}"))
        .await
        .expect("it is there from the start")
}

async fn dropped(daemon: &Daemon, reason: &str) -> f64 {
    daemon
        .metric(&format!("chainflume_push_dropped_total{{reason=\"{reason}\"}}"))
        .await
        .expect("it is there from the start")
}

/// Waits until so many connections were dropped for a reason.
pub async fn until_dropped(daemon: &Daemon, reason: &str, count: f64) {
    let read = async || {
        let found = dropped(daemon, reason).await;
        if found >= count { Ok(()) } else { Err(found) }
    };
    until_ok(&format!("{count} connections were dropped because of {reason}"), read).await;
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn strict() -> String {
    format!(
        "access_log = true\nheader_timeout = \"1s\"\nmax_body_bytes = \"2KiB\"\npublic_rooms = []\n\
         [server.auth]\nsecret = \"{SECRET}\"\nissuer = \"us\"\naudience = \"push\"\n"
    )
}

fn claims() -> Value {
    json!({ "sub": "7", "exp": seconds_from_now(600), "iss": "us", "aud": "push", "rooms": [ROOM, "order-*"] })
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of everything that is refused")]
async fn each_bad_request_has_a_code_a_count_and_a_line_sans_secrets() {
    let gate = Gate::new(67, &strict()).await;
    let daemon = gate.start().await;
    let hs256 = json!({ "alg": "HS256" });
    let bearer = |token: &str| format!("Bearer {token}");
    let good = bearer(&token(&claims()));
    let none = format!(
        "{}.",
        forged(&json!({ "alg": "none" }), &claims(), SECRET).rsplit_once('.').expect("parts").0
    );
    let pem = include_str!("../../../crates/api/src/access/fixtures/rsa.pem");
    let wrong_tokens = [
        (none, "token_invalid"),
        (forged(&hs256, &claims(), "another secret, of more than thirty-two bytes"), "token_invalid"),
        (forged(&hs256, &claims(), pem), "token_invalid"),
        (forged(&json!({ "alg": "RS256" }), &claims(), SECRET), "token_invalid"),
        (forged(&json!({ "alg": "HS256", "crit": null }), &claims(), SECRET), "token_invalid"),
        (forged(&json!({ "alg": "HS256", "typ": "logout+jwt" }), &claims(), SECRET), "token_invalid"),
        (token(&with("exp", json!(1))), "token_expired"),
        (token(&with("exp", json!(u64::MAX))), "token_invalid"),
        (token(&with("nbf", json!(seconds_from_now(300)))), "token_invalid"),
        (token(&with("aud", json!("other"))), "token_invalid"),
        (token(&with("iss", json!("us/"))), "token_invalid"),
        (token(&with("sub", json!("7\u{0}"))), "token_invalid"),
        (format!("cfk_{}", "A".repeat(43)), "key_unknown"),
    ];
    let rows = [
        ("GET", "/v1/messages?room=user-8", "", 403, "forbidden"),
        ("GET", "/v1/messages?room=all", "", 403, "forbidden"),
        ("GET", "/v1/messages?room=chain-3133", "", 403, "forbidden"),
        ("GET", "/v1/messages?room=orders-1", "", 403, "forbidden"),
        ("GET", "/v1/stream?rooms=order-1,user-8", "", 403, "forbidden"),
        ("GET", "/v1/messages?room=order-%00", "", 400, "bad_room"),
        ("GET", "/v1/messages?room=user-7&since=x", "", 400, "bad_position"),
        ("GET", "/v1/messages?room=user-7&since=abcdefabcdef.1", "", 409, "epoch_mismatch"),
        ("GET", "/v1/messages?room=user-7&min_position=-1", "", 400, "bad_position"),
        ("GET", "/v1/messages?room=user-7&min_position=abcdefabcdef.1", "", 409, "epoch_mismatch"),
        ("GET", "/v1/messages?room=user-7&min_position=abcdefabcdef.99999999", "", 409, "epoch_mismatch"),
        ("GET", "/v1/messages?access_token=a.b.c", "", 400, "token_in_query"),
        (
            "GET",
            "/v1/stream?ticket=cft_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "",
            401,
            "ticket_invalid",
        ),
        ("GET", "/v1/stream?ticket=x&rooms=order-1", "", 400, "bad_query"),
        ("GET", "/v1/ws", "", 400, "not_a_websocket"),
        ("POST", "/v1/messages", "", 405, "method_not_allowed"),
        ("POST", "/v1/tickets", "{", 400, "bad_body"),
        ("POST", "/v1/tickets", "{\"rooms\":[],\"x\":1}", 400, "bad_body"),
        ("POST", "/v1/tickets", "{\"rooms\":[]}", 400, "bad_room"),
        ("POST", "/v1/tickets", "{\"rooms\":[\"user-8\"]}", 403, "forbidden"),
        ("POST", "/v1/tickets", "{\"rooms\":[\"user-7\"],\"since\":\"x\"}", 400, "bad_position"),
        ("POST", "/v1/revocations", "{\"sub\":\"8\"}", 403, "forbidden"),
        ("GET", "/nothing", "", 404, "not_found"),
    ];
    let mut expected: std::collections::BTreeMap<&str, f64> = std::collections::BTreeMap::new();
    let check = async |request: reqwest::RequestBuilder, status: u16, code: &str| {
        let answer = request.send().await.expect("the server answers");
        let (found, id) = (answer.status().as_u16(), answer.headers()["x-request-id"].clone());
        let problem: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
        assert_eq!((json!(found), &problem["code"]), (json!(status), &json!(code)), "{problem}");
        assert!(!id.is_empty());
    };
    for (method, path, body, status, code) in rows {
        let method = method.parse().expect("a method");
        let request = gate.request(method, path).header("authorization", &good).body(body.to_owned());
        check(request, status, code).await;
        *expected.entry(code).or_default() += 1.0;
    }
    for (token, code) in &wrong_tokens {
        let request = gate.request(reqwest::Method::GET, "/v1/messages?room=user-7");
        check(request.header("authorization", bearer(token)), 401, code).await;
        *expected.entry(code).or_default() += 1.0;
    }
    let post = || gate.request(reqwest::Method::POST, "/v1/tickets").header("authorization", &good);
    check(post().body("x".repeat(3_000)), 413, "body_too_large").await;
    let bomb = gzip(&vec![b' '; 1 << 20]);
    assert!(bomb.len() < 2_000, "{}", bomb.len());
    check(post().header("content-encoding", "gzip").body(bomb), 413, "body_too_large").await;
    check(post().header("content-encoding", "gzip").body("{}"), 400, "bad_body").await;
    check(post().header("content-encoding", "br").body("{}"), 415, "unsupported_media_type").await;
    let odd = post().header("content-type", "text/pl\u{e4}in").body("{\"rooms\":[\"user-7\"]}");
    check(odd, 415, "unsupported_media_type").await;
    let parts = [gzip(b"{\"rooms\":"), gzip(b"[\"user-7\"]}")].concat();
    let packed = post().header("content-encoding", "gzip").body(parts);
    assert_eq!(packed.send().await.expect("an answer").status().as_u16(), 201);
    *expected.entry("bad_body").or_default() += 1.0;
    expected.insert("unsupported_media_type", 2.0);
    check(
        post().header("idempotency-key", "x".repeat(256)).body("{\"rooms\":[\"user-7\"]}"),
        400,
        "bad_idempotency_key",
    )
    .await;
    check(post().header("origin", "https://evil.example").body("{}"), 403, "origin_forbidden").await;
    let evil = [("authorization", good.as_str()), ("origin", "https://evil.example")];
    let head = Socket::open(gate.port, &evil).await.err().expect("a page of another origin opens no socket");
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    for (code, count) in [("body_too_large", 2.0), ("bad_idempotency_key", 1.0), ("origin_forbidden", 2.0)] {
        expected.insert(code, count);
    }
    let request = gate.request(reqwest::Method::GET, "/v1/messages?room=user-7");
    let traced = request.header("authorization", &good).header("x-request-id", "trace-7").send().await;
    assert_eq!(traced.expect("an answer").headers()["x-request-id"], "trace-7");

    for (code, count) in &expected {
        assert_eq!(refused(&daemon, code).await, *count, "{code}");
    }
    let log = daemon.log();
    daemon.stop_well().await;
    for code in expected.keys() {
        assert!(
            log.lines().any(|line| line.contains("request answered") && line.contains(code)),
            "{code}: {log}"
        );
    }
    assert!(log.contains("trace-7"));
    let secrets = wrong_tokens.iter().map(|(token, _)| token.as_str()).chain([&good[7..], SECRET, "cft_"]);
    for secret in secrets {
        assert!(!log.contains(secret), "the log has {secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of the frames that are refused")]
async fn each_bad_frame_has_its_code_and_harms_no_other_client() {
    let gate = Gate::new(68, &strict()).await;
    let daemon = gate.start().await;
    gate.mine(&daemon, 3).await;
    let bearer = format!("Bearer {}", token(&claims()));
    let headers = [("authorization", bearer.as_str())];
    let open = async || Socket::open(gate.port, &headers).await.expect("it opens");
    let mut good = open().await;
    good.join(&[ROOM]).await;
    let join = |rooms: &[&str]| json!({ "id": 1, "op": "subscribe", "rooms": rooms });
    let last = gate.outbox().await.last().expect("a message").0.clone();
    let (epoch, seq) = last.split_once('.').expect("a position");
    let ahead = format!("{epoch}.{}", seq.parse::<u64>().expect("a number") + 1_000);
    let many: Vec<String> = (0..129).map(|n| format!("order-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut socket = open().await;
    for (op, code) in [
        (json!([]), "malformed"),
        (json!({ "id": 1, "op": "drop" }), "malformed"),
        (join(&["user-8"]), "forbidden"),
        (join(&["order-1", "all"]), "forbidden"),
        (join(&["chain-313370"]), "forbidden"),
        (join(&["user-*"]), "bad_room"),
        (join(&[]), "bad_room"),
        (join(&many), "too_many_rooms"),
        (json!({ "id": 1, "op": "subscribe", "rooms": [ROOM], "since": "x" }), "bad_position"),
        (json!({ "id": 1, "op": "subscribe", "rooms": [ROOM], "since": ahead }), "position_ahead"),
        (json!({ "id": 1, "op": "refresh", "token": "a.b.c" }), "token_invalid"),
        (json!({ "id": 1, "op": "refresh", "token": token(&with("sub", json!("8"))) }), "forbidden"),
    ] {
        let before = refused(&daemon, code).await;
        let answer = socket.ask(&op).await;
        assert!(
            matches!(&answer, Frame::Text(answer) if answer["ok"] == false && answer["code"] == code),
            "{op}: {answer:?}"
        );
        assert_eq!(refused(&daemon, code).await, before + 1.0, "{code}");
    }
    // Of a list that is refused no room is joined.
    let left = socket.ask(&json!({ "id": 3, "op": "unsubscribe", "rooms": [] })).await;
    assert_eq!(left, Frame::Text(json!({ "id": 3, "ok": true, "rooms": [] })));
    let elsewhere = json!({ "id": 2, "op": "subscribe", "rooms": [ROOM], "since": "abcdefabcdef.1" });
    let answer = socket.ask(&elsewhere).await;
    assert!(
        matches!(&answer, Frame::Text(answer) if answer["ok"] == true && answer["recovered"] == false),
        "{answer:?}"
    );
    let gap = socket.next().await;
    assert!(matches!(&gap, Frame::Text(gap) if gap["gap"]["reason"] == "epoch"), "{gap:?}");

    for (opcode, payload, code) in [(1, vec![b' '; 65 << 10], 1009), (1, vec![0xff, 0xfe], 1007)] {
        let mut socket = open().await;
        socket.send(opcode, &payload).await;
        let end = socket.next().await;
        assert!(matches!(&end, Frame::Close(found, _) if *found == code), "{code}: {end:?}");
    }
    // A frame that announces an enormous length is not waited for.
    let mut socket = open().await;
    socket.send(1, &vec![b' '; 2 << 20]).await;
    assert!(matches!(socket.next().await, Frame::Close(1009, _) | Frame::End));
    until_dropped(&daemon, "malformed", 2.0).await;

    gate.mine(&daemon, 2).await;
    let got = good.next().await;
    assert!(matches!(&got, Frame::Text(frame) if frame["room"] == ROOM), "{got:?}");
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_gets_no_more_than_its_share() {
    let limits = "header_timeout = \"1s\"\nrequests_per_second = 5\nmax_connections_per_user = 2\n\
                  max_connections_per_address = 40\n";
    let gate = Gate::new(69, &format!("{limits}[server.auth]\nsecret = \"{SECRET}\"\n")).await;
    let mut daemon = gate.start().await;
    let bearer =
        |sub: &str| format!("Bearer {}", token(&json!({ "sub": sub, "exp": seconds_from_now(600) })));

    let user = bearer("7");
    let headers = [("authorization", user.as_str())];
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(Socket::open(gate.port, &headers).await.expect("it opens"));
    }
    let head = Socket::open(gate.port, &headers).await.err().expect("a third is refused");
    assert!(head.starts_with("HTTP/1.1 429") && head.contains("retry-after"), "{head}");
    assert_eq!((dropped(&daemon, "user").await, refused(&daemon, "too_many_connections").await), (1.0, 1.0));
    drop(held.pop());
    until_async("the place of a closed connection is free", async || {
        // A refused connection counts as a request too.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Socket::open(gate.port, &headers).await.is_ok()
    })
    .await;

    // Twenty seconds' worth at once, and then no more; another user does not notice.
    let flood = bearer("flood");
    let client = reqwest::Client::builder().no_proxy().timeout(WAIT_LIMIT).build().expect("a client");
    let url = format!("http://127.0.0.1:{}/v1/messages?room=chain-1", gate.port);
    let mut limited = None;
    for _ in 0..1_000 {
        let answer = client.get(&url).header("authorization", &flood).send().await.expect("an answer");
        if answer.status().as_u16() == 429 {
            limited = Some(answer.headers()["retry-after"].to_str().expect("digits").to_owned());
            break;
        }
    }
    assert_eq!(limited.as_deref(), Some("1"));
    assert_eq!(
        client
            .get(&url)
            .header("authorization", &bearer("8"))
            .send()
            .await
            .expect("an answer")
            .status()
            .as_u16(),
        200
    );
    daemon.until_printed("request refused").await;

    // A head that comes too slowly ends, and so does what is no HTTP.
    let slow = raw(gate.port, b"GET /v1/messages HTTP/1.1\r\nhost: 127.").await;
    assert!(slow.is_empty() || slow.starts_with("HTTP/1.1 408"), "{slow}");
    until_dropped(&daemon, "silent", 1.0).await;
    let before = dropped(&daemon, "malformed").await;
    let nonsense = raw(gate.port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").await;
    assert!(nonsense.is_empty() || nonsense.starts_with("HTTP/1.1 400"), "{nonsense}");
    until_dropped(&daemon, "malformed", before + 1.0).await;

    let before = dropped(&daemon, "address").await;
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(tokio::net::TcpStream::connect(("127.0.0.1", gate.port)).await.expect("it is accepted"));
    }
    until_dropped(&daemon, "address", before + 1.0).await;
    drop(crowd);
    daemon.stop_well().await;
}

/// Stores messages of 20 kB, in steps that a client which reads can follow.
pub async fn store_large(gate: &Gate, count: i64) {
    let sql = "with head as (update outbox_head set seq = seq + $1 returning seq), \
         one as (select * from outbox order by seq desc limit 1) \
         insert into outbox (seq, chain_id, aggregate_type, type, state, message) \
         select head.seq - $1 + n, one.chain_id, one.aggregate_type, one.type, one.state, \
             (jsonb_set(one.message::jsonb, '{payload}', jsonb_build_object('pad', repeat('x', 20000))) \
                 || jsonb_build_object('seq', head.seq - $1 + n))::text \
         from head, one, generate_series(1, $1) as n";
    sqlx::query(sql).bind(count).execute(&gate.pool).await.expect("stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_is_closed_and_no_other() {
    let gate =
        Gate::new(70, &format!("queue_bytes = \"256KiB\"\n[server.auth]\nsecret = \"{SECRET}\"\n")).await;
    let daemon = gate.start().await;
    gate.mine(&daemon, 3).await;
    let bearer = format!("Bearer {}", token(&json!({ "sub": "7", "exp": seconds_from_now(600) })));
    let headers = [("authorization", bearer.as_str())];
    let mut slow = Socket::open_narrow(gate.port, &headers).await.expect("it opens");
    let mut quick = Socket::open(gate.port, &headers).await.expect("it opens");
    let stored = gate.outbox().await;
    let (newest, before) = (stored.last().expect("blocks were mined").0.clone(), stored.len());
    // A room that is joined now begins with what the server has read of the outbox.
    loop {
        let Frame::Text(pong) = quick.ask(&json!({ "id": 1, "op": "ping" })).await else {
            panic!("no answer")
        };
        if pong["position"] == newest {
            break;
        }
    }
    slow.join(&[ROOM]).await;
    quick.join(&[ROOM]).await;
    let mut positions = Vec::new();
    for _ in 0..200 {
        store_large(&gate, 5).await;
        for _ in 0..5 {
            match quick.next().await {
                Frame::Text(frame) => {
                    positions.push(frame["position"].as_str().expect("a position").to_owned())
                }
                other => panic!("{other:?}"),
            }
        }
        if dropped(&daemon, "slow").await > 0.0 {
            break;
        }
    }
    let expected: Vec<String> =
        gate.outbox().await.split_off(before).into_iter().map(|(position, _)| position).collect();
    assert_eq!(positions, expected, "who reads gets everything, in order");
    until_dropped(&daemon, "slow", 1.0).await;
    // When it reads again it hears why, and where to go on.
    let mut last = None;
    let end = loop {
        match slow.next().await {
            Frame::Text(frame) => last = Some(frame["position"].as_str().expect("a position").to_owned()),
            end => break end,
        }
    };
    assert_eq!(end, Frame::Close(4408, "too_slow".to_owned()));
    let had = last.expect("it got some");
    let at = expected.iter().position(|position| *position == had).expect("one of them");
    let mut again = Socket::open(gate.port, &headers).await.expect("it opens");
    let answer = again.ask(&json!({ "id": 1, "op": "subscribe", "rooms": [ROOM], "since": had })).await;
    assert!(matches!(&answer, Frame::Text(answer) if answer["recovered"] == true), "{answer:?}");
    for position in &expected[at + 1..] {
        let frame = again.next().await;
        assert!(matches!(&frame, Frame::Text(frame) if frame["position"] == **position), "{frame:?}");
    }
    daemon.stop_well().await;
}
