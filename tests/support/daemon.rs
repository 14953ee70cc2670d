//! The real binary with its own configuration: start, requests, signals, kill.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chainflume::app;
use chainflume_devchain::{DevChain, Server};
use chainflume_store::Store;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::flume::config;
use crate::program;

/// Timeout of everything that a process does. It is long, because a debug build on a busy machine is slow; a process
/// with a deadline of its own is measured separately.
const WAIT_LIMIT: Duration = Duration::from_secs(120);

/// Readiness is right within five seconds on a machine that has time for it; tests run on some that do not.
const RED_LIMIT: Duration = Duration::from_secs(15);

/// Part of every URL and password that the binary gets; it must never occur in its output.
pub const CANARY: &str = "canary";

/// A folder with a configuration, for all processes of a test.
pub struct Home {
    folder: tempfile::TempDir,
    /// Port of the admin address.
    pub port: u16,
    /// The user that runs the binary, if not the present one.
    user: Option<&'static str>,
}

impl Home {
    /// For the chain behind `server`, with `sources`, and the database at `url`, or a private one.
    pub fn new(server: &Server, sources: &str, url: Option<&str>) -> Self {
        let home = Self::bare();
        home.write(&chain(server, "", sources), url);
        home
    }

    /// Without a configuration.
    pub fn bare() -> Self {
        let folder =
            tempfile::Builder::new().prefix("cf-home-").tempdir_in("/tmp").expect("/tmp takes a folder");
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("our own folder");
        Self { folder, port: free_port(), user: None }
    }

    /// The same with a copy of the binary, so that a build in the meantime does not change it.
    pub fn with_own_binary(self) -> Self {
        std::fs::copy(program(), self.path("chainflume")).expect("the folder takes a file");
        self
    }

    /// The same for the user `nobody`, who then runs the binary.
    pub fn owned_by_nobody(self) -> Self {
        // A copy: the folder of the build may be closed to other users.
        let this = self.with_own_binary();
        let given = std::process::Command::new("chown").arg("-R").arg("nobody").arg(this.path("")).status();
        assert!(given.expect("chown is everywhere").success());
        Self { user: Some("nobody"), ..this }
    }

    /// Writes the configuration: the keys of every daemon in these tests, then `rest`.
    pub fn write(&self, rest: &str, url: Option<&str>) {
        let url = url.map(|url| format!("[database]\nurl = \"{}\"\n", with_canary(url))).unwrap_or_default();
        let text = format!("data_dir = \"data\"\n[admin]\nlisten = \"127.0.0.1:{}\"\n{url}{rest}", self.port);
        std::fs::write(self.path("chainflume.toml"), text).expect("the folder takes a file");
    }

    /// Changes the configuration.
    pub fn rewrite(&self, from: &str, to: &str) {
        let file = self.path("chainflume.toml");
        let text = std::fs::read_to_string(&file).expect("it was written");
        assert!(text.contains(from), "{text}");
        std::fs::write(&file, text.replace(from, to)).expect("it can be written again");
    }

    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// The URL of the private database.
    pub fn private_url(&self) -> String {
        format!("postgres:///chainflume?host={}&port=5432&user=chainflume", self.path("data/run").display())
    }

