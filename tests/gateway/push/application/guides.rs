//! The examples of docs/APPLICATION.md and docs/PUSH.md, run as they are against a daemon that follows a real node.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::*;
use crate::anvil::Anvil;
use crate::daemon::Daemon;
use crate::flume::source;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The blocks of a page in one language, which make one program.
fn program(page: &str, language: &str) -> String {
    let (page, open) = (std::fs::read_to_string(Path::new(ROOT).join(page)), format!("```{language}"));
    let page = page.expect("the page is there");
    let (mut lines, mut blocks) = (page.lines(), Vec::new());
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if line == open {
                blocks.push(block.join("\n"));
            }
        }
    }
    assert!(!blocks.is_empty(), "{page} has no {language}");
    blocks.join("\n")
}

/// A folder in which programs find the packages that readers install, and the server for them.
struct Guide {
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
    page: &'static str,
}

impl Guide {
    fn new(page: &'static str, environment: Vec<(&'static str, String)>) -> Self {
        let tools = Path::new(ROOT).join(".tools");
        let folder = tempfile::Builder::new().prefix("guide-").tempdir_in(tools);
        let this =
            Self { folder: folder.expect("scripts/test-tools made the folder of tools"), environment, page };
        std::fs::create_dir(this.path("node_modules")).expect("a folder");
        symlink(Path::new(ROOT).join("clients/typescript"), this.path("node_modules/chainflume"))
            .expect("a link");
        this.write("package.json", r#"{ "type": "module" }"#);
        this.write(
            "tsconfig.json",
            r#"{ "compilerOptions": { "target": "es2022", "module": "nodenext", "strict": true, "noUnusedLocals": true,
                "types": ["node"], "skipLibCheck": true }, "files": ["guide.ts"] }"#,
        );
        // An error of the server ends the program that got it.
        this.write(".curlrc", "fail-with-body\nshow-error");
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    /// A program of this language, which writes what it prints to `<language>.out`.
    async fn command(&self, language: &str) -> Command {
        let text = program(self.page, language);
        let (file, words): (_, &[&str]) = match language {
            "sh" => ("guide.sh", &["bash", "-euo", "pipefail"]),
            "python" => ("guide.py", &[".tools/python/bin/python", "-u"]),
            "ts" => ("guide.ts", &["node", "--no-warnings", "--experimental-websocket"]),
            _ => ("guide.mjs", &["node", "--no-warnings", "--experimental-websocket"]),
        };
        self.write(file, &text);
        if language == "ts" {
            let tsc = Path::new(ROOT).join(".tools/node_modules/.bin/tsc");
            let checked = Command::new(tsc).arg("--project").arg(self.folder.path()).output().await;
            let checked = checked.expect("scripts/test-tools installs tsc");
            let found = String::from_utf8_lossy(&checked.stdout).into_owned();
            assert!(checked.status.success(), "{}: {found}", self.page);
        }
        let out = File::create(self.path(&format!("{language}.out"))).expect("a file");
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(self.path(&file.replace(".ts", ".js"))).current_dir(ROOT);
        command.envs(self.environment.iter().map(|(name, value)| (*name, value)));
        command.env("CURL_HOME", self.folder.path()).kill_on_drop(true);
        command.stdout(out.try_clone().expect("a file")).stderr(out);
        command
    }

    fn printed(&self, language: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{language}.out"))).expect("it was started")
    }

    /// Runs a program to its end.
    async fn run(&self, language: &str) -> String {
        let mut command = self.command(language).await;
        let end = tokio::time::timeout(WAIT_LIMIT, command.status()).await;
        let printed = self.printed(language);
        let end = end.unwrap_or_else(|_| panic!("{} in {language} does not end: {printed}", self.page));
        let end = end.expect("make test installs bash, curl, jq, node and python");
        assert!(end.success(), "{} in {language}: {printed}", self.page);
        printed
    }
}

