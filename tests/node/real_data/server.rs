//! Serves a stored block as a node would: the block itself with its logs, and blocks without any around it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{B256, keccak256};
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

/// Height of the stored block.
pub const HEIGHT: u64 = 18_000_000;
/// What one block takes.
const SECONDS: u64 = 12;

/// The stored answers, `None` with a message where they are not on this machine.
pub fn fixture() -> Option<(Value, Vec<Value>)> {
    let folder = std::env::var_os("CHAINFLUME_FIXTURES")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures"), PathBuf::from);
    let path = folder.join("mainnet-18000000/header-and-logs.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!(
            "skipped: {} is not here; CHAINFLUME_FIXTURES names the folder of fixtures",
            path.display()
        );
        return None;
    };
    let mut answers: Vec<Value> = serde_json::from_str(&text).expect("the fixture is JSON");
    let logs = answers.pop().expect("two answers")["result"].take();
    let header = answers.pop().expect("two answers")["result"].take();
    Some((header, serde_json::from_value(logs).expect("a list of logs")))
}

/// A node on a port of its own, until dropped.
pub struct Mainnet {
    url: String,
    node: Arc<Node>,
    _serving: AbortOnDropHandle<()>,
}

struct Node {
    header: Value,
    logs: Vec<Value>,
    head: AtomicU64,
    by_range: AtomicU64,
    by_hash: AtomicU64,
}

impl Mainnet {
    /// With this head.
    pub async fn serve((header, logs): (Value, Vec<Value>), head: u64) -> Self {
        let node = Arc::new(Node {
            header,
            logs,
            head: AtomicU64::new(head),
            by_range: AtomicU64::new(0),
            by_hash: AtomicU64::new(0),
        });
        let app = Router::new().route("/", post(answer)).with_state(node.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { url, node, _serving: AbortOnDropHandle::new(serving) }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// How often the stored block's logs were asked for by a range, and by its hash.
    pub fn served(&self) -> (u64, u64) {
        (self.node.by_range.load(Ordering::Relaxed), self.node.by_hash.load(Ordering::Relaxed))
    }

    /// The chain has grown up to here.
    pub fn set_head(&self, head: u64) {
        self.node.head.store(head, Ordering::Relaxed);
    }
}

async fn answer(State(node): State<Arc<Node>>, Json(message): Json<Value>) -> Json<Value> {
    Json(match message {
        Value::Array(calls) => calls.iter().map(|call| node.call(call)).collect(),
        call => node.call(&call),
    })
}

impl Node {
    fn call(&self, call: &Value) -> Value {
        let params = &call["params"];
        let result = match call["method"].as_str().unwrap_or_default() {
            "eth_chainId" => Ok(json!("0x1")),
            "eth_blockNumber" => Ok(json!(hex(self.head()))),
            "eth_getBlockByNumber" => Ok(self.block(&params[0])),
            "eth_getLogs" => self.logs(&params[0]),
            method => {
                Err(json!({ "code": -32601, "message": format!("the method {method} does not exist") }))
            }
        };
        let (key, value) = match result {
            Ok(result) => ("result", result),
            Err(error) => ("error", error),
        };
        json!({ "jsonrpc": "2.0", "id": call["id"], key: value })
    }

    fn head(&self) -> u64 {
        self.head.load(Ordering::Relaxed)
    }

    /// Blocks link to each other and to the stored one on both sides.
    fn block(&self, which: &Value) -> Value {
        let number = match which.as_str().expect("a tag or a height") {
            "latest" => self.head(),
            "safe" | "finalized" => return Value::Null,
            height => number(height),
        };
        if number > self.head() {
            return Value::Null;
        }
        if number == HEIGHT {
            return self.header.clone();
        }
        let time = crate::anvil::number(&self.header["timestamp"]) + SECONDS * number - SECONDS * HEIGHT;
        json!({
            "number": hex(number),
            "hash": self.hash(number),
            "parentHash": number.checked_sub(1).map_or(B256::ZERO, |below| self.hash(below)),
            "timestamp": hex(time),
        })
    }

    fn hash(&self, number: u64) -> B256 {
        let stored = |key: &str| self.header[key].as_str().expect("a hash").parse().expect("a hash");
        match number {
            HEIGHT => stored("hash"),
            number if number + 1 == HEIGHT => stored("parentHash"),
            number => keccak256(number.to_be_bytes()),
        }
    }

    fn logs(&self, filter: &Value) -> Result<Value, Value> {
        let asked = match filter["blockHash"].as_str() {
            Some(hash) => {
                let hash: B256 = hash.parse().expect("a hash");
                let lowest = self.head().saturating_sub(1000);
                if !(lowest..=self.head()).any(|height| self.hash(height) == hash) {
                    return Err(json!({ "code": -32000, "message": "unknown block" }));
                }
                hash == self.hash(HEIGHT)
            }
            None => {
                let end = |key: &str| number(filter[key].as_str().expect("a height"));
                (end("fromBlock")..=end("toBlock").min(self.head())).contains(&HEIGHT)
            }
        };
        let way = if filter["blockHash"].is_null() { &self.by_range } else { &self.by_hash };
        way.fetch_add(u64::from(asked), Ordering::Relaxed);
        let wanted = |log: &&Value| {
            asked
                && admits(&filter["address"], &log["address"])
                && admits(&filter["topics"][0], &log["topics"][0])
        };
        Ok(self.logs.iter().filter(wanted).cloned().collect())
    }
}

/// Whether a filter's field, one value or a list or nothing, lets the log's value through.
fn admits(asked: &Value, value: &Value) -> bool {
    let same = |asked: &Value| {
        asked.as_str().zip(value.as_str()).is_some_and(|(asked, value)| asked.eq_ignore_ascii_case(value))
    };
    match asked {
        Value::Null => true,
        Value::Array(any) => any.iter().any(same),
        one => same(one),
    }
}

fn hex(number: u64) -> String {
    format!("{number:#x}")
}

fn number(quantity: &str) -> u64 {
    crate::anvil::number(&json!(quantity))
}
