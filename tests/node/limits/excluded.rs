//! Blocks whose header proves that they have no log of ours need no question for logs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use alloy_primitives::{Bloom, U256};
use chainflume_core::domain::{Address, B256, BlockId, HeaderField, LogFilter, TopicValues, header_hash};
use chainflume_node::{Node, Pool};
use serde_json::{Value, json};

use super::script::{Script, error, hex, ok, quantity, result};

const LOGS: &str = "eth_getLogs";
const OURS: Address = Address::repeat_byte(0xaa);
const OTHER: Address = Address::repeat_byte(0xbb);
/// Blocks with a log of ours are the multiples of this number.
const EVERY: u64 = 50;

/// How the chain or its node is odd from some block on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Odd {
    Nothing,
    /// The chain puts no log of ours into blooms, and each block has one.
    Chain(u64),
    /// The node returns empty blooms, which are not those of the hashes, and each block has a log of ours.
    Node(u64),
}

/// A chain of blocks that each have a log of another contract, with headers as Ethereum's.
struct World {
    _script: Script,
    pool: Pool,
    headers: Vec<Value>,
    head: Arc<AtomicU64>,
    calls: Arc<Mutex<Vec<Value>>>,
    odd: Odd,
}

fn emitters(number: u64, odd: Odd) -> Vec<Address> {
    match odd {
        Odd::Chain(from) if number >= from => vec![OTHER, OURS],
        Odd::Node(from) if number >= from => vec![OURS],
        // Alone, so that the bloom speaks of nothing else.
        _ if number > 0 && number.is_multiple_of(EVERY) => vec![OURS],
        _ => vec![OTHER],
    }
}

fn header(number: u64, parent: B256, odd: Odd) -> Value {
    let mut bloom = Bloom::ZERO;
    for emitter in emitters(number, odd) {
        if !matches!(odd, Odd::Chain(from) if number >= from && emitter == OURS) {
            bloom.accrue_raw_log(emitter, &[]);
        }
    }
    let word = |byte: u8| B256::repeat_byte(byte);
    let bytes = |bytes: &[u8]| HeaderField::Bytes(bytes.to_vec());
    let count = |count: u64| HeaderField::Number(U256::from(count));
    let fields = [
        bytes(parent.as_slice()),
        bytes(word(1).as_slice()),
        bytes(Address::repeat_byte(2).as_slice()),
        bytes(word(3).as_slice()),
        bytes(word(4).as_slice()),
        bytes(word(5).as_slice()),
        bytes(bloom.as_slice()),
        count(0),
        count(number),
        count(30_000_000),
        count(21_000),
        count(1_700_000_000 + number),
        bytes(&[]),
        bytes(word(6).as_slice()),
        bytes(&[0; 8]),
        count(7),
    ];
    let shown = if matches!(odd, Odd::Node(from) if number >= from) { Bloom::ZERO } else { bloom };
    json!({
        "hash": header_hash(&fields), "parentHash": parent, "sha3Uncles": word(1), "miner": Address::repeat_byte(2),
        "stateRoot": word(3), "transactionsRoot": word(4), "receiptsRoot": word(5), "logsBloom": shown,
        "difficulty": "0x0", "number": hex(number), "gasLimit": hex(30_000_000), "gasUsed": hex(21_000),
        "timestamp": hex(1_700_000_000 + number), "extraData": "0x", "mixHash": word(6), "nonce": "0x0000000000000000",
        "baseFeePerGas": "0x7"
    })
}

fn place(number: u64) -> usize {
    usize::try_from(number).expect("it fits")
}

fn hash(header: &Value) -> B256 {
    serde_json::from_value(header["hash"].clone()).expect("a hash")
}

fn answer(call: &Value, headers: &[Value], (head, odd): (u64, Odd)) -> Value {
    if call["method"] == "eth_getBlockByNumber" {
        let named = &call["params"][0];
        let number = if named == "latest" { head } else { quantity(named) };
        return result(call, headers.get(place(number)).unwrap_or(&Value::Null));
    }
    if call["method"] != LOGS {
        return error(call, -32601, "the method is not available");
    }
    let filter = &call["params"][0];
    let number = headers.iter().position(|header| header["hash"] == filter["blockHash"]).expect("its block");
    let wanted = |emitter: &Address| filter["address"].is_null() || filter["address"] == json!([emitter]);
    let log = |(index, emitter): (u64, Address)| {
        json!({
            "address": emitter, "topics": [], "data": "0x", "blockNumber": hex(number as u64),
            "blockHash": filter["blockHash"], "transactionHash": filter["blockHash"], "transactionIndex": "0x0",
            "logIndex": hex(index)
        })
    };
    let logs = (0..).zip(emitters(number as u64, odd)).filter(|(_, emitter)| wanted(emitter));
    result(call, &Value::from_iter(logs.map(log)))
}