    /// The binary with these arguments, in a clean environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self.user {
            None if self.path("chainflume").exists() => Command::new(self.path("chainflume")),
            None => Command::new(program()),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", user, "--regid", "nogroup", "--clear-groups", "--"]);
                command.arg(self.path("chainflume"));
                command
            }
        };
        command.args(arguments);
        Self::in_the_dark(&mut command);
        command
    }

    /// Gives a program a clean environment, and pipes.
    pub fn in_the_dark(command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("RUST_BACKTRACE", "0");
        command.current_dir("/").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }

    /// The same, with the configuration.
    pub fn configured(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.env("CHAINFLUME_CONFIG", self.path("chainflume.toml"));
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> CommandOutput {
        finish(self.configured(arguments)).await
    }

    /// Starts the daemon.
    pub fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    /// Starts the daemon with environment variables.
    pub fn start_with(&self, variables: &[(&str, &str)]) -> Daemon {
        self.start_as(&["run"], variables)
    }

    /// Starts the daemon with a stderr that the test provides.
    pub fn start_into(&self, arguments: &[&str], stderr: impl Into<Stdio>) -> Daemon {
        let mut command = self.configured(arguments);
        command.stderr(stderr);
        Daemon::new(command, self.port)
    }

    /// Starts the binary with arguments and variables.
    pub fn start_as(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Daemon {
        let mut command = self.configured(arguments);
        command.envs(variables.iter().copied());
        Daemon::new(command, self.port)
    }
}

/// The output of a command and its exit code.
#[derive(Debug)]
pub struct CommandOutput {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub took: Duration,
}

impl CommandOutput {
    /// Stdout of a command that succeeded and wrote nothing to stderr, except for its progress after ten seconds.
    pub fn fine(self) -> String {
        let errors: Vec<&str> = self.err.lines().filter(|line| !line.contains(" blocks read (")).collect();
        assert_eq!((self.code, errors), (Some(0), Vec::new()), "{}", self.out);
        self.out
    }

    /// Stdout of a successful command, as JSON.
    pub fn json(self) -> Value {
        let out = self.fine();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// The line on stderr of a command that failed with `code`.
    pub fn error(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self:#?}");
        let line = self.err.trim_end().lines().last().unwrap_or_default();
        line.strip_prefix("error: ").unwrap_or_else(|| panic!("{self:#?}"))
    }
}

/// Runs a command to its end.
pub async fn finish(command: Command) -> CommandOutput {
    let started = Instant::now();
    let mut daemon = Daemon::new(command, 0);
    // Beside other work on a slow machine a demo takes more than a minute.
    let code = daemon.ended(Duration::from_secs(180)).await;
    CommandOutput { code, out: daemon.out().await, err: daemon.err().await, took: started.elapsed() }
}

/// A daemon, killed when dropped.
pub struct Daemon {
    child: Child,
    port: u16,
    out: Stream,
    err: Stream,
}

impl Daemon {
    pub fn new(mut command: Command, port: u16) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let out = child.stdout.take().map_or_else(Stream::none, Stream::read);
        let err = child.stderr.take().map_or_else(Stream::none, Stream::read);
        Self { child, port, out, err }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// A line of the process's status, in KiB; `None` once it is gone.
    pub fn memory(&self, line: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|text| text.strip_prefix(line))?;
        line.split_whitespace().next()?.parse().ok()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().try_into().expect("a pid")).expect("not 0");
        kill_process(pid, signal).expect("it is ours");
    }

    /// `kill -9`.
    pub async fn kill_9(mut self) {
        self.child.kill().await.expect("it is ours");
        self.check_secrets();
    }

    /// Requests a stop; returns the exit code and the duration.
    pub async fn stop(mut self) -> (Option<i32>, Duration) {
        let asked = Instant::now();
        self.signal(Signal::TERM);
        let code = self.ended(Duration::from_secs(40)).await;
        (code, asked.elapsed())
    }

    /// Requests a stop, and checks that it is immediate and without an error.
    pub async fn stop_well(self) {
        let errors = self.err.text();
        let (code, took) = self.stop().await;
        assert_eq!(code, Some(0), "{errors}");
        assert!(took < Duration::from_secs(10), "{took:?}");
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_some()
    }

    /// Waits for its end.
    pub async fn ended(&mut self, limit: Duration) -> Option<i32> {
        let status = tokio::time::timeout(limit, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("it does not end: {}", self.err.text()));
        self.out.end().await;
        self.err.end().await;
        self.check_secrets();
        status.expect("it is ours").code()
    }

    async fn out(&mut self) -> String {
        self.out.end().await;
        self.out.text()
    }

    async fn err(&mut self) -> String {
        self.err.end().await;
        self.err.text()
    }

    /// Checks that its stdout ends with `words`.
    pub fn until_text(&self, words: &str) {
        assert!(self.out.text().ends_with(words), "{}", self.out.text());
    }

    /// Its stdout so far.
    pub fn printed(&self) -> String {
        self.out.text()
    }

    /// Its stderr so far.
    pub fn log(&self) -> String {
        self.err.text()
    }

    /// Waits until it has printed `words` on stdout or stderr.
    pub async fn until_printed(&mut self, words: &str) {
        let deadline = Instant::now() + WAIT_LIMIT;
        while !(self.err.text().contains(words) || self.out.text().contains(words)) {
            let ended = self.child.try_wait().expect("it is ours");
            let both = || format!("{}\n{}", self.out.text(), self.err.text());
            assert!(Instant::now() < deadline && ended.is_none(), "never printed {words}: {}", both());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Status and body of an answer of the admin address; `None` without an answer.
    pub async fn try_get(&self, path: &str) -> Option<(u16, String)> {
        chainflume_ops::tls::install();
        let client =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().expect("a client");
        let answer = client.get(format!("http://127.0.0.1:{}{path}", self.port)).send().await.ok()?;
        let answer = (answer.status().as_u16(), answer.text().await.ok()?);
        assert!(!answer.1.contains(CANARY), "{}", answer.1);
        Some(answer)
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).await.unwrap_or_else(|| panic!("no answer to {path}: {}", self.err.text()))
    }

    /// The answer of `/readyz`.
    pub async fn report(&self) -> (u16, Value) {
        let (status, body) = self.get("/readyz").await;
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    /// Waits until the answer of `/readyz` satisfies `is`.
    pub async fn until(&self, what: &str, is: impl Fn(u16, &Value) -> bool) -> Value {
        let deadline = Instant::now() + WAIT_LIMIT;
        let mut last = None;
        loop {
            if self.try_get("/livez").await.is_some() {
                let (status, report) = self.report().await;
                if is(status, &report) {
                    return report;
                }
                last = Some(report);
            }
            assert!(Instant::now() < deadline, "never {what}: {last:#?}\n{}", self.err.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until everything is ready and every source of `dev` has stored block `tip`.
    pub async fn until_tip(&self, tip: u64) -> Value {
        let at = |status: u16, report: &Value| {
            let sources = report["chains"]["dev"]["sources"].as_object();
            status == 200
                && sources
                    .is_some_and(|all| !all.is_empty() && all.values().all(|source| source["tip"] == tip))
        };
        self.until(&format!("ready at block {tip}"), at).await
    }

    /// The value of a sample of `/metrics`; its name includes the labels as printed there.
    pub async fn metric(&self, sample: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await;
        text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
    }

    fn check_secrets(&self) {
        for text in [self.out.text(), self.err.text()] {
            assert!(!text.contains(CANARY), "a secret is in the output: {text}");
        }
    }
}

/// The contents of a pipe.
struct Stream {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    /// Filled by another reader.
    fn none() -> Self {
        Self { text: Arc::default(), reader: None }
    }

    fn read(mut pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let written = text.clone();
        let reader = tokio::spawn(async move {
            let mut chunk = [0; 4096];
            while let Ok(bytes @ 1..) = pipe.read(&mut chunk).await {
                written.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..bytes]);
            }
        });
        Self { text, reader: Some(reader) }
    }

    async fn end(&mut self) {
        if let Some(reader) = self.reader.take() {
            // A grandchild may hold the pipe for a moment longer.
            let _ended = tokio::time::timeout(Duration::from_secs(5), reader).await;
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// The tables of the chain `dev` behind `server`, whose URLs contain the canary.
pub fn chain(server: &Server, keys: &str, sources: &str) -> String {
    let text = config(server, keys, sources);
    let text = text
        .replace(&server.http_url(), &format!("{}/v2/{CANARY}-http?key={CANARY}-query", server.http_url()));
    text.replace(&server.ws_url(), &format!("{}/v2/{CANARY}-ws?key={CANARY}-query", server.ws_url()))
}

/// The tables of a configuration for commands on the database at `url`. No daemon listens at its admin address: commands ask the daemon
/// there whether it uses the same database, and one may run on this machine.
pub fn database(url: &str) -> String {
    format!("[database]\nurl = \"{url}\"\n[admin]\nlisten = \"127.0.0.1:{}\"\n", free_port())
}

/// A database URL with a password, which the servers of the tests do not require.
fn with_canary(url: &str) -> String {
    if url.contains(CANARY) || !url.contains('?') {
        url.to_owned()
    } else {
        format!("{url}&password={CANARY}-pg")
    }
}

/// Waits until readiness is red for the reason `is` wants to see, soon, while the process counts as alive.
pub async fn red(daemon: &Daemon, is: impl Fn(&Value) -> bool) {
    let since = Instant::now();
    daemon.until("red for the true reason", |status, report| status == 503 && is(report)).await;
    assert!(since.elapsed() < RED_LIMIT, "{:?}", since.elapsed());
    assert_eq!(daemon.get("/livez").await, (200, "ok\n".to_owned()));
}

/// Checks that the rows at `url` are exactly those of the chain up to block `confirmed`.
pub async fn agrees(chain: &DevChain, url: &str, confirmed: u64) {
    let acquire_timeout = Duration::from_secs(10);
    let settings = chainflume_db::Settings { url: url.to_owned(), max_connections: 2, acquire_timeout };
    let store = Store::connect(&settings).await.expect("the database is there");
    let difference = app::compare(chain, &store, confirmed).await.expect("the database can be read");
    store.close().await;
    let lines: Vec<&str> = difference.lines().take(10).collect();
    assert!(difference.is_empty(), "{} rows differ: {lines:#?}", difference.len());
}

/// A free port. It is below the ports that the system assigns, which another process could get before the binary
/// starts.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 18_000 + u16::try_from(std::process::id() % 100).expect("below 100") * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The postmaster of the cluster in `data_dir`, from its pid file.
pub fn postmaster(data_dir: &Path) -> Option<u32> {
    let record = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).ok()?;
    record.lines().next()?.parse().ok()
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
