//! Each fault that an operator meets, and where it is seen: the daemon prints what docs/TROUBLESHOOTING.md quotes, in the place
//! that the page names. To see everything that is printed, rename the section of a test: the failure lists it.

mod machine;
mod node;
mod receivers;
mod slow;
mod stores;
mod trust;

use std::collections::BTreeMap;
use std::time::Duration;

use chainflume_devchain::Server;
use serde_json::Value;

use crate::daemon::{Daemon, Home};
use crate::receiver::{Receiver, Reply};
use crate::wait::until_ok_within;

const PLACES: [&str; 5] = ["status", "readyz", "log", "alert", "check"];
const PAGE: &str = include_str!("../../docs/TROUBLESHOOTING.md");
/// Some faults are reported after a minute, and the machine may be busy.
const LIMIT: Duration = Duration::from_secs(180);

/// A daemon, and all that its operator looks at.
struct Desk {
    home: Home,
    chat: Receiver,
    daemon: Daemon,
}

impl Desk {
    /// For the chain behind `server`, with `rest` in the configuration, and the database at `url`.
    async fn new(server: &Server, rest: &str, url: Option<&str>) -> Self {
        Self::changed(server, (rest, url), |_| {}).await
    }

    /// The same, with a configuration that is changed before the start.
    async fn changed(server: &Server, (rest, url): (&str, Option<&str>), change: impl FnOnce(&Home)) -> Self {
        let chat = Receiver::start().await;
        chat.rule(|_| Reply::status(200));
        let alerts = format!("[alerts]\nwebhook = \"{}\"\n", chat.url());
        let home = Home::new(server, &format!("{rest}{alerts}"), url);
        change(&home);
        let daemon = home.start();
        Self { home, chat, daemon }
    }

    /// Waits until each line that the page quotes in the section of this fault was seen in its place.
    async fn shows(&self, fault: &str) {
        let mut missing = section(fault);
        let look = async || {
            let places: Vec<&str> = missing.iter().map(|(place, _)| *place).collect();
            let seen = self.look(&places).await;
            missing.retain(|(place, quote)| !seen[place].iter().any(|line| is_said(quote, line)));
            if missing.is_empty() { Ok(()) } else { Err((missing.clone(), seen)) }
        };
        until_ok_within(LIMIT, &format!("the quotes of {fault:?} are seen"), look).await;
    }

    /// The lines of each of these places.
    async fn look<'a>(&self, places: &[&'a str]) -> BTreeMap<&'a str, Vec<String>> {
        let mut seen = BTreeMap::new();
        for place in places {
            if !seen.contains_key(place) {
                seen.insert(*place, self.lines(place).await);
            }
        }
        seen
    }

    async fn lines(&self, place: &str) -> Vec<String> {
        let of = |text: &str| text.lines().map(str::to_owned).collect();
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        match place {
            "status" | "check" => {
                let said = self.home.run(&[place]).await;
                of(&(said.out + &said.err))
            }
            "readyz" => {
                let answer = self.daemon.try_get("/readyz").await.unwrap_or_default();
                let mut lines = Vec::new();
                leaves(&json(&answer.1), &mut lines);
                lines
            }
            "log" => self.daemon.log().lines().map(|line| spoken(line, &json(line))).collect(),
            "alert" => self.chat.got().iter().map(|got| words(&json(&got.body)["text"])).collect(),
            other => panic!("the page names a place that is none: {other}"),
        }
    }
}

/// The quotes of a section of the page, each with its place.
fn section(fault: &str) -> Vec<(&'static str, &'static str)> {
    let heading = format!("### {fault}\n");
    let (_, rest) = PAGE.split_once(&heading).unwrap_or_else(|| panic!("the page has no section {fault}"));
    let section = rest.split("\n##").next().unwrap_or_default();
    let blocks = section.split("```text\n").skip(1).filter_map(|rest| Some(rest.split_once("\n```")?.0));
    let placed = blocks.flat_map(str::lines).filter_map(|line| line.split_once(": "));
    let quotes: Vec<_> = placed.filter(|(place, _)| PLACES.contains(place)).collect();
    assert!(!quotes.is_empty(), "nothing is quoted: {fault}");
    quotes
}

/// Whether the line has all fixed parts of the quote, in their order.
fn is_said(quote: &str, line: &str) -> bool {
    let mut parts = quote.split('…').map(str::trim).filter(|part| !part.is_empty());
    parts.try_fold(line, |rest, part| Some(rest.split_once(part)?.1)).is_some()
}

/// Every text in a JSON document.
fn leaves(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.values().for_each(|value| leaves(value, into)),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, into)),
        value => into.push(words(value)),
    }
}

fn words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A line of the log as a terminal shows it, without time and level. A line that is no JSON stays as it is.
fn spoken(line: &str, json: &Value) -> String {
    let Some(fields) = json.as_object() else { return line.to_owned() };
    let quiet = ["timestamp", "level", "target", "message", "span"];
    let rest = fields.iter().filter(|(name, _)| !quiet.contains(&name.as_str()));
    rest.fold(words(&json["message"]), |text, (name, value)| format!("{text} {name}={}", words(value)))
}

#[test]
fn a_quote_is_compared_part_by_part() {
    assert!(is_said("chain …: … blocks", "  chain dev: 12 blocks behind"));
    assert!(!is_said("… blocks … chain", "  chain dev: 12 blocks behind"));
    let line = r#"{"level":"WARN","message":"it failed","chain":"dev","error":"no \"one\""}"#;
    assert_eq!(
        spoken(line, &serde_json::from_str(line).expect("json")),
        "it failed chain=dev error=no \"one\""
    );
}
