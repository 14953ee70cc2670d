//! More addresses than a node takes in a question.

use std::collections::BTreeSet;

use chainflume_core::domain::{Address, BlockRange, Log, LogFilter, TopicValues};
use chainflume_devchain::{Cap, DEMO_TOKEN, DevChain, Effect, RpcError, Rule, TRANSFER};
use chainflume_node::Node;

use super::script::settings;
use crate::flume::devchain;

const LOGS: &str = "eth_getLogs";

/// 9,999 contracts without a log, and one with logs.
fn filter() -> LogFilter {
    let silent = (1..10_000_u64).map(|n| Address::left_padding_from(&n.to_be_bytes()));
    let addresses: BTreeSet<Address> = silent.chain([DEMO_TOKEN]).collect();
    let topic0 = Some([TRANSFER].into());
    LogFilter { addresses: Some(addresses), topic0, values: TopicValues::default() }
}

/// Reads blocks by hash, compares them with the chain, and returns the questions a block.
async fn read(node: &Node, chain: &DevChain, blocks: std::ops::RangeInclusive<u64>) -> f64 {
    let (filter, before) = (filter(), chain.calls(LOGS));
    let count = blocks.clone().count();
    let mut found = 0;
    for number in blocks {
        let block = chain.block(number).expect("it is mined");
        let logs = node.with_logs(&filter, block).await.expect("the node answers").logs;
        let ours = |log: &Log| filter.admits(&log.address, log.topics.as_slice().first());
        let all = chain.canonical_logs(BlockRange::new(number, number).expect("in order"));
        let timeless = |log: Log| Log { block_timestamp: None, ..log };
        let expected: Vec<Log> = all.into_iter().filter(ours).map(timeless).collect();
        assert_eq!(logs.iter().map(timeless).collect::<Vec<_>>(), expected, "block {number}");
        found += expected.len();
    }
    assert!(found > 0, "no block has a log of ours");
    (chain.calls(LOGS) - before) as f64 / count as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_addresses_are_one_question_a_block() {
    let (chain, server) = devchain(11, 80).await;
    let settings = settings(&server.http_url());
    let node = Node::new(&settings, &settings.providers[0]).expect("a client");
    chain.faults().set(|node| node.max_addresses = Some(Cap::addresses(700)));
    read(&node, &chain, 1..=10).await;
    let by_topics = read(&node, &chain, 11..=30).await;
    // A node that refuses it is asked in parts, and is not tried with each block.
    let all = |params: &serde_json::Value| params[0]["address"].is_null();
    let refusal = RpcError::new(-32005, "query returned more than 10000 results");
    let refused = chain.faults().add(Rule::on(LOGS, Effect::Error(refusal)).asking(all));
    let in_parts = read(&node, &chain, 31..=50).await;
    println!("10,000 addresses: {by_topics} questions a block by topics, {in_parts} in parts");
    assert_eq!(refused.fired(), 1);
    assert!((by_topics - 1.0).abs() < f64::EPSILON, "{by_topics}");
    assert!(in_parts > 16.0, "{in_parts}");
}
