//! The node of the bench: JSON-RPC over HTTP in its own process, so that CPU and memory of the daemon are measured
//! alone. It has no state: each block is computed on request.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::Method;
use chainflume_core::domain::B256;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::render;
use super::workload::{LOGS_PER_BLOCK, Workload, block_hash};

/// Number of final blocks above the logs, and of further blocks that are not final: so all logs are history.
const ABOVE: u64 = 64;
/// The chain's id.
pub const CHAIN_ID: u64 = 31_337;

/// The parameters of the node.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub workload: Workload,
    /// Logs of the chain.
    pub logs: u64,
    /// Delay of each answer.
    pub latency: Duration,
    /// Maximum number of logs in an answer.
    pub cap: Option<u64>,
}

impl Settings {
    pub fn new(workload: Workload, logs: u64) -> Self {
        Self { workload, logs, latency: Duration::ZERO, cap: None }
    }

    /// The last block with logs.
    pub fn blocks(&self) -> u64 {
        self.logs.div_ceil(LOGS_PER_BLOCK)
    }

    fn arguments(&self) -> [String; 5] {
        let cap = self.cap.unwrap_or(u64::MAX);
        let latency = self.latency.as_millis();
        [
            "source".to_owned(),
            self.workload.name().to_owned(),
            self.logs.to_string(),
            latency.to_string(),
            cap.to_string(),
        ]
    }

    /// The inverse of `arguments`.
    pub fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let [workload, logs, latency, cap] = arguments else { bail!("a source takes four arguments") };
        let cap: u64 = cap.parse()?;
        Ok(Self {
            workload: workload.parse()?,
            logs: logs.parse()?,
            latency: Duration::from_millis(latency.parse()?),
            cap: (cap < u64::MAX).then_some(cap),
        })
    }
}

/// Requests by method, batched calls one by one.
pub type Calls = BTreeMap<String, u64>;

/// A running source; it ends when dropped.
pub struct Source {
    pub url: String,
    _child: Child,
}

impl Source {
    /// Starts a source and waits until it listens.
    pub async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(settings.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("its stdout is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        Ok(Self { url: line.trim().to_owned(), _child: child })
    }

    /// The requests so far.
    pub async fn calls(&self) -> anyhow::Result<Calls> {
        let client = client()?;
        Ok(serde_json::from_slice(&client.get(&self.url).send().await?.bytes().await?)?)
    }
}

/// Logs per second for a client that only reads: four parallel requests, 10,000 logs each.
pub async fn ceiling(logs: u64) -> anyhow::Result<f64> {
    let settings = Settings::new(Workload::Erc20, logs);
    let source = Source::start(&settings).await?;
    let (client, step) = (client()?, 10_000 / LOGS_PER_BLOCK);
    let started = Instant::now();
    let ask = |from: u64| {
        let to = (from + step - 1).min(settings.blocks());
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_getLogs\",\"params\":[{{\"fromBlock\":\"{from:#x}\",\"toBlock\":\"{to:#x}\"}}]}}"
        );
        let request = client.post(&source.url).body(body);
        async move {
            let mut answer = request.send().await?;
            let mut bytes = 0_u64;
            while let Some(chunk) = answer.chunk().await? {
                bytes += chunk.len() as u64;
            }
            anyhow::Ok(bytes)
        }
    };
    let starts = (1..=settings.blocks()).step_by(usize::try_from(step)?);
    let mut answers = futures_util::stream::iter(starts.map(ask)).buffer_unordered(4);
    while let Some(bytes) = answers.next().await {
        anyhow::ensure!(bytes? > 0, "an answer is empty");
    }
    Ok(super::rate::per_second(logs, started.elapsed()))
}

fn client() -> anyhow::Result<reqwest::Client> {
    chainflume_ops::tls::install();
    Ok(reqwest::Client::builder().no_proxy().build()?)
}

struct Node {
    settings: Settings,
    calls: Mutex<Calls>,
    answered: AtomicU64,
}

