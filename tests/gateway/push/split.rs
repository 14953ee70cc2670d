//! A message that is several frames of one client, and a connection that breaks between two of them.

use super::wire::{Frame, Socket};
use super::*;

const TRANSFERS: &str = "type-erc20.transfer";

/// In the room of the chain transfers have a name of their own, in the room of their type they are messages.
const RULE: &str =
    "[[push]]\non = \"erc20.transfer\"\nemit = \"moved\"\nrooms = [\"chain-{metadata.chainId}\"]\n";

/// The next frames of a WebSocket: room, event and position of each.
async fn frames(socket: &mut Socket, count: usize) -> Vec<[String; 3]> {
    let mut found = Vec::new();
    while found.len() < count {
        let Frame::Text(frame) = socket.next().await else { panic!("the connection stays: {found:?}") };
        found.push(["room", "event", "position"].map(|key| frame[key].as_str().expect("a text").to_owned()));
    }
    found
}

/// What clients get of these messages in both rooms: room, event and position of each frame.
fn expected(messages: &[(String, Value)]) -> Vec<[String; 3]> {
    let frames = messages.iter().flat_map(|(position, message)| {
        let is_transfer = message["type"] == "erc20.transfer";
        let chain = [ROOM, if is_transfer { "moved" } else { "message" }, position];
        let transfers = is_transfer.then_some([TRANSFERS, "message", position]);
        std::iter::once(chain).chain(transfers)
    });
    frames.map(|frame| frame.map(str::to_owned)).collect()
}

async fn resumed(gate: &Gate, rooms: &[&str], since: &str) -> Socket {
    let mut socket = Socket::open(gate.port, &[]).await.expect("it opens");
    let op = json!({ "id": 1, "op": "subscribe", "rooms": rooms, "since": since });
    let answer = socket.ask(&op).await;
    assert!(matches!(&answer, Frame::Text(answer) if answer["recovered"] == true), "{answer:?}");
    socket
}

/// By WebSocket: the message at the position comes again where it has several frames, and only there.
async fn resumes_whole_messages(gate: &Gate, outbox: &[(String, Value)], at: usize) {
    let mut socket = resumed(gate, &[ROOM, TRANSFERS], &outbox[at].0).await;
    let all = expected(&outbox[at..]);
    assert_eq!(frames(&mut socket, all.len()).await, all);
    // A room that is joined again while its past is read is not the end of the others' past.
    let mut again = resumed(gate, &[ROOM, TRANSFERS], &outbox[at].0).await;
    let op = json!({ "id": 2, "op": "subscribe", "rooms": [ROOM], "since": outbox[at].0 });
    again.send(1, op.to_string().as_bytes()).await;
    let (mut transfers, wanted) = (Vec::new(), all.iter().filter(|[room, ..]| room == TRANSFERS).count());
    while transfers.len() < wanted {
        let Frame::Text(frame) = again.next().await else { panic!("the connection stays: {transfers:?}") };
        transfers.extend((frame["room"] == TRANSFERS).then(|| frame["position"].clone()));
    }
    let mut single = resumed(gate, &[ROOM], &outbox[at].0).await;
    let rest: Vec<_> = expected(&outbox[at + 1..]).into_iter().filter(|[room, ..]| room == ROOM).collect();
    assert_eq!(frames(&mut single, rest.len()).await, rest);
}

/// By Socket.IO, which joins rooms one by one: the rooms come in one order, each event with its rooms.
async fn resumes_by_socketio(gate: &Gate, outbox: &[(String, Value)], at: usize) {
    let sid = gate.opened().await;
    let joins = format!(
        "40{{\"since\":\"{}\"}}\u{1e}420[\"join\",\"{ROOM}\"]\u{1e}421[\"join\",\"{TRANSFERS}\"]",
        outbox[at].0
    );
    gate.poll(&sid, Some(joins)).await;
    let all = expected(&outbox[at..]);
    let mut found: Vec<[String; 3]> = Vec::new();
    while found.len() < all.len() {
        let (status, text) = gate.poll(&sid, None).await;
        assert_eq!(status, 200, "{text}");
        for event in text.split('\u{1e}').filter_map(|packet| packet.strip_prefix("42")) {
            let [event, _, meta]: [Value; 3] =
                serde_json::from_str(event).expect("an event and two arguments");
            for room in meta["rooms"].as_array().expect("a list") {
                found.push(
                    [room, &event, &meta["position"]].map(|value| value.as_str().expect("a text").to_owned()),
                );
            }
        }
    }
    assert_eq!(found, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_two_frames_comes_again_whole_on_resume() {
    let gate = Gate::new(76, &format!("[server.auth]\nmode = \"none\"\n{RULE}")).await;
    let daemon = gate.start().await;
    gate.mine(&daemon, 4).await;
    let outbox = gate.outbox().await;
    let is_transfer = |(_, message): &(String, Value)| message["type"] == "erc20.transfer";
    let at = outbox.iter().position(is_transfer).expect("the chain has transfers");
    assert!(outbox.len() > at + 2, "messages follow the first transfer");
    resumes_whole_messages(&gate, &outbox, at).await;
    resumes_by_socketio(&gate, &outbox, at).await;
    // The last message of all: nothing follows that would show what is missing.
    let last = outbox.iter().rposition(is_transfer).expect("the chain has transfers");
    resumes_by_socketio(&gate, &outbox[..=last.max(outbox.len() - 1)], last).await;
    daemon.stop_well().await;
    let daemon = gate.start().await;
    resumes_whole_messages(&gate, &gate.outbox().await, at).await;

    // A message that is deleted cannot come again: what may be missing of it is a gap.
    let seq = i64::try_from(at).expect("short") + 1;
    sqlx::query("delete from outbox where seq <= $1").bind(seq).execute(&gate.pool).await.expect("deleted");
    let mut socket = Socket::open(gate.port, &[]).await.expect("it opens");
    let op = json!({ "id": 1, "op": "subscribe", "rooms": [ROOM, TRANSFERS], "since": outbox[at].0 });
    let answer = socket.ask(&op).await;
    assert!(matches!(&answer, Frame::Text(answer) if answer["recovered"] == false), "{answer:?}");
    let (epoch, _) = outbox[at].0.split_once('.').expect("a position");
    let gap = json!({ "from": format!("{epoch}.{}", seq - 1), "to": outbox[at].0, "reason": "retention" });
    assert_eq!(socket.next().await, Frame::Text(json!({ "gap": gap })));
    daemon.stop_well().await;
}
