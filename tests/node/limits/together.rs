//! The header of a block near the head and its logs travel together, where the node takes that.

use std::sync::{Arc, Mutex};

use chainflume_core::domain::{B256, BlockId, LogFilter, TopicValues};
use chainflume_node::{Node, Pool};
use serde_json::{Value, json};

use super::script::{Script, block, error, hash, hex, ok, quantity, result};

const HEADER: &str = "eth_getBlockByNumber";
const LOGS: &str = "eth_getLogs";

/// A node whose head is block 7 and each of whose blocks has one log.
struct World {
    script: Script,
    /// The methods of each request.
    requests: Arc<Mutex<Vec<Vec<String>>>>,
    /// The hash of block 7, where it is another one by now.
    reorged: Arc<Mutex<Option<B256>>>,
}

impl World {
    async fn new(takes_batches: bool) -> Self {
        let (requests, reorged) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Option<B256>>>::default());
        let (seen, changed) = (requests.clone(), reorged.clone());
        let script = Script::serve(move |request| {
            let calls = request.as_array().cloned();
            let each = calls.clone().unwrap_or_else(|| vec![request.clone()]);
            let methods = each.iter().map(|call| call["method"].as_str().expect("a method").to_owned());
            seen.lock().expect("unpoisoned").push(methods.collect());
            let changed = *changed.lock().expect("unpoisoned");
            match calls {
                Some(_) if !takes_batches => {
                    ok(error(&Value::Null, -32600, "batch requests are not supported").to_string())
                }
                Some(calls) => {
                    ok(Value::from_iter(calls.iter().map(|call| answer(call, changed))).to_string())
                }
                None => ok(answer(&request, changed).to_string()),
            }
        })
        .await;
        Self { script, requests, reorged }
    }

    /// The blocks `numbers` as they are read near the head: each with the hash of its only log's block.
    async fn read(&self, pool: &Pool, numbers: &[u64]) -> Vec<(BlockId, B256)> {
        let (node, filter) =
            (pool.live(), LogFilter { addresses: None, topic0: None, values: TopicValues::default() });
        let mut read = Vec::new();
        for near in node.headers_with_logs(&filter, numbers).await.expect("the node answers") {
            let with_logs = pool.with_logs(&node, &filter, near).await.expect("the node answers");
            assert_eq!(with_logs.logs.len(), 1);
            read.push((with_logs.block.id(), with_logs.logs.iter().next().expect("one").block_hash));
        }
        read
    }

    fn pool(&self) -> Pool {
        Pool::new(&self.script.settings()).expect("a client")
    }

    /// What was asked since this was last called.
    fn asked(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.requests.lock().expect("unpoisoned"))
    }
}

fn answer(call: &Value, reorged: Option<B256>) -> Value {
    let hash_of = |number| reorged.filter(|_| number == 7).unwrap_or_else(|| hash(number));
    match call["method"].as_str().expect("a method") {
        "eth_chainId" => result(call, &json!("0x7a69")),
        LOGS => {
            let wanted = call["params"][0]["blockHash"].as_str().expect("asked by hash");
            match (0..=7).find(|number| hash_of(*number).to_string() == wanted) {
                Some(number) => result(call, &json!([log(number, hash_of(number))])),
                // As nodes do that break EIP-234: worse than a refusal.
                None => result(call, &json!([])),
            }
        }
        _ => {
            let latest = call["params"][0] == "latest";
            let asked = if latest { json!({ "params": [hex(7)] }) } else { call.clone() };
            let mut header = block(&asked);
            header["hash"] = json!(hash_of(quantity(&header["number"])));
            result(call, &header)
        }
    }
}

fn log(number: u64, hash: B256) -> Value {
    json!({
        "address": "0x00000000000000000000000000000000000000aa", "topics": [], "data": "0x", "blockNumber": hex(number),
        "blockHash": hash, "transactionHash": hash, "transactionIndex": "0x0", "logIndex": "0x0"
    })
}

fn id(number: u64) -> BlockId {
    BlockId { number, hash: hash(number) }
}

