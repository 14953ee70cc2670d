//! A receiver of webhooks: a real HTTP server that checks requests like a consumer, and answers as the test requires.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response};
use axum::routing::any;
use axum::serve::Listener;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;

/// A secret of 32 bytes, only for the tests.
pub const SECRET: &str = "whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTEyMzQ=";
/// Another secret.
pub const NEW_SECRET: &str = "whsec_bmV3LWNhbmFyeS1uZXctY2FuYXJ5LW5ldy1jYW5hcnk=";

/// Pauses short enough for a test: five tries within half a second.
pub const FAST: &str = "retry_schedule = [\"20ms\", \"60ms\", \"120ms\", \"250ms\"]\n";

/// A `[[webhook]]` table that leads to `receiver`.
pub fn webhook(name: &str, receiver: &Receiver, more: &str) -> String {
    let secret = if more.contains("secret =") { String::new() } else { format!("secret = \"{SECRET}\"\n") };
    format!(
        "[[webhook]]\nname = \"{name}\"\nurl = \"{}\"\nallow_hosts = [\"127.0.0.1\"]\n{secret}{more}\n",
        receiver.url()
    )
}

/// A `[[reaction]]` that calls this URL about orders, which no test publishes.
pub fn reaction(url: &str) -> String {
    format!(
        "[[reaction]]\nname = \"ship\"\non = \"order.*\"\nurl = \"{url}\"\nallow_hosts = [\"127.0.0.1\"]\nsecret = \"{SECRET}\"\n"
    )
}

/// One `POST`.
#[derive(Clone, Debug)]
pub struct Got {
    pub id: String,
    /// Epoch and number from the header.
    pub position: String,
    pub signatures: Vec<String>,
    pub timestamp: u64,
    pub body: String,
    pub at: Instant,
    /// The status of the answer.
    pub status: u16,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("json")
    }

    pub fn seq(&self) -> u64 {
        self.json()["seq"].as_u64().expect("a number")
    }
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// Never answers.
    pub hang: bool,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new(), hang: false }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What the next connections are accepted with.
pub type Acceptor = Arc<Mutex<TlsAcceptor>>;

struct TlsListener {
    tcp: TcpListener,
    acceptor: Acceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((tcp, address)) = self.tcp.accept().await else { continue };
            let acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // A client that does not trust the certificate ends the connection here.
            if let Ok(stream) = acceptor.accept(tcp).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

type Rule = Box<dyn FnMut(&Got) -> Reply + Send>;

struct Inner {
    got: Vec<Got>,
    looks: usize,
    rule: Rule,
}

/// The server; it ends when dropped.
pub struct Receiver {
    inner: Arc<Mutex<Inner>>,
    /// Scheme, host and port.
    origin: String,
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

impl Receiver {
    /// Answers 204 to every request.
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub async fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        Self::serve(listener, address, format!("http://{address}"))
    }

    /// Proves itself with what `acceptor` holds at that moment, and is reached by the name `localhost`.
    pub async fn start_tls(acceptor: Acceptor) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = tcp.local_addr().expect("bound");
        Self::serve(TlsListener { tcp, acceptor }, address, format!("https://localhost:{}", address.port()))
    }

    fn serve(listener: impl Listener<Addr = SocketAddr>, address: SocketAddr, origin: String) -> Self {
        let rule: Rule = Box::new(|_| Reply::status(204));
        let inner = Arc::new(Mutex::new(Inner { got: Vec::new(), looks: 0, rule }));
        let app = Router::new().fallback(any(answer)).with_state(inner.clone());
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("it serves");
        });
        Self { inner, origin, address, _server: AbortOnDropHandle::new(server) }
    }

    pub fn url(&self) -> String {
        format!("{}/hooks/canary-in-path", self.origin)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Answers by `rule` from now on.
    pub fn rule(&self, rule: impl FnMut(&Got) -> Reply + Send + 'static) {
        self.lock().rule = Box::new(rule);
    }

    /// Gives this answer to every request from now on.
    pub fn answers(&self, status: u16) {
        self.rule(move |_| Reply::status(status));
    }

    /// All deliveries, including repeats.
    pub fn got(&self) -> Vec<Got> {
        self.lock().got.clone()
    }

    /// Number of requests without a message.
    pub fn looks(&self) -> usize {
        self.lock().looks
    }

    /// The messages of a consumer: those answered with success, each id once, in order of arrival.
    pub fn taken(&self) -> Vec<Got> {
        let mut seen = BTreeSet::new();
        let got = self.got();
        got.into_iter()
            .filter(|got| (200..300).contains(&got.status) && seen.insert(got.id.clone()))
            .collect()
    }

    /// Numbers of the consumer's messages.
    pub fn seqs(&self) -> Vec<u64> {
        self.taken().iter().map(Got::seq).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(inner): State<Arc<Mutex<Inner>>>, request: Request) -> Response<Body> {
    let lock = || inner.lock().unwrap_or_else(PoisonError::into_inner);
    if request.method() != Method::POST {
        lock().looks += 1;
        return Response::builder().status(405).body(Body::empty()).expect("right");
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("not larger");
    let body = String::from_utf8(body.to_vec()).expect("text");
    let header = |headers: &HeaderMap, name: &str| {
        headers.get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default()
    };
    let reply = {
        let mut inner = lock();
        let mut got = Got {
            id: header(&parts.headers, "webhook-id"),
            position: header(&parts.headers, "chainflume-position"),
            signatures: header(&parts.headers, "webhook-signature").split(' ').map(str::to_owned).collect(),
            timestamp: header(&parts.headers, "webhook-timestamp").parse().unwrap_or(0),
            body,
            at: Instant::now(),
            status: 0,
        };
        let reply = (inner.rule)(&got);
        got.status = if reply.hang { 0 } else { reply.status };
        inner.got.push(got);
        reply
    };
    if reply.hang {
        std::future::pending::<()>().await;
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).expect("right")
}

/// Checks a delivery as the standard requires of receivers: fresh, and signed by each of these secrets in turn.
pub fn verify(got: &Got, secrets: &[&str]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    assert!(now.abs_diff(Duration::from_secs(got.timestamp)) < Duration::from_secs(300), "{got:?}");
    let signed = format!("{}.{}.{}", got.id, got.timestamp, got.body);
    let expected: Vec<String> = secrets.iter().map(|secret| sign(secret, &signed)).collect();
    assert_eq!(got.signatures, expected);
    assert!(!got.id.is_empty() && !got.id.contains('.'), "{}", got.id);
}

/// HMAC-SHA256 by its definition (RFC 2104), independent of the program's implementation.
fn sign(secret: &str, text: &str) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a prefix")).expect("base64");
    assert!(key.len() <= 64, "longer keys are hashed first");
    let pad = |byte: u8| (0..64).map(|i| key.get(i).copied().unwrap_or(0) ^ byte).collect::<Vec<u8>>();
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    format!("v1,{}", STANDARD.encode(outer))
}
