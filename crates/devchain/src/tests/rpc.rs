use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, Bloom, U256};
use serde_json::{Value, json};

use super::client::{call, error, request, result, send};
use super::{chain, stake};
use crate::{DEMO_NFT, DEMO_TOKEN, DevChain, STAKE_VAULT, STAKED, Settings, TRANSFER, wallet};
use chainflume_core::domain::{BlockRange, Log};

const ANY: &str = "127.0.0.1:0";

/// Position and tx hash of every log in an answer.
fn places(logs: &Value) -> Vec<(u64, u64, String)> {
    let number = |log: &Value, name: &str| {
        u64::from_str_radix(log[name].as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap()
    };
    let place = |log: &Value| {
        let hash = log["transactionHash"].as_str().unwrap().to_owned();
        (number(log, "blockNumber"), number(log, "logIndex"), hash)
    };
    logs.as_array().unwrap().iter().map(place).collect()
}

fn expected(chain: &DevChain, from: u64, to: u64, admits: impl Fn(&Log) -> bool) -> Vec<(u64, u64, String)> {
    let logs = chain.canonical_logs(BlockRange::new(from, to).unwrap());
    let place = |log: Log| (log.place.block_number, log.place.log_index.into(), log.tx_hash.to_string());
    logs.into_iter().filter(admits).map(place).collect()
}

#[tokio::test]
async fn the_node_reports_its_version_and_chain() {
    let chain = chain(31);
    let server = chain.serve(ANY).await.unwrap();
    assert_eq!(result(&server, "eth_chainId", json!([])).await, "0x7a69");
    assert_eq!(result(&server, "net_version", json!([])).await, "31337");
    assert_eq!(result(&server, "eth_blockNumber", json!([])).await, "0x1f");
    assert_eq!(result(&server, "eth_syncing", json!([])).await, false);
    assert_eq!(result(&server, "eth_getCode", json!([wallet(1), "latest"])).await, "0x");
    for contract in [STAKE_VAULT, DEMO_TOKEN, DEMO_NFT] {
        assert_eq!(result(&server, "eth_getCode", json!([contract, "latest"])).await, "0x60806040");
    }
    assert_eq!(chain.calls("eth_getCode"), 4);
    let page = send(&server, "GET", "").await.unwrap();
    assert_eq!(page.status, 200);
    assert!(page.body.starts_with("This is a Chainflume development chain"));
}

#[tokio::test]
async fn a_block_comes_by_number_tag_and_hash_with_its_bloom() {
    let chain = DevChain::new(Settings { history: 40, finalized_depth: Some(10), ..Settings::default() });
    let server = chain.serve(ANY).await.unwrap();
    for (tag, number) in
        [("0x7", 7), ("earliest", 0), ("latest", 40), ("pending", 40), ("safe", 35), ("finalized", 30)]
    {
        let block = result(&server, "eth_getBlockByNumber", json!([tag, false])).await;
        let link = chain.block(number).unwrap();
        assert_eq!(block["hash"], json!(link.hash));
        assert_eq!(block["parentHash"], json!(link.parent_hash));
        assert_eq!(block["number"], format!("{number:#x}"));
        assert_eq!(block["timestamp"], format!("{:#x}", link.timestamp));
        assert_eq!(result(&server, "eth_getBlockByHash", json!([link.hash, false])).await, block);
        let mut bloom = Bloom::default();
        for log in chain.canonical_logs(BlockRange::single(number)) {
            bloom.accrue_raw_log(log.address, log.topics.as_slice());
        }
        assert_eq!(block["logsBloom"], json!(bloom));
        let hashes: Vec<_> = chain.transactions(number).iter().map(|tx| tx.hash()).collect();
        assert_eq!(block["transactions"], json!(hashes));
        let whole = result(&server, "eth_getBlockByNumber", json!([tag, true])).await;
        let whole: Vec<_> = whole["transactions"].as_array().unwrap().iter().map(|tx| &tx["hash"]).collect();
        assert_eq!(json!(whole), json!(hashes));
    }
    assert_eq!(result(&server, "eth_getBlockByNumber", json!(["0x29", false])).await, Value::Null);
    assert_eq!(result(&server, "eth_getBlockByHash", json!([B256::ZERO, false])).await, Value::Null);
}

#[tokio::test]
async fn a_node_without_finality_refuses_its_tags() {
    let server = chain(3).serve(ANY).await.unwrap();
    for tag in ["safe", "finalized"] {
        let refused = error(&server, "eth_getBlockByNumber", json!([tag, false])).await;
        assert_eq!(refused, (-32000, format!("{tag} block not found")));
    }
}

#[tokio::test]
async fn receipts_hold_the_logs_of_their_block() {
    let chain = chain(30);
    let server = chain.serve(ANY).await.unwrap();
    for number in 0..=30u64 {
        let receipts = result(&server, "eth_getBlockReceipts", json!([format!("{number:#x}")])).await;
        let hash = chain.block(number).unwrap().hash;
        assert_eq!(result(&server, "eth_getBlockReceipts", json!([hash])).await, receipts);
        let receipts = receipts.as_array().unwrap();
        let logs: Vec<Value> = receipts.iter().flat_map(|r| r["logs"].as_array().unwrap().clone()).collect();
        let asked = result(&server, "eth_getLogs", json!([{ "blockHash": hash }])).await;
        assert_eq!(Value::from(logs), asked);
        for (index, receipt) in receipts.iter().enumerate() {
            let tx = chain.transactions(number)[index].hash();
            assert_eq!(receipt["transactionIndex"], format!("{index:#x}"));
            assert_eq!(&result(&server, "eth_getTransactionReceipt", json!([tx])).await, receipt);
            assert_eq!(
                result(&server, "eth_getTransactionByHash", json!([tx])).await["blockHash"],
                json!(hash)
            );
        }
    }
    assert_eq!(result(&server, "eth_getTransactionReceipt", json!([B256::ZERO])).await, Value::Null);
}

#[tokio::test]
async fn a_filter_answers_what_brute_force_finds() {
    let chain = chain(150);
    let server = chain.serve(ANY).await.unwrap();
    let who = wallet(3).into_word();
    let topic = |log: &Log, i: usize| log.topics.as_slice().get(i).copied();
    type Admits = Box<dyn Fn(&Log) -> bool>;
    let cases: Vec<(Value, Admits)> = vec![
        (json!({}), Box::new(|_| true)),
        (json!({ "address": null, "topics": null }), Box::new(|_| true)),
        (json!({ "address": [], "topics": [] }), Box::new(|_| true)),
        (json!({ "address": DEMO_TOKEN }), Box::new(|log| log.address == DEMO_TOKEN)),
        (json!({ "address": [DEMO_NFT, STAKE_VAULT] }), Box::new(|log| log.address != DEMO_TOKEN)),
        (json!({ "topics": [STAKED] }), Box::new(move |log| topic(log, 0) == Some(STAKED))),
        (
            json!({ "topics": [[STAKED, TRANSFER]] }),
            Box::new(move |log| [Some(STAKED), Some(TRANSFER)].contains(&topic(log, 0))),
        ),
        (json!({ "topics": [null, who] }), Box::new(move |log| topic(log, 1) == Some(who))),
        (
            json!({ "topics": [TRANSFER, [], [who, Address::ZERO.into_word()]], "address": DEMO_TOKEN }),
            Box::new(move |log| {
                let to = topic(log, 2);
                topic(log, 0) == Some(TRANSFER)
                    && log.address == DEMO_TOKEN
                    && (to == Some(who) || to == Some(B256::ZERO))
            }),
        ),
        (json!({ "topics": [null, null, null, null] }), Box::new(move |log| topic(log, 3).is_some())),
        (json!({ "topics": [[null, STAKED]] }), Box::new(move |log| topic(log, 0).is_some())),
    ];
    for (mut filter, admits) in cases {
        filter["fromBlock"] = json!("0xa");
        filter["toBlock"] = json!("0x8c");
        let answer = result(&server, "eth_getLogs", json!([filter.clone()])).await;
        let wanted = expected(&chain, 10, 140, admits);
        assert!(!wanted.is_empty(), "{filter}");
        assert_eq!(places(&answer), wanted, "{filter}");
    }
}

#[tokio::test]
async fn bad_filters_and_unknown_blocks_are_errors() {
    let chain = chain(20);
    let orphan = chain.head().hash;
    chain.reorg(1, 1);
    let server = chain.serve(ANY).await.unwrap();
    let cases = [
        (json!([{ "blockHash": orphan }]), -32000, "unknown block"),
        (json!([{ "blockHash": B256::ZERO }]), -32000, "unknown block"),
        (json!([{ "fromBlock": "0x5", "toBlock": "0x4" }]), -32000, "invalid block range params"),
        (json!([{ "topics": [null, null, null, null, null] }]), -32602, "exceed max topics"),
        (json!([]), -32602, "missing value for required argument 0"),
        (json!([{ "fromBlock": "0x01" }]), -32602, "invalid argument 0: hex number with leading zero digits"),
    ];
    for (params, code, message) in cases {
        assert_eq!(error(&server, "eth_getLogs", params).await, (code, message.to_owned()));
    }
    let both = json!([{ "blockHash": orphan, "fromBlock": "0x1" }]);
    assert_eq!(error(&server, "eth_getLogs", both).await.0, -32602);
    assert_eq!(error(&server, "eth_getLogs", json!([{ "address": "0x12" }])).await.0, -32602);
}

#[tokio::test]
async fn a_log_has_its_block_time_only_where_the_node_adds_it() {
    for timed in [false, true] {
        let settings = Settings { block_timestamp_in_logs: timed, ..Settings::default() };
        let chain = DevChain::new(settings);
        let head = chain.mine_with(vec![vec![stake(1, 0x1234)]]);
        let server = chain.serve(ANY).await.unwrap();
        let mut wanted = json!([{
            "address": STAKE_VAULT, "topics": [STAKED, wallet(1).into_word()],
            "data": B256::from(U256::from(0x1234)), "blockNumber": "0x1", "blockHash": head.hash,
            "transactionHash": chain.transactions(1)[0].hash(), "transactionIndex": "0x0",
            "logIndex": "0x0", "removed": false,
        }]);
        if timed {
            wanted[0]["blockTimestamp"] = json!(format!("{:#x}", head.timestamp));
        }
        assert_eq!(result(&server, "eth_getLogs", json!([{}])).await, wanted);
    }
}

#[tokio::test]
async fn batches_are_answered_in_order_and_nonsense_by_code() {
    let chain = chain(2);
    let server = chain.serve(ANY).await.unwrap();
    let batch = json!([
        request("eth_chainId", &json!([])),
        { "jsonrpc": "2.0", "id": "b", "method": "eth_nothing" },
        { "jsonrpc": "2.0", "method": "eth_chainId" },
        5,
    ]);
    let answer = send(&server, "POST", &batch.to_string()).await.unwrap().json();
    let missing = "the method eth_nothing does not exist/is not available";
    assert_eq!(
        answer,
        json!([
            { "jsonrpc": "2.0", "id": 7, "result": "0x7a69" },
            { "jsonrpc": "2.0", "id": "b", "error": { "code": -32601, "message": missing } },
            { "jsonrpc": "2.0", "id": null, "error": { "code": -32600, "message": "invalid request" } },
        ])
    );
    for (body, code) in [("{", -32700), ("[]", -32600), ("{}", -32600), ("7", -32600)] {
        let answer = send(&server, "POST", body).await.unwrap();
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (200, &json!(code)), "{body}");
    }
    assert_eq!(error(&server, "eth_subscribe", json!(["newHeads"])).await.0, -32601);
}

#[tokio::test]
async fn a_port_can_be_served_again_and_many_chains_at_once() {
    let first = chain(1);
    let server = first.serve(ANY).await.unwrap();
    let address = server.address().to_string();
    assert!(first.serve(&address).await.unwrap_err().to_string().contains(&address));
    server.stop().await;
    assert!(tokio::net::TcpStream::connect(&address).await.is_err());
    first.mine(1);
    let server = first.serve(&address).await.unwrap();
    assert_eq!(call(&server, "eth_blockNumber", json!([])).await["result"], "0x2");

    let mut seen = BTreeSet::new();
    let mut servers = Vec::new();
    for seed in 0..24 {
        let settings = Settings { seed, history: 5, ..Settings::default() };
        servers.push(DevChain::new(settings).serve(ANY).await.unwrap());
    }
    for server in &servers {
        seen.insert(
            result(server, "eth_getBlockByNumber", json!(["latest", false])).await["hash"].to_string(),
        );
    }
    assert_eq!(seen.len(), 24);
}
