//! Clients that mean harm, or that are merely slow at the wrong moment.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::refused::{store_large, until_dropped};
use super::serve::gate;
use super::wire::{Frame, Socket, masked, raw};
use super::*;
use crate::wait::until_equal;

/// Large messages that are more than the system keeps for a connection.
const LARGE: i64 = 450;

/// Stores messages that a client has not seen; the position before them, and a token for a client.
async fn backlog(gate: &Gate, daemon: &Daemon, jti: &str) -> (String, String) {
    let before = loop {
        gate.mine(daemon, 3).await;
        if let Some((position, _)) = gate.outbox().await.pop() {
            break position;
        }
    };
    store_large(gate, LARGE).await;
    // A client that joins before the server has read them gets them live, and is too slow for so many.
    let (newest, _) = gate.outbox().await.pop().expect("they are stored");
    let path = format!("/v1/messages?room={ROOM}&limit=1&min_position={newest}");
    let bearer = format!("Bearer {}", token(&json!({ "sub": "7", "exp": seconds_from_now(600) })));
    let read = gate.request(reqwest::Method::GET, &path).header("authorization", bearer).send().await;
    assert_eq!(read.expect("the server answers").status().as_u16(), 200);
    (before, token(&json!({ "sub": "7", "jti": jti, "exp": seconds_from_now(600) })))
}

