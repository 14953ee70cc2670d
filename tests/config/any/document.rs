//! Documents that are right, as trees, and a tree as text.

use std::fmt::Write;

use chainflume::config::MANUAL;
use proptest::prelude::*;
use toml::{Table, Value};

use super::CANARY;

/// Variables that may be set.
pub const VARIABLES: &[&str] =
    &["HTTP", "MAINNET_HTTP", "CRM_WEBHOOK", "CRM_WEBHOOK_SECRET", "A", "HOME", "STATE_DIRECTORY"];

/// Every way there is to write it, secrets in each place for one.
const EVERYTHING: &str = r#"
data_dir = "data"
database = { url = "postgres://canary:canary@host/canary", max_connections = 2, acquire_timeout = "1s" }
redis = { sentinels = ["redis://canary:canary@one:1"], master = "redis://:canary@master", prefix = "p:" }
alerts = { webhook = "https://hooks.example/canary", over_after = "1m" }
log = { format = "json", level = "debug" }

[[webhook]]
name = "one"
url = "https://canary:canary@one.example/canary"
secret = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_ZXhhbXBsZSBvZiBhIHNlY3JldCwgbm90IGEgc2VjcmV0"]
types = ["stake.*", "user.activated"]
retry_schedule = ["1s", "2s"]
allow_hosts = ["one.example", "::1"]

[[chain]]
name = "one"
chain_id = "${A:-31337}"
http = "https://node.example/canary"
ws = "wss://node.example/canary"
confirmations = "finalized"
audit = { enabled = false }
pace = { requests_per_second = 5, compute_units = { eth_getLogs = 75, "*" = 1 } }

[[chain]]
name = "two"
chain_id = 2
http = "${HTTP:-http://two.example/canary}"
confirmations = 0
reorg_window = 1
block_time = "250ms"
ws_silence = "1s"
history = { max_range = 5, buffer_bytes = 1048576, commit_logs = 0 }

[[source]]
name = "vault"
chain = "one"
family = "stake"
address = "0x2222222222222222222222222222222222222222"
start_block = 0
decimals = 18
publish_from = "start"

[[source]]
name = "coins"
chain = "two"
family = "erc20"
address = ["0x1111111111111111111111111111111111111111", "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"]
events = ["Transfer"]
start_block = 7

[[source]]
name = "payments"
chain = "two"
family = "generic"
address = "any"
abi = "abi.json"
start_block = 7
user = "account"
publish_from = 9
"#;

/// The manual, which has every key, and all the rest.
pub fn whole() -> [Table; 2] {
    let canaried =
        |text: &str| text.replace("hooks/chainflume", CANARY).replace("127.0.0.1:8545", "node/canary");
    [canaried(MANUAL), EVERYTHING.to_owned()].map(|text| text.parse().expect("they are TOML"))
}

pub fn documents() -> impl Strategy<Value = Table> {
    proptest::sample::select(&[0usize, 1][..]).prop_map(|which| whole()[which].clone())
}

/// A key a line, everything below it in line.
pub fn print(table: &Table) -> String {
    let mut text = String::new();
    for (key, value) in table {
        let _ = write!(text, "{} = ", quoted(key));
        value_to(value, &mut text);
        text.push('\n');
    }
    text
}

fn value_to(value: &Value, text: &mut String) {
    match value {
        Value::String(string) => text.push_str(&quoted(string)),
        Value::Integer(number) => drop(write!(text, "{number}")),
        Value::Float(number) => drop(write!(text, "{number:?}").map(|()| ())),
        Value::Boolean(flag) => drop(write!(text, "{flag}")),
        Value::Datetime(date) => drop(write!(text, "{date}")),
        Value::Array(items) => {
            text.push('[');
            for item in items {
                value_to(item, text);
                text.push_str(",\n ");
            }
            text.push(']');
        }
        Value::Table(table) => {
            text.push('{');
            for (index, (key, value)) in table.iter().enumerate() {
                let comma = if index == 0 { "" } else { ", " };
                let _ = write!(text, "{comma}{} = ", quoted(key));
                value_to(value, text);
            }
            text.push('}');
        }
    }
}

/// A basic string: what it may not contain is escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => drop(write!(quoted, "\\U{:08X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
