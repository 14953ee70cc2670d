//! Providers with limits of every kind at once: every log comes exactly once, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{Address, B256};
use axum::response::Response;
use chainflume_core::domain::{BlockRange, LogFilter, Place, TopicValues};
use chainflume_node::{HistoryReader, HistoryRequest, ReadDepths};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::script::{Script, block, error, hash, hex, ok, quantity, result, status};

/// Blocks of the chain.
const BLOCKS: u64 = 12_000;
/// Contracts that have logs in it.
const CONTRACTS: u8 = 5;

/// A provider drawn from a seed.
#[derive(Clone, Copy, Debug)]
struct Provider {
    cap: u64,
    exclusive: bool,
    words: u64,
    logs: u64,
    addresses: usize,
    receipts: bool,
    batch: usize,
    fails_every: u64,
}

impl Provider {
    fn new(seed: u64) -> Self {
        let draw = |salt: u64, below: u64| mix(seed.wrapping_mul(1_000_003) ^ salt) % below;
        Self {
            cap: [40, 100, 500, 800, 1024, 2000, 3000, 10_000, 100_000]
                [usize::try_from(draw(1, 9)).expect("small")],
            exclusive: draw(2, 2) == 0,
            words: draw(3, 6),
            logs: [2, 30, 100, 400, 100_000][usize::try_from(draw(4, 5)).expect("small")],
            addresses: [1, 2, 100][usize::try_from(draw(5, 3)).expect("small")],
            receipts: draw(6, 2) == 0,
            batch: [1, 3, 100][usize::try_from(draw(7, 3)).expect("small")],
            fails_every: [20, 50, u64::MAX][usize::try_from(draw(8, 3)).expect("small")],
        }
    }

    fn answer(&self, call: &Value) -> Value {
        match call["method"].as_str().expect("a method") {
            "eth_getBlockByNumber" => {
                let (mut block, number) = (block(call), quantity(&call["params"][0]));
                block["transactions"] =
                    transactions(number).map(|tx| json!(place_hash(number, tx))).collect();
                result(call, &block)
            }
            "eth_getLogs" => self.logs(call),
            "eth_getBlockReceipts" if self.receipts => {
                let number = quantity(&call["params"][0]);
                let receipts = transactions(number).map(|tx| receipt(number, tx));
                result(call, &receipts.collect())
            }
            "eth_getTransactionReceipt" => {
                let wanted: B256 = serde_json::from_value(call["params"][0].clone()).expect("a hash");
                let number = u64::from_be_bytes(wanted[..8].try_into().expect("eight bytes"));
                let tx = u64::from_be_bytes(wanted[8..16].try_into().expect("eight bytes"));
                result(call, &receipt(number, tx))
            }
            method => error(call, -32601, &format!("the method {method} does not exist/is not available")),
        }
    }

    fn logs(&self, call: &Value) -> Value {
        let filter = &call["params"][0];
        let (from, to) = (quantity(&filter["fromBlock"]), quantity(&filter["toBlock"]));
        let addresses: Vec<Address> = serde_json::from_value(filter["address"].clone()).expect("addresses");
        let width = to - from + u64::from(!self.exclusive);
        if addresses.len() > self.addresses {
            return error(call, -32602, "exceed max addresses or topics per search position");
        }
        if width > self.cap {
            let cap = self.cap;
            return match self.words {
                0 => error(call, -32000, "block range is too wide"),
                1 => error(call, -32614, &format!("eth_getLogs is limited to a {cap} range")),
                2 => error(
                    call,
                    -32000,
                    &format!("block range too large ({width}), maximum allowed is {cap} blocks"),
                ),
                3 => error(
                    call,
                    -32602,
                    &format!("query exceeds the range allowed for your plan ({width} > {})", cap + 1),
                ),
                4 => error(
                    call,
                    -32600,
                    &format!(
                        "block range limit: this block range should work: [{}, {}]",
                        hex(from),
                        hex(from + cap - 1)
                    ),
                ),
                _ => error(call, -32011, "no backend is currently healthy to serve traffic"),
            };
        }
        let found: Vec<Value> = (from..=to)
            .flat_map(block_logs)
            .filter(|(_, address, _)| addresses.contains(address))
            .map(|(_, _, log)| log)
            .collect();
        if found.len() as u64 > self.logs {
            return error(call, -32005, &format!("query returned more than {} results", self.logs));
        }
        result(call, &found.into())
    }
}

