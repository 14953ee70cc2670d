//! The public server of the real daemon, with the clients that platforms bring along.

mod application;
mod client;
mod emit;
mod failover;
mod follow;
mod histories;
mod hostile;
mod keys;
mod log;
mod pages;
mod protocol;
mod refused;
mod scale;
mod serve;
mod socketio;
mod split;
mod wire;

use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chainflume_devchain::{DevChain, Server};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use sqlx::postgres::PgPool;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::daemon::{Daemon, Home, chain, free_port};
use crate::flume::{all_sources, connect, devchain};
use crate::postgres;

const SECRET: &str = "a secret of the tests, of more than thirty-two bytes";
const WAIT_LIMIT: Duration = Duration::from_secs(60);
const ROOM: &str = "chain-31337";

/// A daemon with a public server.
struct Gate {
    chain: DevChain,
    _server: Server,
    home: Home,
    pool: PgPool,
    port: u16,
    url: String,
    tables: String,
}

impl Gate {
    /// With these tables in its configuration, besides `[server]` with an address.
    async fn new(seed: u64, tables: &str) -> Self {
        let url = postgres::empty_database().await;
        let pool = connect(&url).await;
        Self::on(url, pool, seed, tables).await
    }

    /// On the database at this address, which the test looks at through `pool`.
    async fn on(url: String, pool: PgPool, seed: u64, tables: &str) -> Self {
        let (chain_of_it, server) = devchain(seed, 20).await;
        let (home, port) = (Home::bare(), free_port());
        let tables = format!("{tables}\n{}", chain(&server, "", &all_sources()));
        let this = Self { chain: chain_of_it, _server: server, home, pool, port, url, tables };
        this.write(&this.home, port);
        this
    }

    /// The same configuration with another public address.
    fn write(&self, home: &Home, port: u16) {
        let server = format!("[server]\nlisten = \"127.0.0.1:{port}\"\n");
        home.write(&format!("{server}{}", self.tables), Some(&self.url));
    }

    /// Starts it, and waits until it has caught up.
    async fn start(&self) -> Daemon {
        let daemon = self.home.start();
        daemon.until_tip(self.chain.head().number - 2).await;
        daemon
    }

    /// Mines blocks, and waits until they are stored.
    async fn mine(&self, daemon: &Daemon, blocks: u64) {
        self.chain.mine(blocks);
        daemon.until_tip(self.chain.head().number - 2).await;
    }

    /// Every message of the outbox with its position.
    async fn outbox(&self) -> Vec<(String, Value)> {
        let rows: Vec<(String, i64, String)> = sqlx::query_as(
            "select (select e.epoch from outbox_epochs e where e.first_seq <= o.seq order by e.first_seq desc limit 1), \
                 seq, message from outbox o order by seq",
        )
        .fetch_all(&self.pool)
        .await
        .expect("the outbox can be read");
        let message = |text: &str| serde_json::from_str(text).expect("a message is JSON");
        rows.into_iter().map(|(epoch, seq, text)| (format!("{epoch}.{seq}"), message(&text))).collect()
    }

    /// Status and body of an answer.
    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        let answer = self.ask(reqwest::Method::GET, path, headers).await;
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON"))
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        request(self.port, method, path)
    }

    async fn ask(&self, method: reqwest::Method, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let request = self.request(method, path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.expect("the server answers")
    }

    fn client(&self, kind: &str, token: Option<&str>) -> Client {
        let scheme = if kind == "websocket" { "ws" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{}", self.port);
        let mut command = node("push.mjs");
        command.args([kind, &*url, ROOM]).args(token);
        Client::start(&mut command)
    }
}

/// A script of `tests/tools`, with what browsers have and Node.js 20 has not yet without a flag.
fn node(script: &str) -> Command {
    let script = format!("{}/tests/tools/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("node");
    command.args(["--no-warnings", "--experimental-websocket", "--experimental-eventsource", &*script]);
    command
}

/// A client in node or Python.
struct Client {
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Client {
    fn start(command: &mut Command) -> Self {
        let child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let mut child = child.expect("node and Python are installed (apt-get install nodejs python3)");
        let out = child.stdout.take().expect("it is piped");
        Self { lines: BufReader::new(out).lines(), child }
    }

    async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(WAIT_LIMIT, self.lines.next_line())
            .await
            .expect("the client gets something");
        let line = line.expect("it can be read").expect("the client goes on");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Collects messages until there are as many as this.
    async fn collect(&mut self, count: usize) -> Vec<Value> {
        let (mut found, deadline) = (Vec::new(), Instant::now() + WAIT_LIMIT);
        while found.len() < count && Instant::now() < deadline {
            let next = self.next().await;
            if next["room"] == ROOM {
                found.push(next);
            }
        }
        found
    }
}

fn request(port: u16, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
    chainflume_ops::tls::install();
    let client = reqwest::Client::builder().no_proxy().timeout(WAIT_LIMIT).build().expect("a client");
    client.request(method, format!("http://127.0.0.1:{port}{path}"))
}

/// A token for a user, with the rights of `claims`.
fn token(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({ "alg": "HS256" })), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn seconds_from_now(seconds: u64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    now.as_secs() + seconds
}
