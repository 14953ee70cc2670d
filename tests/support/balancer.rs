//! A load balancer: one URL for several nodes; each request goes to a random one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::random::Random;

/// Serves until dropped.
pub struct Balancer {
    pub url: String,
    backends: Arc<Mutex<Backends>>,
    _serving: AbortOnDropHandle<()>,
}

struct Backends {
    addresses: Vec<SocketAddr>,
    random: Random,
}

impl Balancer {
    /// Passes each request, and each batch as a whole, to a random one of `addresses`.
    pub async fn serve(addresses: Vec<SocketAddr>, seed: u64) -> Self {
        let backends = Arc::new(Mutex::new(Backends { addresses, random: Random::new(seed) }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let chosen = backends.clone();
        let handler = move |body: Bytes| {
            let address = choose(&chosen);
            async move { pass_on(address, &body).await }
        };
        let app = Router::new().route("/", post(handler));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { url, backends, _serving: AbortOnDropHandle::new(serving) }
    }

    /// Passes requests to these addresses from now on.
    pub fn lead_to(&self, addresses: &[SocketAddr]) {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner).addresses = addresses.to_vec();
    }
}

fn choose(backends: &Mutex<Backends>) -> SocketAddr {
    let mut backends = backends.lock().unwrap_or_else(PoisonError::into_inner);
    let count = backends.addresses.len() as u64;
    let index = usize::try_from(backends.random.below(count)).expect("few");
    backends.addresses[index]
}

/// The answer of the backend, or 502 if it does not answer in HTTP.
async fn pass_on(address: SocketAddr, body: &[u8]) -> Response {
    match exchange(address, body).await {
        Some((status, headers, body)) => (status, headers, body).into_response(),
        None => (StatusCode::BAD_GATEWAY, "bad gateway").into_response(),
    }
}

type Answer = (StatusCode, [(&'static str, String); 1], Vec<u8>);

async fn exchange(address: SocketAddr, body: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or("0").trim().to_owned()
    };
    if header("content-length") != (answer.len() - end).to_string() {
        return None;
    }
    let retry_after = [("retry-after", header("retry-after"))];
    Some((StatusCode::from_u16(status).ok()?, retry_after, answer[end..].to_vec()))
}