async fn revoke(gate: &Gate, admin: &str, jti: &str) {
    let request = gate.request(reqwest::Method::POST, "/v1/revocations").header("authorization", admin);
    let answer = request.body(json!({ "jti": jti }).to_string()).send().await.expect("the server answers");
    assert_eq!(answer.status().as_u16(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_is_read_slowly_ends_with_its_credential() {
    let (gate, admin) = gate(81, "").await;
    let daemon = gate.start().await;
    let (since, token) = backlog(&gate, &daemon, "slow").await;
    let bearer = format!("Bearer {token}");
    let mut slow =
        Socket::open_narrow(gate.port, &[("authorization", bearer.as_str())]).await.expect("it opens");
    let subscribe = json!({ "id": 1, "op": "subscribe", "rooms": [ROOM], "since": since });
    let answer = slow.ask(&subscribe).await;
    assert!(matches!(&answer, Frame::Text(answer) if answer["ok"] == true), "{answer:?}");
    // It reads nothing until the server cannot send more.
    tokio::time::sleep(Duration::from_secs(1)).await;
    revoke(&gate, &admin, "slow").await;
    until_dropped(&daemon, "revoked", 1.0).await;
    let mut got = 0;
    let end = loop {
        match slow.next().await {
            Frame::Text(_) => got += 1,
            end => break end,
        }
    };
    assert_eq!(end, Frame::Close(4403, "credential_revoked".to_owned()));
    assert!(got < LARGE, "everything came after the revocation");
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_polls_slowly_ends_with_its_credential() {
    let (gate, admin) = gate(82, "").await;
    let daemon = gate.start().await;
    let (since, token) = backlog(&gate, &daemon, "slow").await;
    let sid = gate.opened().await;
    gate.poll(&sid, Some(format!("40{}", json!({ "token": token, "since": since })))).await;
    let (_, connected) = gate.poll(&sid, None).await;
    assert!(connected.starts_with("40{"), "{connected}");
    gate.poll(&sid, Some(format!("421[\"join\",\"{ROOM}\"]"))).await;
    let (_, joined) = gate.poll(&sid, None).await;
    assert!(joined.starts_with("431[{\"ok\":true"), "{joined}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    revoke(&gate, &admin, "slow").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // What waited for its next poll is not for it any more.
    let (_, last) = gate.poll(&sid, None).await;
    assert_eq!(last, "42[\"revoked\",{\"code\":\"credential_revoked\"}]\u{1e}41");
    until_dropped(&daemon, "revoked", 1.0).await;
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_sessions_however_few_its_connections() {
    let tables = format!("max_connections_per_address = 3\n[server.auth]\nsecret = \"{SECRET}\"\n");
    let gate = Gate::new(83, &tables).await;
    let daemon = gate.start().await;
    let handshake = |more: &str| {
        format!("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: 127.0.0.1\r\n{more}\r\n")
    };
    let requests = format!("{}{}", handshake("").repeat(3), handshake("connection: close\r\n"));
    let answers = raw(gate.port, requests.as_bytes()).await;
    let sessions: Vec<&str> = answers.split("\"sid\":\"").skip(1).map(|rest| &rest[..22]).collect();
    assert_eq!(sessions.len(), 4, "{answers}");
    let mut statuses = Vec::new();
    for session in &sessions {
        statuses.push(gate.poll(&format!("&sid={session}"), Some("3".to_owned())).await.0);
    }
    assert_eq!(statuses, [200, 200, 200, 400], "{answers}");
    until_dropped(&daemon, "address", 1.0).await;
    // A place is given back with its session.
    gate.poll(&format!("&sid={}", sessions[0]), Some("1".to_owned())).await;
    until_equal("the place of a closed session is free", 200, async || {
        let sid = gate.opened().await;
        gate.poll(&sid, Some("3".to_owned())).await.0
    })
    .await;
    // One connection more than an address may have gets a reason like every other request.
    let mut crowd = Vec::new();
    for _ in 0..3 {
        crowd.push(TcpStream::connect(("127.0.0.1", gate.port)).await.expect("the server listens"));
    }
    let refused = raw(gate.port, b"").await;
    assert!(
        refused.starts_with("HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\n")
    );
    assert!(
        refused.contains("\r\nretry-after: 5\r\n") && refused.contains("\"code\":\"too_many_connections\"")
    );
    drop(crowd);
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pongs_is_read_at_the_pace_of_frames() {
    let tables = format!("requests_per_second = 5\n[server.auth]\nsecret = \"{SECRET}\"\n");
    let gate = Gate::new(85, &tables).await;
    let daemon = gate.start().await;
    let bearer = format!("Bearer {}", token(&json!({ "sub": "7", "exp": seconds_from_now(600) })));
    let mut socket = Socket::open(gate.port, &[("authorization", bearer.as_str())]).await.expect("it opens");
    let began = Instant::now();
    for _ in 0..120 {
        socket.send(10, b"").await;
    }
    // 20 seconds' worth come at once; the others wait a fifth of a second each.
    let answer = socket.ask(&json!({ "id": 1, "op": "ping" })).await;
    assert!(matches!(&answer, Frame::Text(answer) if answer["id"] == 1), "{answer:?}");
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_against_the_rules_of_http_has_a_code_of_its_own() {
    let gate = Gate::new(84, &format!("[server.auth]\nsecret = \"{SECRET}\"\n")).await;
    let daemon = gate.start().await;
    let bearer = token(&json!({ "sub": "7", "exp": seconds_from_now(600) }));
    let head = |line: &str| {
        format!("{line} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {bearer}\r\nconnection: close")
    };
    let upgrade = ", upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let chunked = "\r\ntransfer-encoding: chunked\r\n\r\n";
    for (request, status, code) in [
        (format!("{}{chunked}2;x=\n{{}}\r\n0\r\n\r\n", head("POST /v1/tickets")), 400, "bad_body"),
        (format!("{}{chunked}fffffffffffffffff\r\n", head("POST /v1/tickets")), 400, "bad_body"),
        (
            format!("{}\r\ncontent-length: 2\r\n\r\n{{}}", head("POST /v1/tickets?token=x")),
            400,
            "token_in_query",
        ),
        (format!("{}{upgrade}", head("GET /v1/ws?access_token=x")), 400, "token_in_query"),
        (format!("{}{upgrade}", head("GET /v1/ws").replace("HTTP/1.1", "HTTP/1.0")), 400, "not_a_websocket"),
    ] {
        let answer = raw(gate.port, request.as_bytes()).await;
        let is_refused = answer.split_whitespace().nth(1) == Some(&*status.to_string());
        assert!(is_refused && answer.contains(&format!("\"code\":\"{code}\"")), "{request}\n{answer}");
    }
    // A HEAD has no body that names its code.
    let answer = raw(gate.port, format!("{}{upgrade}", head("HEAD /v1/ws")).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    // RFC 6455 section 4.4: a client of another version reads which one to speak.
    let older = upgrade.replace("version: 13", "version: 8");
    let answer = raw(gate.port, format!("{}{older}", head("GET /v1/ws")).as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("\r\nsec-websocket-version: 13\r\n"),
        "{answer}"
    );
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_one_host_to_either_server() {
    let gate = Gate::new(92, &format!("[server.auth]\nsecret = \"{SECRET}\"\n")).await;
    let daemon = gate.start().await;
    for (version, hosts, status) in [
        ("1.1", "", 400),
        ("1.1", "host: 127.0.0.1\r\nhost: 127.0.0.1\r\n", 400),
        ("1.0", "host: 127.0.0.1\r\nhost: localhost\r\n", 400),
        ("1.1", "host: 127.0.0.1/x\r\n", 400),
        ("1.1", "host: user@127.0.0.1\r\n", 400),
        ("1.1", "host: 127.0.0.1\r\n", 200),
        ("1.0", "host: localhost:1\r\n", 200),
        ("1.0", "", 200),
    ] {
        for (port, path) in [(gate.port, "/openapi.json"), (gate.home.port, "/livez")] {
            let request = format!("GET {path} HTTP/{version}\r\nconnection: close\r\n{hosts}\r\n");
            let answer = raw(port, request.as_bytes()).await;
            assert_eq!(answer.split_whitespace().nth(1), Some(&*status.to_string()), "{request}{answer}");
            let is_problem = answer.contains("\r\ncontent-type: application/problem+json\r\n")
                && answer.contains("\"code\":\"bad_host\"");
            assert_eq!(is_problem, status == 400 && port == gate.port, "{request}{answer}");
        }
    }
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_against_the_rules_is_closed_with_its_code() {
    let gate = Gate::new(93, "[server.auth]\nmode = \"none\"\n").await;
    let daemon = gate.start().await;
    let whole = |first: u8, payload: &[u8]| {
        let mut frame = masked(0, payload);
        frame[0] = first;
        frame
    };
    for (what, bytes, code) in [
        ("a close without a code", masked(8, b""), 1000),
        ("a close with a code and a reason", masked(8, b"\x0f\xa0bye"), 4000),
        ("a close with half a code", masked(8, &[3]), 1002),
        ("a close with a code for the client itself", masked(8, &1006_u16.to_be_bytes()), 1002),
        ("a close with a code of no meaning", masked(8, &2000_u16.to_be_bytes()), 1002),
        ("a close with a reason that is no text", masked(8, &[3, 232, 0xff]), 1007),
        ("a close of 126 bytes", masked(8, &[b'x'; 126]), 1002),
        ("a text that is no text", masked(1, &[0xff, 0xfe]), 1007),
        ("a text in parts that is no text", [whole(0x01, &[0xce]), whole(0x80, b"x")].concat(), 1007),
        ("a reserved kind of frame", masked(3, b""), 1002),
        ("a reserved kind of control frame", masked(11, b""), 1002),
        ("a bit of no extension", whole(0xa1, b"x"), 1002),
        ("a compressed control frame", whole(0xc9, b""), 1002),
        ("a frame without a mask", vec![0x81, 1, b'x'], 1002),
        ("a ping in parts", whole(0x09, b""), 1002),
        ("a ping of 126 bytes", masked(9, &[0; 126]), 1002),
        ("a part without a beginning", masked(0, b"x"), 1002),
        ("a text within a text", [whole(0x01, b"x"), masked(1, b"x")].concat(), 1002),
    ] {
        for path in ["/v1/ws", "/socket.io/?EIO=4&transport=websocket"] {
            let mut socket = Socket::try_open_at(gate.port, path).await.expect("it opens");
            if path != "/v1/ws" {
                assert!(socket.next_text().await.is_some_and(|open| open.starts_with("0{")), "{what}");
            }
            socket.send_raw(&bytes).await;
            let end = socket.next().await;
            assert!(matches!(&end, Frame::Close(found, _) if *found == code), "{path}: {what}: {end:?}");
        }
    }
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_too_much_still_reads_the_answer() {
    let gate = Gate::new(88, &format!("[server.auth]\nsecret = \"{SECRET}\"\n")).await;
    let daemon = gate.start().await;
    let bearer = token(&json!({ "sub": "7", "exp": seconds_from_now(600) }));
    // More than the buffers of both sockets hold.
    let bytes = 14 << 20;
    for (line, bearer, status) in [
        ("POST /v1/tickets", &*bearer, 413),
        ("POST /v1/tickets", "no token", 401),
        ("POST /nowhere", &*bearer, 404),
        ("POST /socket.io/?EIO=4&transport=polling&sid=x", &*bearer, 400),
    ] {
        let head = format!(
            "{line} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {bearer}\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n"
        );
        let mut stream = TcpStream::connect(("127.0.0.1", gate.port)).await.expect("the server listens");
        // Libraries return the error of a write, and no answer.
        stream
            .write_all(&[head.as_bytes(), &vec![b' '; bytes]].concat())
            .await
            .expect("the server reads all");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("the server answers");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
    }
    daemon.stop_well().await;
}
