use std::path::PathBuf;

use serde_json::Value as Json;

use super::*;

/// The logs of Ethereum mainnet's block 18,000,000; `None`, with a message, where the fixture is absent.
pub(crate) fn mainnet_logs() -> Option<Vec<Log>> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures");
    let folder = std::env::var_os("CHAINFLUME_FIXTURES").map_or_else(beside, PathBuf::from);
    let path = folder.join("mainnet-18000000/header-and-logs.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no {}; set CHAINFLUME_FIXTURES to the folder of fixtures", path.display());
        return None;
    };
    let batch: Json = serde_json::from_str(&text).expect("the fixture is JSON");
    Some(batch[1]["result"].as_array().expect("the second answer has logs").iter().map(parse).collect())
}

fn parse(json: &Json) -> Log {
    let text = |key: &str| json[key].as_str().expect("a string").to_owned();
    let index = |key: &str| u32::from_str_radix(&text(key)[2..], 16).expect("a quantity");
    let topics: Vec<B256> = json["topics"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|topic| topic.as_str().expect("a string").parse().expect("a word"))
        .collect();
    Log {
        place: Place {
            block_number: u64::from(index("blockNumber")),
            tx_index: index("transactionIndex"),
            log_index: index("logIndex"),
        },
        block_hash: text("blockHash").parse().expect("a word"),
        tx_hash: text("transactionHash").parse().expect("a word"),
        block_timestamp: None,
        address: text("address").parse().expect("an address"),
        topics: Topics::new(&topics).expect("at most four"),
        data: text("data").parse().expect("bytes"),
    }
}

#[test]
fn a_mainnet_block_has_141_erc20_and_2_erc721_transfers() {
    let Some(logs) = mainnet_logs() else { return };
    let transfers = |json| events(json).into_iter().filter(|event| event.name == "Transfer").collect();
    let decoder = Decoder::new(vec![
        source(0, AddressSet::Any, transfers(ERC20)),
        source(1, AddressSet::Any, transfers(ERC721)),
    ]);
    let (mut found, mut foreign, mut malformed) = ([0, 0], 0, Vec::new());
    for log in &logs {
        match decoder.decode(log) {
            DecodeOutcome::Typed(typed) => found[typed.source.0] += 1,
            DecodeOutcome::Foreign => foreign += 1,
            DecodeOutcome::Malformed { reason, .. } => malformed.push(reason),
        }
    }
    assert_eq!((logs.len(), found, foreign, malformed), (291, [141, 2], 148, Vec::new()));
}