async fn head(node: &Node) {
    assert_eq!(node.head().await.expect("the node answers").number, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_block_comes_with_its_logs_in_one_request() {
    let world = World::new(true).await;
    let pool = world.pool();
    head(&pool.live()).await;
    world.asked();
    // By its own hash, and by the one the head named as its parent.
    assert_eq!(world.read(&pool, &[6, 7]).await, [(id(6), hash(6)), (id(7), hash(7))]);
    assert_eq!(world.asked(), [[HEADER, LOGS, HEADER, LOGS]]);
    // Of the one below nothing is known but what has just been read.
    assert_eq!(world.read(&pool, &[5]).await, [(id(5), hash(5))]);
    assert_eq!(world.asked(), [[HEADER, LOGS]]);
    assert_eq!(world.read(&pool, &[2]).await, [(id(2), hash(2))]);
    assert_eq!(world.asked(), [[HEADER], [LOGS]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_batches_is_noticed_and_asked_singly() {
    let world = World::new(false).await;
    let pool = world.pool();
    pool.live().check_chain().await.expect("the chain is right");
    head(&pool.live()).await;
    assert_eq!(world.asked().iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1, 1]);
    assert_eq!(pool.live().limits().batch, Some(1));
    assert_eq!(world.read(&pool, &[7]).await, [(id(7), hash(7))]);
    let mut asked = world.asked();
    asked.sort();
    assert_eq!(asked, [[HEADER], [LOGS]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_a_block_that_is_another_by_now_are_not_taken() {
    let world = World::new(true).await;
    let pool = world.pool();
    head(&pool.live()).await;
    let other = B256::repeat_byte(9);
    *world.reorged.lock().expect("unpoisoned") = Some(other);
    world.asked();
    assert_eq!(world.read(&pool, &[7]).await, [(BlockId { number: 7, hash: other }, other)]);
    assert_eq!(world.asked(), [vec![HEADER, LOGS], vec![LOGS]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_block_comes_with_the_head_where_its_hash_is_known() {
    for takes_batches in [true, false] {
        let world = World::new(takes_batches).await;
        let (pool, filter) =
            (world.pool(), LogFilter { addresses: None, topic0: None, values: TopicValues::default() });
        let node = pool.live();
        node.check_chain().await.expect("the chain is right");
        world.asked();
        let together = |methods: &[&str]| match takes_batches {
            true => vec![methods.iter().map(|method| (*method).to_owned()).collect()],
            false => methods.iter().map(|method| vec![(*method).to_owned()]).collect::<Vec<_>>(),
        };
        let asked = || {
            let mut asked = world.asked();
            asked.sort();
            asked
        };
        let read = async |announced, next| {
            let (head, near) = node.head_and_next(&filter, announced, next).await.expect("it answers");
            (head.id(), near)
        };
        // The head itself, and then the block below, whose hash the head named.
        for next in [7, 6] {
            let (head, near) = read(id(7), next).await;
            let near = near.expect("its hash was known");
            assert_eq!((head, near.block().id()), (id(7), id(next)));
            let wanted: &[&str] = if next == 7 { &[HEADER, LOGS] } else { &[HEADER, HEADER, LOGS] };
            assert_eq!(asked(), together(wanted));
            let with_logs = pool.with_logs(&node, &filter, near).await.expect("they are there");
            assert_eq!((with_logs.logs.len(), asked()), (1, vec![]));
        }
        // Of this one nothing is known.
        let (head, near) = read(id(7), 3).await;
        assert_eq!((head, near.is_none(), asked()), (id(7), true, vec![vec![HEADER.to_owned()]]));
        // The head is another one than was announced, or has become so.
        let (head, near) = read(BlockId { number: 7, hash: hash(6) }, 7).await;
        assert_eq!((head, near.is_none()), (id(7), true));
        let other = B256::repeat_byte(9);
        *world.reorged.lock().expect("unpoisoned") = Some(other);
        let (head, near) = read(id(7), 7).await;
        assert_eq!((head.hash, near.is_none()), (other, true));
    }
}
