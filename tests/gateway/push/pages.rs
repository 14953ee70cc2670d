//! The pages of the public server, and the example page, in a browser.

use std::collections::BTreeSet;

use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;

use super::*;

/// A script of `tests/browser` and the browser that it drives.
struct Browser {
    output: Client,
    stdin: ChildStdin,
}

impl Browser {
    fn start(script: &str, arguments: &[&str]) -> Self {
        let root = env!("CARGO_MANIFEST_DIR");
        let mut command = Command::new("node");
        command.arg(format!("{root}/tests/browser/{script}")).args(arguments).stdin(Stdio::piped());
        let mut output = Client::start(&mut command);
        let stdin = output.child.stdin.take().expect("it is piped");
        Self { output, stdin }
    }

    /// Waits until the script prints this. A script that fails ends, with the reason in the output of the test.
    async fn until(&mut self, key: &str, value: Value) {
        assert_eq!(self.output.next().await, json!({ key: value }));
    }

    async fn send(&mut self, value: &Value) {
        self.stdin.write_all(format!("{value}\n").as_bytes()).await.expect("the script listens");
    }
}

/// Where the pictures are put, to be looked at.
const PICTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tmp/pages");

fn url(gate: &Gate) -> String {
    format!("http://127.0.0.1:{}", gate.port)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_shows_what_happens_and_is_accessible() {
    let gate = Gate::new(71, "[server.auth]\nmode = \"none\"\n").await;
    let daemon = gate.start().await;
    gate.mine(&daemon, 3).await;
    let mut browser = Browser::start("dashboard.mjs", &[&url(&gate), PICTURES]);
    browser.until("ready", json!("looks")).await;
    browser.until("ready", json!("reorg")).await;
    gate.mine(&daemon, 4).await;
    gate.chain.reorg(5, 6);
    daemon.until_tip(gate.chain.head().number - 2).await;
    browser.send(&json!(true)).await;
    browser.until("ready", json!("mine")).await;
    gate.mine(&daemon, 3).await;
    browser.send(&json!(true)).await;
    browser.until("ready", json!("texts")).await;
    browser.until("done", json!(true)).await;
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_needs_the_scope_admin() {
    let gate = Gate::new(72, &format!("[server.auth]\nsecret = \"{SECRET}\"\n")).await;
    let daemon = gate.start().await;
    gate.mine(&daemon, 3).await;
    let claims = |scope: &str| token(&json!({ "sub": "7", "exp": seconds_from_now(600), "scope": scope }));
    let (user, admin) = (claims("read publish"), claims("admin"));
    for path in ["/v1/status", "/v1/status/stream"] {
        let (status, problem) = gate.get(path, &[]).await;
        assert_eq!((status, &problem["code"]), (401, &json!("credential_missing")));
        let (status, problem) = gate.get(path, &[("authorization", &format!("Bearer {user}"))]).await;
        assert_eq!((status, &problem["code"]), (403, &json!("forbidden")));
    }
    let mut stream = gate.request(reqwest::Method::GET, "/v1/status/stream");
    stream = stream.header("authorization", format!("Bearer {admin}"));
    assert!(stream.send().await.expect("it opens").headers().contains_key("chainflume-position"));
    let (status, about) = gate.get("/v1/status", &[("authorization", &format!("Bearer {admin}"))]).await;
    assert_eq!(status, 200);
    let tip = gate.chain.head().number - 2;
    assert_eq!(about["daemon"]["chains"]["dev"]["confirmed"], tip);
    assert!(about["stored"]["sources"].as_array().is_some_and(|all| all.iter().all(|one| one["tip"] == tip)));
    assert_eq!(about["stored"]["outbox"]["last"], gate.outbox().await.len());
    let page = gate.ask(reqwest::Method::GET, "/", &[]).await;
    assert_eq!(
        (page.status().as_u16(), &page.headers()["content-type"]),
        (200, &"text/html; charset=utf-8".parse().expect("a value"))
    );
    let policy = page.headers()["content-security-policy"].to_str().expect("text");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"),
        "{policy}"
    );

    let mut browser = Browser::start("access.mjs", &[&url(&gate), PICTURES, &user, &admin]);
    browser.until("done", json!(true)).await;
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_page_shows_events_and_their_retractions() {
    let page_port = free_port();
    let page = format!("http://127.0.0.1:{page_port}");
    let gate = Gate::new(73, &format!("cors_origins = [\"{page}\"]\n[server.auth]\nmode = \"none\"\n")).await;
    let daemon = gate.start().await;
    gate.mine(&daemon, 2).await;
    let mut serve = Command::new("node");
    serve.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/page/serve.mjs"));
    serve.args([&*url(&gate), &*page_port.to_string()]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut serving = serve.spawn().expect("node is installed (apt-get install nodejs)");
    let mut output = BufReader::new(serving.stdout.take().expect("it is piped")).lines();
    assert_eq!(output.next_line().await.expect("it says"), Some(format!("open {page}/")));

    let before = gate.outbox().await.len();
    let mut browser = Browser::start("example.mjs", &[&page, &url(&gate), PICTURES]);
    browser.until("ready", json!(true)).await;
    gate.mine(&daemon, 6).await;
    gate.chain.reorg(5, 6);
    daemon.until_tip(gate.chain.head().number - 2).await;
    let (mut left, mut gone) = (BTreeSet::new(), 0);
    for (_, message) in gate.outbox().await.split_off(before) {
        let id = message["id"].as_str().expect("an id").to_owned();
        match (message["type"] == "erc20.transfer", message["state"] == "retracted") {
            (true, true) => (gone, _) = (gone + 1, left.remove(&id)),
            (true, false) => drop(left.insert(id)),
            (false, _) => {}
        }
    }
    assert!(gone > 0 && !left.is_empty(), "the reorg took transfers back, and some are left");
    browser.send(&json!({ "confirmed": left.len(), "gone": gone })).await;
    browser.until("done", json!(true)).await;
    daemon.stop_well().await;
}
