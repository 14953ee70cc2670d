//! A node behind a reverse proxy that asks for a user and password.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::daemon::{Home, finish};
use crate::flume::{all_sources, config, devchain};
use crate::postgres;

/// `ops` and `p@ss`.
const WANTED: &str = "authorization: basic b3bzonbac3m=";

/// What is before the node. A request without the header is answered 401.
struct Gate {
    address: String,
    refused: Arc<AtomicU64>,
    _serving: AbortOnDropHandle<()>,
}

/// A refusal, with the version of HTTP that the server speaks.
fn refusal(version: &str) -> String {
    format!("HTTP/{version} 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

async fn gate(node: String, wanted: &'static str) -> Gate {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let refused = Arc::new(AtomicU64::new(0));
    let count = refused.clone();
    let serving = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, node.clone(), (wanted, count.clone())));
        }
    });
    Gate { address, refused, _serving: AbortOnDropHandle::new(serving) }
}

/// Looks at the first request of a connection alone: the daemon's client sends the same header with each.
async fn pass(mut client: TcpStream, node: String, (wanted, refused): (&str, Arc<AtomicU64>)) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    if !String::from_utf8_lossy(&head).to_lowercase().contains(wanted) {
        refused.fetch_add(1, Ordering::Relaxed);
        let _sent = client.write_all(refusal("1.1").as_bytes()).await;
        return;
    }
    let mut server = TcpStream::connect(node).await.expect("the node is there");
    if server.write_all(&head).await.is_ok() {
        let _ended = copy_bidirectional(&mut client, &mut server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_and_password_of_a_url_open_the_websocket_too() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(71, 20).await;
    let gate = gate(server.address().to_string(), WANTED).await;
    let text = |user: &str| {
        config(&server, "", &all_sources())
            .replace(&server.http_url(), &format!("http://ops:p%40ss@{}", gate.address))
            .replace(&server.ws_url(), &format!("ws://{user}{}", gate.address))
    };
    let home = Home::bare();
    home.write(&text("ops:p%40ss@"), Some(&url));
    let output = home.run(&["check"]).await.fine();
    assert!(output.contains("takes a subscription to heads") && !output.contains("p@ss"), "{output}");
    let daemon = home.start();
    daemon.until_tip(18).await;
    // The first announcement after the subscription shows that it works.
    chain.mine_empty(2);
    daemon.until("pushed", |_, report| report["chains"]["dev"]["websocket"] == true).await;
    daemon.stop_well().await;
    assert_eq!(gate.refused.load(Ordering::Relaxed), 0);

    home.write(&text("ops:wrong@"), Some(&url));
    let output = home.run(&["check"]).await.fine();
    assert!(
        output.contains("the handshake was answered 401 Unauthorized; check user, password or key"),
        "{output}"
    );
    let mut daemon = home.start();
    daemon.until_printed("websocket announces no heads, polling takes over").await;
    chain.mine_empty(2);
    daemon.until_tip(22).await;
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_a_provider_go_with_requests_and_the_websocket() {
    let (_, server) = devchain(72, 20).await;
    let gate = gate(server.address().to_string(), "x-api-key: canary-header").await;
    let with = |headers: &str| {
        config(&server, headers, &all_sources())
            .replace(&server.http_url(), &format!("http://{}", gate.address))
            .replace(&server.ws_url(), &format!("ws://{}", gate.address))
    };
    let home = Home::bare();
    home.write(&with("headers = { \"X-Api-Key\" = \"canary-header\" }"), None);
    let output = home.run(&["check"]).await.fine();
    assert!(
        output.contains("takes a subscription to heads") && output.contains("the node answers"),
        "{output}"
    );
    assert_eq!(gate.refused.load(Ordering::Relaxed), 0);
    home.write(&with("headers = { \"X-Api-Key\" = \"another-key\" }"), None);
    let output = home.run(&["check"]).await;
    assert!(
        output.code == Some(69) && output.err.contains("401") && !output.err.contains("another-key"),
        "{output:#?}"
    );
}

/// A server of HTTP/1.0 has no WebSockets, and the library for them reads no more of its answer than the version.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_old_http_is_named_with_its_status() {
    let (_, server) = devchain(73, 20).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let _serving = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _read = client.read(&mut request).await;
            let _sent = client.write_all(refusal("1.0").as_bytes()).await;
        }
    }));
    let home = Home::bare();
    let ws = format!("ws://ops:canary-ws@{address}/v2");
    home.write(&config(&server, "", &all_sources()).replace(&server.ws_url(), &ws), None);
    let output = home.run(&["check"]).await.fine();
    let words = "the handshake was answered 401 Unauthorized; check user, password or key of the url";
    assert!(output.contains(words) && !output.contains("canary"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_away_is_blamed_in_place_of_the_node() {
    let (_, server) = devchain(74, 20).await;
    let home = Home::new(&server, &all_sources(), None);
    let check = async |variables: &[(&str, &str)]| {
        let mut command = home.configured(&["check"]);
        command.envs(variables.iter().copied());
        finish(command).await
    };
    let proxy = ("http_proxy", "http://127.0.0.1:1");
    let output = check(&[proxy]).await;
    let words = "by the proxy that http_proxy names); check that the proxy runs, or name the host of the node in NO_PROXY";
    assert!(output.error(69).ends_with(words), "{output:#?}");
    let output = check(&[proxy, ("NO_PROXY", "node.example")]).await;
    assert!(output.error(69).ends_with("check the proxy, the url, and that the node runs"), "{output:#?}");
    let output = check(&[proxy, ("NO_PROXY", "127.0.0.1")]).await;
    assert!(output.out.contains("the node answers"), "{output:#?}");
}
