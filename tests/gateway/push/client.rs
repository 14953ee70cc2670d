//! The client for JavaScript in `clients/typescript`, as a front end uses it.

use super::*;

/// Runs the client's own tests, which need no server of ours.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_passes_its_own_tests() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/typescript");
    let mut command = Command::new("npm");
    let output = command.args(["test", "--silent"]).current_dir(folder).output().await;
    let output = output.expect("npm is installed (apt-get install npm)");
    let text = String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned();
    assert!(output.status.success(), "scripts/test-tools builds the client before its tests run\n{text}");
}

/// A client that follows the room of the chain and the room of all transfers, which overlap.
pub fn follow(gate: &Gate, transport: &str, token: Option<&str>) -> Client {
    let mut command = node("client.mjs");
    let (url, rooms) = (format!("http://127.0.0.1:{}", gate.port), format!("{ROOM},type-erc20.transfer"));
    command.args([transport, &*url, &*rooms]).args(token);
    Client::start(&mut command)
}

pub async fn until_status(client: &mut Client, status: &str) {
    while client.next().await["status"] != status {}
}

/// Follows the chain through a reorg and a daemon that is killed, and compares what the client's subscription got with the outbox.
async fn follows_everything(transport: &str, seed: u64, tables: &str, token: Option<&str>) {
    let gate = Gate::new(seed, tables).await;
    let daemon = gate.start().await;
    gate.mine(&daemon, 3).await;
    let mut client = follow(&gate, transport, token);
    until_status(&mut client, "connected").await;
    let before = gate.outbox().await.len();

    gate.mine(&daemon, 4).await;
    gate.chain.reorg(5, 6);
    daemon.until_tip(gate.chain.head().number - 2).await;
    let stored = gate.outbox().await;
    assert!(
        stored.iter().any(|(_, message)| message["state"] == "retracted"),
        "the reorg took messages back"
    );
    let (mut frames, mut in_room) = collect(&mut client, stored.len() - before).await;

    daemon.kill_9().await;
    gate.chain.mine(4);
    let daemon = gate.start().await;
    gate.chain.reorg(5, 6);
    daemon.until_tip(gate.chain.head().number - 2).await;
    let all = gate.outbox().await;
    assert!(all.len() > stored.len(), "messages were stored while the client was away");
    let (later, later_in_room) = collect(&mut client, all.len() - stored.len()).await;
    frames.extend(later);
    in_room.extend(later_in_room);
    let got: Vec<_> =
        frames.iter().map(|frame| (&frame["position"], &frame["state"], &frame["data"])).collect();
    let positions: Vec<Value> = all.iter().map(|(position, _)| json!(position)).collect();
    let stored =
        all.iter().zip(&positions).map(|((_, message), position)| (position, &message["state"], message));
    let expected: Vec<_> = stored.skip(before).collect();
    assert_eq!(got, expected, "each message once, in order, though it is in two rooms");
    assert_eq!(in_room, positions[before..], "a subscription to one room gets what is in the room");
    daemon.stop_well().await;
}

/// Frames, whichever room they were first in, and the positions that a subscription to the chain's room got.
async fn collect(client: &mut Client, count: usize) -> (Vec<Value>, Vec<Value>) {
    let (mut frames, mut in_room) = (Vec::new(), Vec::new());
    while frames.len() < count || in_room.len() < count {
        let next = client.next().await;
        assert!(next["gap"].is_null(), "{next}");
        if next["position"].is_string() && next["event"].is_string() {
            frames.push(next);
        } else if next["in"] == ROOM {
            in_room.push(next["at"].clone());
        }
    }
    (frames, in_room)
}

fn with_tokens() -> (String, String) {
    let tables = format!("[server.auth]\nsecret = \"{SECRET}\"\n");
    (tables, token(&json!({ "sub": "7", "exp": seconds_from_now(600) })))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_follows_by_websocket_through_reorgs_and_a_kill() {
    let (tables, token) = with_tokens();
    follows_everything("websocket", 67, &tables, Some(&token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_follows_by_sse_through_reorgs_and_a_kill() {
    let (tables, token) = with_tokens();
    follows_everything("sse", 68, &tables, Some(&token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_follows_by_socketio_through_reorgs_and_a_kill() {
    let (tables, token) = with_tokens();
    follows_everything("socket.io", 77, &tables, Some(&token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_stops_where_its_rooms_are_refused_with_the_code() {
    let (tables, token) = with_tokens();
    let gate = Gate::new(69, &tables).await;
    let daemon = gate.start().await;
    for transport in ["websocket", "sse", "socket.io"] {
        let mut command = node("client.mjs");
        command.args([transport, &*format!("http://127.0.0.1:{}", gate.port), "user-8", &*token]);
        let mut client = Client::start(&mut command);
        while client.next().await["error"] != "forbidden" {}
        until_status(&mut client, "closed").await;
    }
    daemon.stop_well().await;
}