/// Serves until stdin closes: the parent process has ended.
pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let node = Arc::new(Node { settings, calls: Mutex::default(), answered: AtomicU64::new(0) });
    let app = Router::new().fallback(meet).with_state(node);
    let served = axum::serve(
        axum::serve::ListenerExt::tap_io(listener, |stream| {
            // A failure only affects latency.
            let _ = stream.set_nodelay(true);
        }),
        app,
    );
    let (closed, ended) = tokio::sync::oneshot::channel();
    // A thread, not a task: a read of stdin cannot be cancelled, and a runtime would wait for it.
    std::thread::spawn(move || {
        let _bytes = std::io::stdin().read(&mut [0; 1]);
        closed.send(())
    });
    tokio::select! {
        served = served.into_future() => Ok(served?),
        _ = ended => Ok(()),
    }
}

async fn meet(State(node): State<Arc<Node>>, method: Method, body: Bytes) -> Vec<u8> {
    if method == Method::GET {
        let calls = node.calls.lock().unwrap_or_else(PoisonError::into_inner);
        return serde_json::to_vec(&*calls).unwrap_or_default();
    }
    tokio::time::sleep(node.settings.latency).await;
    match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Array(calls)) => {
            let answers: Vec<Vec<u8>> = calls.iter().map(|call| node.answer(call)).collect();
            [b"[".to_vec(), answers.join(&b','), b"]".to_vec()].concat()
        }
        Ok(call) => node.answer(&call),
        Err(_) => b"{}".to_vec(),
    }
}

impl Node {
    fn answer(&self, call: &Value) -> Vec<u8> {
        let method = call["method"].as_str().unwrap_or_default();
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(method.to_owned()).or_default() += 1;
        self.answered.fetch_add(1, Ordering::Relaxed);
        let outcome = match method {
            "eth_chainId" => Ok(format!("\"{CHAIN_ID:#x}\"").into_bytes()),
            "eth_getBlockByNumber" => {
                Ok(self.number(&call["params"][0]).map_or(b"null".to_vec(), render::header))
            }
            "eth_getLogs" => self.logs(&call["params"][0]),
            _ => {
                Err("{\"code\":-32601,\"message\":\"the method does not exist/is not available\"}".to_owned())
            }
        };
        let (word, text) = match outcome {
            Ok(result) => ("result", result),
            Err(error) => ("error", error.into_bytes()),
        };
        let mut answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"{word}\":", call["id"]).into_bytes();
        answer.reserve_exact(text.len() + 1);
        answer.extend(text);
        answer.push(b'}');
        answer
    }

    fn head(&self) -> u64 {
        self.settings.blocks() + 2 * ABOVE
    }

    fn number(&self, block: &Value) -> Option<u64> {
        let number = match block.as_str()? {
            "earliest" => 0,
            "latest" => self.head(),
            "safe" | "finalized" => self.settings.blocks() + ABOVE,
            number => u64::from_str_radix(number.strip_prefix("0x")?, 16).ok()?,
        };
        (number <= self.head()).then_some(number)
    }

    fn logs(&self, filter: &Value) -> Result<Vec<u8>, String> {
        let Some(hash) = filter.get("blockHash") else {
            return self.range(&filter["fromBlock"], &filter["toBlock"]);
        };
        // Requested only near the head, where no logs are.
        let hash = hash.as_str().and_then(|hash| hash.parse::<B256>().ok());
        let near = self.head().saturating_sub(4 * ABOVE)..=self.head();
        if near.rev().any(|number| hash == Some(block_hash(number))) {
            Ok(b"[]".to_vec())
        } else {
            Err("{\"code\":-32000,\"message\":\"unknown block\"}".to_owned())
        }
    }

    /// A range with more results than allowed gets the error of a large provider.
    fn range(&self, from: &Value, to: &Value) -> Result<Vec<u8>, String> {
        let (Some(from), Some(to)) = (self.number(from), self.number(to)) else {
            return Err(
                "{\"code\":-32602,\"message\":\"block range extends beyond current head block\"}".to_owned()
            );
        };
        let (from, to) = (from.max(1), to.min(self.settings.blocks()));
        let cap = self.settings.cap.unwrap_or(u64::MAX);
        if (to + 1).saturating_sub(from) * LOGS_PER_BLOCK > cap {
            let fits = from + cap / LOGS_PER_BLOCK - 1;
            return Err(format!(
                "{{\"code\":-32005,\"message\":\"query returned more than {cap} results. Try with this block range [{from:#x}, {fits:#x}].\"}}"
            ));
        }
        Ok(render::logs(self.settings.workload, from..=to))
    }
}