/// SplitMix64.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Sparse, but for a dense stretch, and one block that is fuller than most limits.
fn transactions(number: u64) -> std::ops::Range<u64> {
    0..match number {
        7000 => 50,
        3000..3100 => 3,
        _ => u64::from(mix(number).is_multiple_of(40)),
    }
}

fn place_hash(number: u64, tx: u64) -> B256 {
    let mut hash = B256::ZERO;
    hash[..8].copy_from_slice(&number.to_be_bytes());
    hash[8..16].copy_from_slice(&tx.to_be_bytes());
    hash
}

/// Each with its place and its contract.
fn block_logs(number: u64) -> impl Iterator<Item = (Place, Address, Value)> {
    transactions(number).map(move |tx| {
        let contract = u8::try_from(mix(number ^ tx) % u64::from(CONTRACTS)).expect("below");
        let address = Address::with_last_byte(contract + 1);
        let index = u32::try_from(tx).expect("small");
        let log = json!({
            "address": address, "topics": [B256::repeat_byte(1)], "data": "0x", "blockNumber": hex(number),
            "blockHash": hash(number), "transactionHash": place_hash(number, tx), "transactionIndex": hex(tx), "logIndex": hex(tx),
        });
        (Place { block_number: number, tx_index: index, log_index: index }, address, log)
    })
}

fn receipt(number: u64, tx: u64) -> Value {
    let logs: Vec<Value> =
        block_logs(number).skip(usize::try_from(tx).expect("small")).take(1).map(|(_, _, log)| log).collect();
    json!({ "blockHash": hash(number), "transactionHash": place_hash(number, tx), "logs": logs })
}

/// Reads the whole chain from a provider: the places of its logs in the order they came, and the refused calls.
async fn read(provider: Provider) -> (Vec<Place>, u64, u64) {
    let (calls, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (counted, refusals) = (calls.clone(), refused.clone());
    let script = Script::serve(move |request: Value| -> Response {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        if call % provider.fails_every == provider.fails_every - 1 {
            return status(502, "bad gateway");
        }
        let Some(batch) = request.as_array() else {
            let answer = provider.answer(&request);
            refusals.fetch_add(u64::from(answer["error"].is_object()), Ordering::Relaxed);
            let unhealthy = answer["error"]["code"] == -32011;
            return status(if unhealthy { 503 } else { 200 }, answer.to_string());
        };
        if batch.len() > provider.batch {
            return ok(error(&Value::Null, -32600, "batch too large").to_string());
        }
        let answers: Vec<Value> = batch.iter().rev().map(|call| provider.answer(call)).collect();
        ok(Value::from(answers).to_string())
    })
    .await;
    let node = Arc::new(script.node());
    let addresses = (1..=CONTRACTS).map(Address::with_last_byte).collect();
    let filter = LogFilter {
        addresses: Some(addresses),
        topic0: Some([B256::repeat_byte(1)].into()),
        values: TopicValues::default(),
    };
    let range = BlockRange::new(0, BLOCKS - 1).expect("in order");
    let quiet = Arc::new(|_: BlockRange, _: &chainflume_node::ChainError| {});
    let settings = script.settings().history;
    let depths = ReadDepths { final_number: BLOCKS, aged: BLOCKS };
    let mut history =
        HistoryReader::new(node, "dev", settings, HistoryRequest { filter, range, depths }, quiet);
    let (mut places, mut next) = (Vec::new(), 0);
    while let Some(batch) = history.next().await {
        assert_eq!(batch.range.from(), next, "{provider:?}");
        next = batch.range.to() + 1;
        places.extend(batch.logs.iter().map(|log| log.place));
    }
    assert_eq!(next, BLOCKS, "{provider:?}");
    (places, calls.load(Ordering::Relaxed), refused.load(Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_provider_allows_every_log_comes_once_and_in_order() {
    let wanted: Vec<Place> = (0..BLOCKS).flat_map(block_logs).map(|(place, _, _)| place).collect();
    assert!(wanted.len() > 500, "{} logs", wanted.len());
    let read = |seed| async move {
        let provider = Provider::new(seed);
        let reading = tokio::time::timeout(std::time::Duration::from_secs(120), read(provider));
        let (places, calls, refused) = reading.await.unwrap_or_else(|_| panic!("never ends: {provider:?}"));
        (provider, places, calls, refused)
    };
    for (provider, places, calls, refused) in join_all((0..24).map(read)).await {
        assert!(places == wanted, "{provider:?}: {} logs, not {}", places.len(), wanted.len());
        println!("{refused:>4} of {calls:>5} refused: {provider:?}");
    }
}
