//! The commands that ask a node leave one that does not work as well, and `check` names it.

use std::time::Duration;

use chainflume_devchain::{DevChain, Effect, RpcError, Rule, Settings, Wire};
use serde_json::{Value, json};

use super::Node;
use super::answers::{LOGS, OF_LOGS, SOON_ENOUGH, Trouble, all_soon_enough, config, status};
use crate::daemon::{CommandOutput, Home};
use crate::flume::Flume;
use crate::postgres;

/// Two nodes of a chain whose blocks up to 58 are stored, and a configuration for commands that sets no clock.
struct Stored {
    one: Node,
    other: Node,
    home: Home,
}

impl Stored {
    async fn new() -> Self {
        let chain = DevChain::new(Settings { history: 60, ..Settings::default() });
        let (one, other) = (Node::of(&chain).await, Node::of(&chain.another_node()).await);
        let text = config(&[one.provider("one", ""), other.provider("other", "")], "");
        let url = postgres::database().await;
        let flume = Flume::start(&text, &url).await;
        flume.until_tip("dev", 58).await;
        flume.stop().await;
        let home = Home::bare();
        home.write(&text, Some(&url));
        Self { one, other, home }
    }

    async fn runs(&self, arguments: &[&str]) -> CommandOutput {
        self.home.run(arguments).await
    }
}

/// That it went well, whatever was logged meanwhile, and how long it took.
fn went_well(output: &CommandOutput) -> Duration {
    assert_eq!(output.code, Some(0), "{output:#?}");
    output.took
}

fn of_latest(chain: &DevChain, effect: Effect) {
    let rule = Rule::on("eth_getBlockByNumber", effect);
    chain.faults().add(rule.asking(|params: &Value| params[0] == "latest"));
}

fn hang() -> Effect {
    Effect::Wire(Wire::Hang)
}

const TROUBLES: &[(&str, Trouble)] = &[
    ("429 for a day", |node| status(node, 429, &[("retry-after", "86400")], "too many requests")),
    ("hangs", |node| drop(node.faults().add(Rule::any(hang())))),
    ("head hangs", |node| of_latest(node, hang())),
    ("head: capacity", |node| {
        of_latest(node, Effect::Error(RpcError::new(-32000, "exceeded capacity, try later")));
    }),
    ("logs hang", |node| drop(node.faults().add(Rule::on(LOGS, hang())))),
    ("logs: 429 for a day", |node| {
        let headers = vec![("retry-after".to_owned(), "86400".to_owned())];
        let refused = Wire::Status { status: 429, headers, body: "too many requests".to_owned() };
        node.faults().add(Rule::on(LOGS, Effect::Wire(refused)));
    }),
];

/// Blocks are read again from the provider that is preferred least.
async fn reads_again(command: &'static [&'static str], trouble: Trouble) -> Duration {
    let stored = Stored::new().await;
    trouble(&stored.other.chain);
    went_well(&stored.runs(command).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_reads_from_a_provider_that_works() {
    let backfill: &[&str] = &["backfill", "--source", "token", "--from", "0", "--to", "58"];
    let mut runs = Vec::new();
    for (name, trouble) in TROUBLES.iter().chain(&OF_LOGS[..1]) {
        runs.push((format!("backfill: {name}"), reads_again(backfill, *trouble)));
    }
    for (name, trouble) in &TROUBLES[3..5] {
        runs.push((format!("verify: {name}"), reads_again(&["verify", "--json"], *trouble)));
    }
    all_soon_enough("commands", runs).await;
}

async fn rewinds(trouble: Trouble) -> Duration {
    let stored = Stored::new().await;
    trouble(&stored.one.chain);
    let found = stored.runs(&["rewind", "--json"]).await;
    let output: Value =
        serde_json::from_str(&found.out).unwrap_or_else(|error| panic!("{error}: {found:#?}"));
    assert_eq!((&output["common"], &output["tip"]), (&json!(58), &json!(58)), "{found:#?}");
    let done = stored.runs(&["rewind", "--to", "50", "--yes"]).await;
    assert!(done.out.starts_with("8 blocks and "), "{done:#?}");
    went_well(&found).max(went_well(&done))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_reads_from_a_provider_that_works() {
    let closes: Trouble = |node| drop(node.faults().add(Rule::any(Effect::Wire(Wire::Close))));
    let troubles = TROUBLES[..4].iter().copied().chain([("closes", closes)]);
    let runs = troubles.map(|(name, trouble)| (format!("rewind: {name}"), rewinds(trouble)));
    all_soon_enough("commands", runs.collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_the_provider_that_does_not_work() {
    let stored = Stored::new().await;
    // What is too much of one block's logs is asked for in parts, and is no reason to name a provider.
    let refusals =
        OF_LOGS.iter().filter(|(name, _)| ["logs: -32005", "logs: pruned", "logs: null"].contains(name));
    for (name, trouble) in TROUBLES.iter().chain(refusals) {
        trouble(&stored.one.chain);
        let output = stored.runs(&["check"]).await;
        let says = |start: &str, who: &str| {
            output.out.lines().any(|line| line.starts_with(start) && line.contains(who))
        };
        assert!(says("FAIL", "provider \"one\""), "{name}: {output:#?}");
        assert!(says("ok", "chain dev: provider other"), "{name}: {output:#?}");
        assert_eq!(output.code, Some(69), "{name}: {output:#?}");
        assert!(output.took < SOON_ENOUGH, "{name}: {output:#?}");
        stored.one.chain.faults().clear();
    }
    went_well(&stored.runs(&["check"]).await);
}
