//! The protocols under the clients of Socket.IO, packet by packet: Engine.IO 4 and Socket.IO 5 as their specifications describe them.

use super::wire::Socket;
use super::*;

const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
/// Between two packets of a payload.
const SEPARATOR: char = '\u{1e}';

async fn gate(seed: u64) -> (Gate, Daemon) {
    let gate = Gate::new(seed, "[server.auth]\nmode = \"none\"\n").await;
    let daemon = gate.start().await;
    (gate, daemon)
}

/// The packet that opens a session: its JSON.
fn opened(packet: &str, upgrades: &Value) -> String {
    let open: Value = serde_json::from_str(packet.strip_prefix('0').expect("an open packet")).expect("JSON");
    let sid = open["sid"].as_str().expect("a name of the session").to_owned();
    let expected = json!({
        "sid": sid, "upgrades": upgrades, "pingInterval": 25_000, "pingTimeout": 20_000, "maxPayload": 65_536
    });
    assert_eq!(open, expected);
    sid
}

async fn websocket(gate: &Gate) -> Socket {
    let mut socket = Socket::try_open_at(gate.port, WEBSOCKET).await.expect("it opens");
    opened(&socket.next_text().await.expect("a packet"), &json!([]));
    socket
}

/// One packet, and what comes next.
async fn ask(socket: &mut Socket, packet: &str) -> Option<String> {
    socket.send(1, packet.as_bytes()).await;
    socket.next_text().await
}