impl World {
    async fn new(odd: Odd) -> Self {
        let (mut headers, mut parent) = (Vec::new(), B256::ZERO);
        for number in 0..=400 {
            let header = header(number, parent, odd);
            parent = hash(&header);
            headers.push(header);
        }
        let (head, calls) = (Arc::new(AtomicU64::new(0)), Arc::<Mutex<Vec<Value>>>::default());
        let (served, at, seen) = (headers.clone(), head.clone(), calls.clone());
        let script = Script::serve(move |request| {
            let one = |call: &Value| {
                seen.lock().expect("unpoisoned").push(call.clone());
                answer(call, &served, (at.load(Ordering::Relaxed), odd))
            };
            match request.as_array() {
                Some(calls) => ok(Value::from_iter(calls.iter().map(one)).to_string()),
                None => ok(one(&request).to_string()),
            }
        })
        .await;
        let pool = Pool::new(&script.settings()).expect("a client");
        Self { _script: script, pool, headers, head, calls, odd }
    }

    /// Reads block `number` when it is announced, as the loop does. Returns how many logs of ours it has.
    async fn read(&self, number: u64) -> Result<usize, String> {
        self.head.store(number, Ordering::Relaxed);
        let filter =
            LogFilter { addresses: Some([OURS].into()), topic0: None, values: TopicValues::default() };
        let announced = BlockId { number, hash: hash(&self.headers[place(number)]) };
        let node: Arc<Node> = self.pool.live();
        let (head, near) =
            node.head_and_next(&filter, announced, number).await.map_err(|error| error.to_string())?;
        assert_eq!(head.id(), announced);
        let near = near.expect("its hash was announced");
        let read = self.pool.with_logs(&node, &filter, near).await.map_err(|error| error.to_string())?;
        assert!(read.logs.iter().all(|log| log.address == OURS));
        Ok(read.logs.len())
    }

    /// Whether block `number` has a log of ours.
    fn has_ours(&self, number: u64) -> bool {
        emitters(number, self.odd).contains(&OURS)
    }

    /// Calls since this was last called: for logs, and all.
    fn calls(&self) -> (usize, usize) {
        let calls = std::mem::take(&mut *self.calls.lock().expect("unpoisoned"));
        (calls.iter().filter(|call| call["method"] == LOGS).count(), calls.len())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_without_ours_need_no_question_for_logs() {
    let world = World::new(Odd::Nothing).await;
    for number in 1..=400 {
        assert_eq!(world.read(number).await, Ok(usize::from(world.has_ours(number))), "block {number}");
    }
    let (logs, all) = world.calls();
    println!("400 blocks, {} with logs of ours: {logs} questions for logs, {all} calls", 400 / EVERY);
    assert!((8..=32).contains(&logs), "{logs} questions for logs");
    assert_eq!(all, 400 + logs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_leaves_logs_out_of_its_blooms_is_found_out() {
    let world = World::new(Odd::Chain(200)).await;
    for number in 1..200 {
        world.read(number).await.expect("it is honest");
    }
    let mut found = None;
    for number in 200..=400 {
        world.calls();
        // What the bloom leaves out is refused until the check is given up.
        let read = world.read(number).await;
        if read != Ok(0) {
            found.get_or_insert(number);
            assert!(world.calls().0 >= 1, "block {number} was not asked for");
        } else {
            assert_eq!(found, None, "block {number} was taken for empty");
        }
    }
    assert!(found.is_some_and(|found| found < 264), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bloom_that_is_not_of_the_block_hash_saves_no_question() {
    let world = World::new(Odd::Node(200)).await;
    for number in 1..200 {
        world.read(number).await.expect("it is honest");
    }
    world.calls();
    for number in 200..=300 {
        assert_ne!(world.read(number).await, Ok(0), "block {number} was taken for empty");
        assert!(world.calls().0 >= 1, "block {number} was not asked for");
    }
}
