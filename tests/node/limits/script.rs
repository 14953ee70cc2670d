//! A node that answers by a function, over real HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{B256, keccak256};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::ACCEPT_ENCODING;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use chainflume_node::{
    ChainSettings, FailoverSettings, HistorySettings, Node, ProviderRole, ProviderSettings, RateLimitSettings,
};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

/// Serves until dropped.
pub struct Script {
    pub url: String,
    /// The `accept-encoding` of every request.
    pub encodings: Arc<Mutex<Vec<String>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Script {
    /// `answer` gets the request as JSON.
    pub async fn serve(answer: impl Fn(Value) -> Response + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        let encodings: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = encodings.clone();
        let handler = move |headers: HeaderMap, body: Bytes| {
            let (answer, encoding) = (answer.clone(), headers.get(ACCEPT_ENCODING));
            let encoding = encoding.and_then(|encoding| encoding.to_str().ok()).unwrap_or_default();
            seen.lock().expect("no test panicked").push(encoding.to_owned());
            async move { answer(serde_json::from_slice(&body).expect("we send JSON")) }
        };
        let app = Router::new().route("/{*path}", post(handler.clone())).route("/", post(handler));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { url, encodings, _serving: AbortOnDropHandle::new(serving) }
    }

    pub fn node(&self) -> Node {
        let settings = self.settings();
        Node::new(&settings, &settings.providers[0]).expect("a client")
    }

    /// As [`settings`].
    pub fn settings(&self) -> ChainSettings {
        settings(&self.url)
    }
}

/// Of a chain with one node: answers of a mebibyte, a timeout of five seconds.
pub fn settings(url: &str) -> ChainSettings {
    ChainSettings {
        name: "dev".to_owned(),
        chain_id: 31337,
        providers: vec![ProviderSettings {
            label: chainflume_node::host_of(url),
            http_url: url.to_owned(),
            ws_url: None,
            headers: chainflume_node::headers_of([]).expect("none"),
            priority: 1,
            role: ProviderRole::Any,
            pace: RateLimitSettings {
                requests_per_second: None,
                compute_units_per_second: None,
                compute_units: BTreeMap::new(),
                max_concurrent: 16,
                max_bytes_in_flight: 128 << 20,
            },
        }],
        failover: FailoverSettings {
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(1),
            max_lag: 5,
            return_after: Duration::from_secs(60),
        },
        verify: chainflume_node::LogVerification::Bloom,
        tag: None,
        request_timeout: Duration::from_secs(5),
        compression: chainflume_node::Compression::Auto,
        max_response_bytes: 1 << 20,
        poll_interval: Duration::from_secs(1),
        max_head_age: Duration::ZERO,
        ws_silence: Duration::from_secs(1),
        history: HistorySettings {
            ranges_in_flight: 4,
            initial_range: 1000,
            max_range: 10_000,
            buffer_bytes: 32 << 20,
            commit_logs: 0,
        },
    }
}

pub fn hash(number: u64) -> B256 {
    keccak256(number.to_be_bytes())
}

/// Whatever block is asked for, as an honest node has it.
pub fn block(call: &Value) -> Value {
    let number = quantity(&call["params"][0]);
    let parent = number.checked_sub(1).map_or(B256::ZERO, hash);
    json!({ "number": hex(number), "hash": hash(number), "parentHash": parent, "timestamp": hex(number * 12) })
}

pub fn quantity(value: &Value) -> u64 {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x")).expect("a quantity");
    u64::from_str_radix(digits, 16).expect("hexadecimal")
}

pub fn hex(number: u64) -> String {
    format!("{number:#x}")
}

/// The answer to one call.
pub fn result(call: &Value, result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": call["id"], "result": result })
}

/// The refusal of one call.
pub fn error(call: &Value, code: i64, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": call["id"], "error": { "code": code, "message": message } })
}

/// With status 200.
pub fn ok(body: impl Into<Body>) -> Response {
    status(200, body)
}

pub fn status(status: u16, body: impl Into<Body>) -> Response {
    (StatusCode::from_u16(status).expect("a status"), body.into()).into_response()
}