async fn connected(gate: &Gate) -> Socket {
    let mut socket = websocket(gate).await;
    let answer = ask(&mut socket, "40").await.expect("an answer");
    assert!(answer.starts_with("40{\"sid\":\""), "{answer}");
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_opens_over_either_transport_or_is_refused() {
    let (gate, daemon) = gate(86).await;
    let (status, packet) = gate.poll("", None).await;
    assert_eq!(status, 200);
    opened(&packet, &json!(["websocket"]));
    drop(websocket(&gate).await);
    for (method, query) in [
        ("GET", "transport=polling"),
        ("GET", "EIO=abc&transport=polling"),
        ("GET", "EIO=4"),
        ("GET", "EIO=4&transport=abc"),
        ("POST", "EIO=4&transport=polling"),
        ("PUT", "EIO=4&transport=polling"),
        ("GET", "EIO=4&transport=polling&sid=abc"),
        ("POST", "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA"),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = gate.ask(method, &format!("/socket.io/?{query}"), &[]).await;
        assert_eq!(answer.status().as_u16(), 400, "{query}");
    }
    for query in ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc"] {
        let path = format!("/socket.io/?{query}");
        assert!(Socket::try_open_at(gate.port, &path).await.is_none(), "{query}");
    }
    let refused = daemon.metric("chainflume_push_refused_total{code=\"malformed\"}").await;
    assert_eq!(refused, Some(12.0), "each is counted");
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_hold_packets_and_what_is_none_ends_the_session() {
    let (gate, daemon) = gate(87).await;
    let sid = gate.opened().await;
    assert_eq!(gate.poll(&sid, Some("40".to_owned())).await, (200, "ok".to_owned()));
    let (status, connected) = gate.poll(&sid, None).await;
    assert_eq!(status, 200);
    assert!(connected.starts_with("40{\"sid\":\"") && !connected.contains(SEPARATOR), "{connected:?}");
    let leaves: Vec<String> = (0..3).map(|number| format!("42{number}[\"leave\",\"event-1\"]")).collect();
    let body = leaves.join(&SEPARATOR.to_string());
    assert_eq!(gate.poll(&sid, Some(body)).await, (200, "ok".to_owned()));
    let mut packets: Vec<String> = Vec::new();
    while packets.len() < 3 {
        let (_, text) = gate.poll(&sid, None).await;
        packets.extend(text.split(SEPARATOR).map(str::to_owned));
    }
    for (number, packet) in packets.iter().enumerate() {
        assert!(packet.starts_with(&format!("43{number}[{{\"ok\":true")), "{packets:?}");
    }

    // Neither packets of no kind nor binary ones, of which this server promises nothing.
    for body in ["abc", "bAQIDBA=="] {
        let sid = gate.opened().await;
        let _any = gate.poll(&sid, Some(body.to_owned())).await;
        assert_eq!(gate.poll(&sid, None).await.0, 400, "{body}");
    }
    let sid = gate.opened().await;
    let (one, other) = tokio::join!(gate.poll(&sid, None), async {
        // The first waits by then.
        tokio::time::sleep(Duration::from_millis(500)).await;
        gate.poll(&sid, None).await
    });
    assert_eq!((one, other.0), ((200, "1".to_owned()), 400), "two polls at once end the session");
    assert_eq!(gate.poll(&sid, None).await.0, 400);
    for packet in ["abc", "1"] {
        let mut socket = websocket(&gate).await;
        assert_eq!(ask(&mut socket, packet).await, None, "{packet}");
    }
    let mut socket = websocket(&gate).await;
    socket.send(2, &[1, 2, 3]).await;
    assert_eq!(socket.next_text().await, None, "bytes are no packet here");
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_closes_by_polling_and_moves_to_a_websocket() {
    let (gate, daemon) = gate(88).await;
    let sid = gate.opened().await;
    let (waiting, closed) = tokio::join!(gate.poll(&sid, None), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        gate.poll(&sid, Some("1".to_owned())).await
    });
    assert_eq!((waiting, closed), ((200, "6".to_owned()), (200, "ok".to_owned())));
    assert_eq!(gate.poll(&sid, None).await.0, 400);

    let sid = gate.opened().await;
    let path = format!("{WEBSOCKET}{sid}");
    let mut socket = Socket::try_open_at(gate.port, &path).await.expect("it opens");
    assert_eq!(ask(&mut socket, "2probe").await.as_deref(), Some("3probe"));
    assert_eq!(
        gate.poll(&sid, None).await,
        (200, "6".to_owned()),
        "a poll ends, so that the client may move"
    );
    socket.send(1, b"5").await;
    let answer = ask(&mut socket, "40").await.expect("an answer");
    assert!(answer.starts_with("40{\"sid\":\""), "{answer}");
    assert_eq!(gate.poll(&sid, None).await.0, 400, "the session polls no more");
    let mut second = Socket::try_open_at(gate.port, &path).await;
    if let Some(second) = &mut second {
        assert_eq!(ask(second, "2probe").await, None, "and has one WebSocket");
    }
    let answer = ask(&mut socket, "427[\"leave\",\"event-1\"]").await.expect("an answer");
    assert!(answer.starts_with("437[{\"ok\":true"), "{answer}");

    // A WebSocket that never comes to an end of the move leaves the session as it was.
    let sid = gate.opened().await;
    let mut half = Socket::try_open_at(gate.port, &format!("{WEBSOCKET}{sid}")).await.expect("it opens");
    assert_eq!(ask(&mut half, "2probe").await.as_deref(), Some("3probe"));
    drop(half);
    assert_eq!(gate.poll(&sid, Some("40".to_owned())).await, (200, "ok".to_owned()));
    let mut text = String::new();
    while !text.contains("40{\"sid\":\"") {
        let (status, more) = gate.poll(&sid, None).await;
        assert_eq!(status, 200, "{text}");
        text.push_str(&more);
    }
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_pinged_and_one_that_is_silent_is_let_go() {
    let (gate, daemon) = gate(89).await;
    let by_websocket = async {
        let mut socket = websocket(&gate).await;
        assert_eq!(ask(&mut socket, "40").await.map(|answer| answer[..2].to_owned()).as_deref(), Some("40"));
        assert_eq!(socket.next_text().await.as_deref(), Some("2"));
        // Answered, it lives on for longer than the silent one; not answered again, it ends.
        socket.send(1, b"3").await;
        assert_eq!(socket.next_text().await.as_deref(), Some("2"));
    };
    let silent = async {
        let mut socket = websocket(&gate).await;
        assert_eq!(socket.next_text().await.as_deref(), Some("2"));
        assert_eq!(socket.next_text().await, None);
    };
    let by_polling = async {
        let sid = gate.opened().await;
        assert_eq!(gate.poll(&sid, None).await, (200, "2".to_owned()));
        assert_eq!(gate.poll(&sid, Some("3".to_owned())).await, (200, "ok".to_owned()));
        let silent = gate.opened().await;
        assert_eq!(gate.poll(&silent, None).await, (200, "2".to_owned()));
        let (status, text) = gate.poll(&silent, None).await;
        assert!(status == 400 || text != "2", "{status} {text}");
        assert_eq!(gate.poll(&silent, None).await.0, 400);
    };
    tokio::join!(by_websocket, silent, by_polling);
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_namespace_is_joined_left_and_joined_again() {
    let (gate, daemon) = gate(90).await;
    for packet in ["40", "40{\"token\":\"123\"}", "40/,{}"] {
        let mut socket = websocket(&gate).await;
        let answer = ask(&mut socket, packet).await.expect("an answer");
        let answer: Value = serde_json::from_str(answer.strip_prefix("40").expect("CONNECT")).expect("JSON");
        assert!(answer["sid"].is_string() && answer.as_object().is_some_and(|keys| keys.len() == 1));
    }
    for packet in ["4abc", "42[\"leave\",\"event-1\"]", "41", "43[]", "40["] {
        let mut socket = websocket(&gate).await;
        assert_eq!(ask(&mut socket, packet).await, None, "{packet} before CONNECT");
    }
    let unknown = Some("44/random,{\"message\":\"Invalid namespace\"}");
    let mut socket = websocket(&gate).await;
    assert_eq!(ask(&mut socket, "40/random").await.as_deref(), unknown);
    let answer = ask(&mut socket, "40").await.expect("an answer");
    assert!(answer.starts_with("40{"), "{answer}");
    assert_eq!(ask(&mut socket, "40/random,").await.as_deref(), unknown);

    // A client that leaves keeps its connection, and comes again with a new name.
    socket.send(1, b"41").await;
    let again = ask(&mut socket, "40").await.expect("an answer");
    assert!(again.starts_with("40{") && again != answer, "{again}");
    socket.send(1, b"41/random,").await;
    let left = ask(&mut socket, "4212[\"leave\",\"event-1\"]").await.expect("an answer");
    assert!(left.starts_with("4312[{\"ok\":true,\"position\":\""), "{left}");
    assert!(left.contains("\"recovered\":true"), "{left}");
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_acknowledged_by_number_and_in_order() {
    let (gate, daemon) = gate(91).await;
    let mut socket = connected(&gate).await;
    let joins: Vec<String> = (0..40).map(|number| format!("42{number}[\"join-event\",{number}]")).collect();
    socket.send_texts(&joins).await;
    for number in 0..40 {
        let answer = socket.next_text().await.expect("an answer");
        assert!(answer.starts_with(&format!("43{number}[{{\"ok\":true,")), "{number}: {answer}");
    }
    // Without a number nothing is answered; a message that follows is for the next.
    socket.send(1, b"42[\"leave\",\"event-1\"]").await;
    let answer = ask(&mut socket, "420[\"nothing\",1,\"2\",{\"3\":[true]}]").await.expect("an answer");
    assert!(answer.starts_with("430[{\"code\":\"malformed\""), "{answer}");
    for packet in ["42", "42[]", "42[1]", "42{}", "42[\"a\"", "451-[\"a\",{\"_placeholder\":true,\"num\":0}]"]
    {
        let mut socket = connected(&gate).await;
        assert_eq!(ask(&mut socket, packet).await, None, "{packet}");
    }
    daemon.stop_well().await;
}
