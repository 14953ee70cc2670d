//! The commands about endpoints and dead deliveries, beside the running daemon.

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::{FAST, Ground, webhook};
use crate::daemon::database;
use crate::receiver::{Receiver, Reply, reaction};
use crate::wait::until;

/// The configuration in a file, for the binary.
struct Desk(TempDir);

impl Desk {
    fn new(ground: &Ground) -> Self {
        Self::with(ground, "")
    }

    /// With more tables than the daemon has.
    fn with(ground: &Ground, tables: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let text = database(&ground.url) + &ground.config + "\n" + tables;
        std::fs::write(folder.path().join("chainflume.toml"), text).expect("written");
        Self(folder)
    }

    /// Exit code, stdout and stderr.
    async fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chainflume"));
        let said =
            command.args(args).arg("--config").arg(self.0.path().join("chainflume.toml")).output().await;
        let said = said.expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let (out, err) = (text(said.stdout), text(said.stderr));
        assert!(!out.contains("canary") && !err.contains("canary"), "{out}{err}");
        (said.status.code().expect("it ended by itself"), out, err)
    }

    async fn json(&self, args: &[&str]) -> Value {
        let (_, out, err) = self.run(args).await;
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_delivery_is_listed_shown_and_delivered_under_its_id() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&webhook("crm", &receiver, &format!("{FAST}retry_attempts = 1\n"))).await;
    let desk = Desk::new(&ground);
    receiver.rule(|got| Reply::status(if got.seq() == 1 { 400 } else { 200 }));
    ground.publish("user.updated", &["a", "a", "b"]).await;
    let relays = ground.start().await;
    ground.until_taken(&receiver, 2).await;
    ground.until_count("dead_letters where resolved_at is null", 1).await;
    let letter = &desk.json(&["dead-letters", "list", "--source", "webhook:crm", "--json"]).await[0];
    let id = letter["id"].as_u64().expect("a number").to_string();
    let published =
        json!([letter["kind"], letter["sink"], letter["seq"], letter["state"], letter["raw"]["seq"]]);
    assert_eq!(published, json!(["delivery", "webhook:crm", 1, "open", 1]));
    assert_eq!(desk.json(&["dead-letters", "list", "--source", "token", "--json"]).await, json!([]));
    for command in [&["list"][..], &["retry", "--all"], &["drop"]] {
        let args = [&["dead-letters"], command, &["--source", "webhook:cmr"]].concat();
        let (code, _, errors) = desk.run(&args).await;
        let unknown = "there is no source or sink webhook:cmr; there are: ";
        assert!(
            code == 1 && errors.contains(unknown) && errors.contains("webhook:crm"),
            "{args:?}: {errors}"
        );
    }
    let (code, shown, _) = desk.run(&["dead-letters", "show", &id]).await;
    assert!(code == 0 && shown.contains("sink: webhook:crm") && shown.contains("answered 400"), "{shown}");

    receiver.answers(200);
    let retry = ["dead-letters", "retry", &id, "--json"];
    let (one, two, three) = tokio::join!(desk.json(&retry), desk.json(&retry), desk.json(&retry));
    let words = [&one, &two, &three].map(|message| message["outcome"].as_str().unwrap_or_default());
    assert_eq!(words.iter().filter(|word| **word == "queued").count(), 1, "{words:?}");
    ground.until_taken(&receiver, 3).await;
    ground.until_count("deliveries", 0).await;
    let tries: Vec<_> = receiver.got().into_iter().filter(|got| got.seq() == 1).collect();
    assert_eq!(tries.len(), 2, "once in vain, once with success");
    assert_eq!((&tries[0].id, &tries[0].body), (&tries[1].id, &tries[1].body));
    let resolved = &desk.json(&["dead-letters", "list", "--resolved", "--json"]).await[0];
    assert_eq!(resolved["state"], "queued");
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_dies_again_is_the_same_letter_open_again() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&webhook("crm", &receiver, &format!("{FAST}retry_attempts = 1\n"))).await;
    let desk = Desk::new(&ground);
    receiver.answers(400);
    ground.publish("user.updated", &["a"]).await;
    let relays = ground.start().await;
    ground.until_count("dead_letters where resolved_at is null and attempts = 1", 1).await;
    let (code, out, _) = desk.run(&["dead-letters", "retry", "--all"]).await;
    assert!(code == 0 && out.ends_with("0 stored, 1 put back in line\n"), "{out}");
    ground.until_count("dead_letters where resolved_at is null and attempts = 2", 1).await;
    let dropped = desk.run(&["dead-letters", "drop", "1", "--reason", "the receiver is no more"]).await;
    assert_eq!((dropped.0, dropped.1.as_str()), (0, "1 dropped\n"));
    let (_, out, _) = desk.run(&["dead-letters", "retry", "--all"]).await;
    assert_eq!(out, "0 stored, 0 put back in line\n");
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_listed_checked_and_enabled() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&webhook("crm", &receiver, FAST)).await;
    let desk = Desk::new(&ground);
    let (code, out, err) = desk.run(&["check"]).await;
    let line = format!(
        "ok   webhook crm: 127.0.0.1:{} answers (405 to HEAD), nothing was delivered\n",
        receiver.port()
    );
    assert!(code == 0 && out.contains(&line), "{out}{err}");
    assert_eq!((receiver.looks(), receiver.got().len()), (1, 0));

    // What no start would take is a line beside those of all else.
    let inside = webhook("inside", &receiver, "").replace("allow_hosts = [\"127.0.0.1\"]", "");
    let asks = reaction(&receiver.url()).replace("allow_hosts = [\"127.0.0.1\"]", "");
    let (code, out, err) = Desk::with(&ground, &format!("{inside}{asks}")).run(&["check"]).await;
    for (table, name) in [("webhook", "inside"), ("reaction", "ship")] {
        let words = format!("{table} \"{name}\": url: 127.0.0.1 resolves to 127.0.0.1, a loopback address;");
        assert!(out.lines().any(|line| line.starts_with("FAIL ") && line.contains(&words)), "{out}{err}");
    }
    assert!(code == 78 && out.contains(&line) && out.contains("ok   database: "), "{out}{err}");

    receiver.answers(410);
    ground.publish("user.updated", &["a"]).await;
    let relays = ground.start().await;
    relays.until("webhook:crm", "is disabled", |sink| sink.disabled.is_some()).await;
    let listed = desk.json(&["webhooks", "list", "--json"]).await;
    let reason = format!("webhook at 127.0.0.1:{} answered 410", receiver.port());
    let mut listed = listed;
    let oldest = listed[0]["heldOldestSeconds"].take();
    assert!(oldest.is_u64(), "{oldest}");
    let expected = json!([{
        "name": "crm", "cursor": 1, "held": 1, "heldOldestSeconds": null, "failures": 0, "pausedSeconds": 0,
        "disabled": reason, "lastError": reason
    }]);
    assert_eq!(listed, expected);
    receiver.answers(200);
    let enabled = desk.run(&["webhooks", "enable", "crm"]).await;
    assert_eq!((enabled.0, enabled.1.as_str()), (0, "crm is enabled\n"));
    ground.until_taken(&receiver, 1).await;
    let again = desk.run(&["webhooks", "enable", "crm"]).await;
    assert_eq!((again.0, again.2.as_str()), (1, "error: webhook crm is not disabled\n"));
    let unknown = desk.run(&["webhooks", "enable", "cmr"]).await;
    assert!(
        unknown.0 == 78 && unknown.2.contains("there is no webhook \"cmr\"; there are: crm"),
        "{unknown:?}"
    );
    until("it is well", || relays.sink("webhook:crm").disabled.is_none()).await;
    relays.stop().await;
    drop(receiver);
    let (code, out, _) = desk.run(&["check"]).await;
    assert!(code == 69 && out.contains("FAIL webhook crm: 127.0.0.1"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_an_endpoint_is_retried_at_once_by_a_command() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&webhook("crm", &receiver, "retry_schedule = [\"1h\"]\n")).await;
    let desk = Desk::new(&ground);
    receiver.answers(500);
    ground.publish("user.updated", &["a", "a"]).await;
    let relays = ground.start().await;
    ground.until_count("deliveries where attempts = 1", 1).await;
    ground.until_count("sink_states where paused_until > now() + interval '4 minutes'", 1).await;
    let (_, listed, _) = desk.run(&["webhooks", "list"]).await;
    assert!(listed.contains("answered 500"), "{listed}");
    receiver.answers(200);
    let retried = desk.run(&["webhooks", "retry", "crm"]).await;
    let held = ground.count("deliveries").await;
    assert!(retried.0 == 0 && retried.1.ends_with(" held messages are retried now\n"), "{retried:?} {held}");
    ground.until_taken(&receiver, 2).await;
    assert_eq!(receiver.seqs(), [1, 2]);
    let unknown = desk.run(&["webhooks", "retry", "cmr"]).await;
    assert!(unknown.0 == 78 && unknown.2.contains("there is no webhook \"cmr\""), "{unknown:?}");
    relays.stop().await;
}
