//! Tokens that come by packet after the issuer changed its key.

use super::serve::{issuer, keys};
use super::wire::{Frame, Socket};
use super::*;
use crate::wait::{until_equal, until_ok};

/// Offers the issuer's new token, which waits for no header of a request, until the daemon takes it.
async fn is_taken(seed: u64, offer: impl AsyncFn(&Gate, &str) -> Result<(), Value>) {
    let (old, new, signed) = keys();
    let set = std::sync::Arc::new(std::sync::Mutex::new(Some(json!({ "keys": [old] }))));
    let (port, _) = issuer(set.clone()).await;
    let auth = format!(
        "[server.auth]\nalgorithms = [\"HS256\", \"RS256\", \"EdDSA\"]\nsecret = \"{SECRET}\"\n\
         jwks_url = \"http://127.0.0.1:{port}/keys\"\nrevocations_kept = \"36500days\"\n"
    );
    let gate = Gate::new(seed, &auth).await;
    let daemon = gate.start().await;
    let fetched = "chainflume_push_key_fetches_total{result=\"fetched\"}";
    until_equal("the old key is fetched", Some(1.0), async || daemon.metric(fetched).await).await;
    *set.lock().expect("no panic") = Some(json!({ "keys": [new] }));
    until_ok("the new token is taken", async || offer(&gate, &signed).await).await;
    daemon.stop_well().await;
}

/// A token of the same user, by the secret.
fn older() -> String {
    token(&json!({ "sub": "7", "exp": seconds_from_now(600) }))
}

/// A WebSocket of the endpoint for Socket.IO, connected with a token, and the answer.
async fn connected(gate: &Gate, token: &str) -> (Socket, String) {
    let path = "/socket.io/?EIO=4&transport=websocket";
    let mut socket = Socket::try_open_at(gate.port, path).await.expect("it opens");
    socket.next_text().await.expect("the session opens");
    socket.send(1, format!("40{}", json!({ "token": token })).as_bytes()).await;
    let answer = socket.next_text().await.expect("an answer");
    (socket, answer)
}

fn wanted(answer: &str, prefix: &str) -> Result<(), Value> {
    if answer.starts_with(prefix) { Ok(()) } else { Err(json!(answer)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_packet_has_new_keys_fetched() {
    let connects = async |gate: &Gate, signed: &str| {
        let (_socket, answer) = connected(gate, signed).await;
        wanted(&answer, "40{")
    };
    let refreshes = async |gate: &Gate, signed: &str| {
        let (mut socket, _) = connected(gate, &older()).await;
        socket.send(1, format!("420{}", json!(["refresh", signed])).as_bytes()).await;
        wanted(&socket.next_text().await.expect("an answer"), "430[{\"ok\":true")
    };
    let replaces = async |gate: &Gate, signed: &str| {
        let bearer = format!("Bearer {}", older());
        let mut socket = Socket::open(gate.port, &[("authorization", &bearer)]).await.expect("it opens");
        socket.send(1, json!({ "id": 1, "op": "refresh", "token": signed }).to_string().as_bytes()).await;
        match socket.next().await {
            Frame::Text(answer) if answer["ok"] == true => Ok(()),
            Frame::Text(answer) => Err(answer),
            _ => Err(Value::Null),
        }
    };
    tokio::join!(is_taken(95, connects), is_taken(96, refreshes), is_taken(97, replaces));
}
