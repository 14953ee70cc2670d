//! The example that docs/APPLICATION.md names, with a real node.

use super::*;
use crate::anvil::Anvil;
use crate::flume::source;

#[tokio::test(flavor = "multi_thread")]
async fn the_onboarding_example_sees_its_transaction_complete() {
    // A block a second confirms what was sent.
    let anvil = Anvil::start_with(&["--block-time", "1"]).await;
    let (url, (home, port), (key, hash)) =
        (postgres::empty_database().await, (Home::bare(), free_port()), new_key().await);
    let token = anvil.deploy("DemoToken", &[]).await;
    let tables = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\n[server.auth]\nsecret = \"{SECRET}\"\n[[server.key]]\nname = \"backend\"\n\
         hash = {hash}\nscopes = [\"publish\", \"read\"]\n[[chain]]\nname = \"dev\"\nchain_id = 31337\nhttp = \"{}\"\nws = \"{}\"\n\
         confirmations = 2\nblock_time = \"1s\"\n{}",
        anvil.http_url(),
        anvil.ws_url(),
        source("token", "erc20", token.address, token.created)
    );
    home.write(&tables, Some(&url));
    let daemon = home.start();
    daemon.until("ready", |status, _| status == 200).await;

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/onboarding/onboarding.mjs");
    let mut command = Command::new("node");
    command.args([
        "--no-warnings",
        "--experimental-websocket",
        script,
        &format!("http://127.0.0.1:{port}"),
        &anvil.http_url(),
        &key,
    ]);
    let run = tokio::time::timeout(WAIT_LIMIT, command.kill_on_drop(true).output()).await.expect("it ends");
    let run = run.expect("node is installed (apt-get install nodejs)");
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{out}\n{err}");
    let shown: Vec<&str> = out.lines().filter(|line| line.starts_with("Send 1 wei: ")).collect();
    assert_eq!(
        (shown.first(), shown.last()),
        (Some(&"Send 1 wei: pending"), Some(&"Send 1 wei: completed (succeeded)")),
        "{out}"
    );
    assert!(out.contains("published user.onboarded as number "), "{out}");
    daemon.stop_well().await;
}
