//! What the stored logs mean, without the program's decoder.

use std::collections::BTreeMap;

use alloy_primitives::I256;
use chainflume_devchain::{APPROVAL, TRANSFER};
use serde_json::Value;

/// Source, type, transaction index, log index, contract, from, to, amount or token, transaction hash.
pub type Transfer = (String, String, i64, i64, String, String, String, String, String);

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn index(value: &Value) -> i64 {
    i64::try_from(crate::anvil::number(value)).expect("small")
}

fn address(topic: &Value) -> String {
    format!("0x{}", &topic.as_str().expect("a topic")[26..])
}

fn decimal(word: &Value) -> String {
    word.as_str().expect("a word").parse::<alloy_primitives::U256>().expect("a number").to_string()
}

/// Whether the log has this first topic and so many topics.
fn is(log: &Value, topic: alloy_primitives::B256, count: usize) -> bool {
    log["topics"].as_array().is_some_and(|topics| topics.len() == count && topics[0] == topic.to_string())
}

/// Every transfer of both standards, in the order of the logs.
pub fn transfers(logs: &[Value]) -> Vec<Transfer> {
    let nobody = format!("0x{}", "0".repeat(40));
    let read = |log: &Value| {
        let (source, family, amount) = match (is(log, TRANSFER, 3), is(log, TRANSFER, 4)) {
            (true, _) => ("tokens", "erc20", decimal(&log["data"])),
            (_, true) => ("nfts", "erc721", decimal(&log["topics"][3])),
            _ => return None,
        };
        let (from, to) = (address(&log["topics"][1]), address(&log["topics"][2]));
        let word = match (from == nobody, to == nobody) {
            (true, false) => "mint",
            (false, true) => "burn",
            _ => "transfer",
        };
        let (kind, contract) = (format!("{family}.{word}"), text(&log["address"]));
        let (tx, place, hash) =
            (index(&log["transactionIndex"]), index(&log["logIndex"]), text(&log["transactionHash"]));
        Some((source.to_owned(), kind, tx, place, contract, from, to, amount, hash))
    };
    logs.iter().filter_map(read).collect()
}

/// Token and account to what the transfers leave, as if no account had had anything before.
pub fn balances(logs: &[Value]) -> BTreeMap<(String, String), String> {
    let nobody = format!("0x{}", "0".repeat(40));
    let mut sums: BTreeMap<(String, String), I256> = BTreeMap::new();
    for (_, _, _, _, token, from, to, amount, _) in transfers(logs).into_iter().filter(|t| t.0 == "tokens") {
        let amount: I256 = amount.parse().expect("far below 2^255");
        for (account, change) in [(from, -amount), (to, amount)] {
            if account != nobody {
                *sums.entry((token.clone(), account)).or_default() += change;
            }
        }
    }
    sums.into_iter().map(|(key, sum)| (key, sum.to_string())).collect()
}

/// Token, owner and spender to the last amount approved.
pub fn approvals(logs: &[Value]) -> BTreeMap<(String, String, String), String> {
    let of_tokens = logs.iter().filter(|log| is(log, APPROVAL, 3));
    of_tokens
        .map(|log| {
            let topics = &log["topics"];
            ((text(&log["address"]), address(&topics[1]), address(&topics[2])), decimal(&log["data"]))
        })
        .collect()
}
