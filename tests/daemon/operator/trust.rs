//! Certificates that this machine has no reason to trust.

use std::net::SocketAddr;

use chainflume_devchain::{DEMO_TOKEN, DevChain, Settings};
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::Desk;
use crate::certificates::Certificates;
use crate::daemon::{chain, finish};
use crate::flume::{all_sources, devchain, source};
use crate::postgres;

/// Speaks TLS before a node.
struct TlsGate {
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl TlsGate {
    async fn before(node: SocketAddr, acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let mut server = TcpStream::connect(node).await.expect("the node is there");
                    let _ended = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, _serving: AbortOnDropHandle::new(serving) }
    }
}

/// The chain behind the certificate waits, and the other one goes on: a daemon whose only node is not trusted ends at the start
/// with the words of `check`.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_certificate_is_not_trusted() {
    let (url, (_, server)) = (postgres::empty_database().await, devchain(99, 20).await);
    let settings = Settings { chain_id: 31_338, seed: 100, history: 30, ..Settings::default() };
    let behind = DevChain::new(settings).serve("127.0.0.1:0").await.expect("a free port");
    let certificates = Certificates::new("IP:127.0.0.1");
    let gate = TlsGate::before(behind.address(), certificates.acceptor()).await;
    let second = chain(&behind, "", &source("far", "erc20", DEMO_TOKEN, 0))
        .replace("\"dev\"", "\"other\"")
        .replace("31337", "31338\nmax_head_age = \"0s\"")
        .replace(&behind.http_url(), &format!("https://{}", gate.address))
        .replace(&behind.ws_url(), &format!("wss://{}", gate.address));
    let desk = Desk::new(&server, &format!("{}\n{second}", all_sources()), Some(&url)).await;
    desk.shows("The certificate of a node is not trusted").await;
    let dev_goes_on = |_: u16, report: &Value| report["chains"]["dev"]["sources"]["token"]["tip"] == 18;
    desk.daemon.until("the other chain goes on", dev_goes_on).await;

    let mut command = desk.home.configured(&["check"]);
    command.env("SSL_CERT_FILE", certificates.path("ca.crt"));
    let output = finish(command).await;
    for words in [
        "chain other: the node answers",
        &format!("the websocket of {} takes a subscription to heads", gate.address),
    ] {
        assert!(output.out.contains(words), "{words}: {output:#?}");
    }
    let mut command = desk.home.configured(&["check"]);
    let other = Certificates::new("IP:127.0.0.1");
    command.env("SSL_CERT_FILE", other.path("ca.crt"));
    let output = finish(command).await;
    let words = "is not in the file of SSL_CERT_FILE: add it there, or correct the variable";
    assert_eq!(output.out.matches(words).count(), 2, "the node and its websocket: {output:#?}");
    let mut command = desk.home.configured(&["check"]);
    let empty = tempfile::tempdir().expect("a folder");
    command.env("SSL_CERT_DIR", empty.path());
    let output = finish(command).await;
    let words = "install ca-certificates, or name a file in the variable SSL_CERT_FILE";
    assert!(output.out.contains(words), "{output:#?}");
    for (variable, value, words) in [
        (
            "SSL_CERT_FILE",
            "/no/such.pem",
            "SSL_CERT_FILE names /no/such.pem, which cannot be read (No such file",
        ),
        (
            "SSL_CERT_FILE",
            "/dev/null",
            "SSL_CERT_FILE names /dev/null, which has no certificate in PEM: name a file",
        ),
        ("SSL_CERT_DIR", "/no/such", "SSL_CERT_DIR names /no/such, which cannot be read (No such file"),
    ] {
        let mut command = desk.home.configured(&["check"]);
        command.env(variable, value);
        let output = finish(command).await;
        assert_eq!(output.out.matches(words).count(), 2, "the node and its websocket: {output:#?}");
    }
    desk.daemon.stop_well().await;
}
