use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::chain;
use super::client::request;
use crate::{Effect, Rule, Server, Transport, Wire};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const ANY: &str = "127.0.0.1:0";
/// Long enough for a message on the loopback, and short enough to wait for the absence of one.
const QUIET: Duration = Duration::from_millis(100);

async fn connect(server: &Server) -> Socket {
    connect_async(server.ws_url()).await.unwrap().0
}

/// The next JSON message, `None` when the socket closes.
async fn next(socket: &mut Socket) -> Option<Value> {
    let message = timeout(Duration::from_secs(5), socket.next()).await.expect("a message in time");
    message?.ok().map(|message| serde_json::from_slice(&message.into_data()).unwrap())
}

async fn send(socket: &mut Socket, method: &str, params: Value) {
    socket.send(Message::text(request(method, &params).to_string())).await.unwrap();
}

async fn ask(socket: &mut Socket, method: &str, params: Value) -> Value {
    send(socket, method, params).await;
    next(socket).await.unwrap()
}

#[tokio::test]
async fn a_subscriber_gets_every_head_of_every_branch() {
    let chain = chain(5);
    let server = chain.serve(ANY).await.unwrap();
    let mut socket = connect(&server).await;
    assert_eq!(ask(&mut socket, "eth_blockNumber", json!([])).await["result"], "0x5");
    let refused = ask(&mut socket, "eth_subscribe", json!(["logs", {}])).await;
    assert_eq!(refused["error"]["code"], -32601);
    let id = ask(&mut socket, "eth_subscribe", json!(["newHeads"])).await["result"].clone();

    chain.mine(2);
    chain.reorg(1, 2);
    let mut numbers = Vec::new();
    for _ in 0..4 {
        let head = next(&mut socket).await.unwrap();
        assert_eq!((&head["method"], &head["params"]["subscription"]), (&json!("eth_subscription"), &id));
        numbers.push(head["params"]["result"]["number"].clone());
        if numbers.len() == 4 {
            assert_eq!(head["params"]["result"]["hash"], json!(chain.head().hash));
        }
    }
    assert_eq!(numbers, ["0x6", "0x7", "0x7", "0x8"]);

    assert_eq!(ask(&mut socket, "eth_unsubscribe", json!([id])).await["result"], true);
    chain.mine(1);
    assert!(timeout(QUIET, socket.next()).await.is_err());
    let again = ask(&mut socket, "eth_unsubscribe", json!([id])).await;
    assert_eq!(again["error"]["message"], "subscription not found");
}

#[tokio::test]
async fn a_silent_socket_stays_open_and_sends_nothing() {
    let chain = chain(5);
    let server = chain.serve(ANY).await.unwrap();
    let mut socket = connect(&server).await;
    ask(&mut socket, "eth_subscribe", json!(["newHeads"])).await;
    chain.faults().set(|node| node.ws_silent = true);
    // The session must see the change before the head is sent.
    tokio::time::sleep(QUIET).await;
    chain.mine(1);
    socket.send(Message::Ping(Vec::new().into())).await.unwrap();
    assert!(timeout(QUIET, socket.next()).await.is_err());
    chain.faults().set(|node| node.ws_silent = false);
    assert!(matches!(socket.next().await, Some(Ok(Message::Pong(_)))));
    chain.mine(1);
    assert_eq!(next(&mut socket).await.unwrap()["params"]["result"]["number"], "0x7");
}

#[tokio::test]
async fn sockets_are_cut_refused_and_welcome_again() {
    let chain = chain(5);
    let server = chain.serve(ANY).await.unwrap();
    let (mut a, mut b) = (connect(&server).await, connect(&server).await);
    ask(&mut a, "eth_chainId", json!([])).await;
    ask(&mut b, "eth_chainId", json!([])).await;
    chain.faults().disconnect_ws();
    assert_eq!((next(&mut a).await, next(&mut b).await), (None, None));

    chain.faults().set(|node| node.ws_refuse = true);
    let refused = connect_async(server.ws_url()).await.unwrap_err().to_string();
    assert!(refused.contains("503"), "{refused}");
    chain.faults().clear();
    let mut c = connect(&server).await;
    assert_eq!(ask(&mut c, "eth_chainId", json!([])).await["result"], "0x7a69");
    server.stop().await;
    assert_eq!(next(&mut c).await, None);
}

#[tokio::test]
async fn rules_hit_sockets_too() {
    let chain = chain(5);
    let server = chain.serve(ANY).await.unwrap();
    let mut socket = connect(&server).await;
    let wire = |wire| drop(chain.faults().add(Rule::any(Effect::Wire(wire)).over(Transport::Ws).times(1)));
    chain.faults().set(|node| node.lag = 3);
    wire(Wire::Hang);
    send(&mut socket, "eth_chainId", json!([])).await;
    assert!(timeout(QUIET, socket.next()).await.is_err());
    assert_eq!(ask(&mut socket, "eth_blockNumber", json!([])).await["result"], "0x5", "only HTTP lags");
    wire(Wire::Close);
    send(&mut socket, "eth_chainId", json!([])).await;
    assert_eq!(next(&mut socket).await, None);
}