/// A daemon with a key for a back end that follows this node, whose chain has the id 1 as on the pages.
async fn serve(anvil: &Anvil) -> (Daemon, PgPool, u16, String) {
    let url = postgres::empty_database().await;
    let (home, port, (key, hash)) = (Home::bare(), free_port(), new_key().await);
    let token = anvil.deploy("DemoToken", &[]).await;
    let tables = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\n[server.auth]\nsecret = \"{SECRET}\"\n[[server.key]]\nname = \"backend\"\n\
         hash = {hash}\nscopes = [\"publish\", \"read\"]\n[[chain]]\nname = \"dev\"\nchain_id = 1\nhttp = \"{}\"\nws = \"{}\"\n\
         confirmations = 2\nblock_time = \"1s\"\n{}",
        anvil.http_url(),
        anvil.ws_url(),
        source("token", "erc20", token.address, token.created)
    );
    home.write(&tables, Some(&url));
    let daemon = home.start();
    daemon.until("ready", |status, _| status == 200).await;
    (daemon, connect(&url).await, port, key)
}

async fn node() -> Anvil {
    // A block a second confirms what was sent.
    Anvil::start_with(&["--block-time", "1", "--chain-id", "1"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_application_run_as_they_are() {
    let anvil = node().await;
    let (daemon, pool, port, key) = serve(&anvil).await;
    let environment =
        vec![("SERVER", format!("http://127.0.0.1:{port}")), ("KEY", key), ("NODE", anvil.http_url())];
    let guide = Guide::new("docs/APPLICATION.md", environment);
    let mut before = 0;
    for language in ["sh", "ts", "python"] {
        let printed = guide.run(language).await;
        let facts: Vec<String> = sqlx::query_scalar(
            "select message::jsonb ->> 'type' from outbox where message::jsonb #>> '{metadata,chainId}' is null order by seq",
        )
        .fetch_all(&pool)
        .await
        .expect("reads");
        let begun = ["order.shipped", "activity.created", "activity.updated", "activity.completed"];
        assert_eq!(facts[before..before + 4], begun, "{language}: {printed}");
        if language == "sh" {
            let shown: Vec<&str> = printed.lines().filter(|line| line.starts_with("Send 1 wei: ")).collect();
            let ends = (shown.first(), shown.last());
            assert_eq!(
                ends,
                (Some(&"Send 1 wei: pending"), Some(&"Send 1 wei: completed (succeeded)")),
                "{printed}"
            );
            assert!(printed.contains("published user.onboarded as number "), "{printed}");
        }
        before = facts.len();
    }
    let alerts: Vec<(String, String)> = sqlx::query_as("select user_id, amount::text from user_alerts")
        .fetch_all(&pool)
        .await
        .expect("reads");
    assert_eq!(alerts, [("7".to_owned(), "1000000".to_owned())]);
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_push_receive_what_is_published() {
    let anvil = node().await;
    let (daemon, _, port, key) = serve(&anvil).await;
    let token = token(&json!({ "sub": "7", "exp": seconds_from_now(600) }));
    let guide =
        Guide::new("docs/PUSH.md", vec![("SERVER", format!("http://127.0.0.1:{port}")), ("TOKEN", token)]);
    // What each client prints of a message. In JavaScript a WebSocket and Socket.IO are one program.
    let (mut running, mut n) = (Vec::new(), 0);
    for (language, received) in [
        ("sh", ["event: message", "data: {"]),
        ("js", ["event: 'message'", "message {"]),
        ("ts", ["message confirmed", ""]),
        ("python", ["message {", "'state': 'confirmed'"]),
    ] {
        let child = guide.command(language).await.spawn().expect("make test installs its language");
        running.push((language, received, child));
    }
    let deadline = Instant::now() + WAIT_LIMIT;
    while !running.is_empty() {
        n += 1;
        let sent = request(port, reqwest::Method::POST, "/v1/domain-events").bearer_auth(&key);
        let sent = sent.body(event(n, "9", "7").to_string()).send().await.expect("an answer");
        assert_eq!(sent.status().as_u16(), 201);
        tokio::time::sleep(Duration::from_millis(200)).await;
        running.retain_mut(|(language, received, child)| {
            let printed = guide.printed(language);
            let end = child.try_wait().expect("it is ours");
            assert!(end.is_none() && Instant::now() < deadline, "{} in {language}: {printed}", guide.page);
            !received.iter().all(|part| printed.contains(part))
        });
    }
    daemon.stop_well().await;
}
