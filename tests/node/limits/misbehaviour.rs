//! JSON-RPC that is none. Whatever comes back is a failure of the provider, read within bounds.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::response::Response;
use chainflume_core::domain::{BlockRange, LogFilter, TopicValues};
use chainflume_node::{ChainError, Node};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::script::{Script, block, error, hash, ok, result, status};

fn everything() -> LogFilter {
    LogFilter { addresses: None, topic0: None, values: TopicValues::default() }
}

async fn kind(node: &Node) -> &'static str {
    let range = BlockRange::new(10, 20).expect("in order");
    node.logs(&everything(), range).await.map_or_else(|error: ChainError| error.kind().as_str(), |_| "ok")
}

/// The kind of error that this body makes of a question for logs.
async fn kind_of(answer: impl Fn(Value) -> Response + Send + Sync + 'static) -> &'static str {
    let script = Script::serve(answer).await;
    kind(&script.node()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_is_an_error_of_its_kind() {
    let whole = |call: &Value| result(call, &json!([])).to_string();
    assert_eq!(kind_of(move |call| ok(whole(&call))).await, "ok");
    assert_eq!(kind_of(move |call| ok(whole(&call)[..20].to_owned())).await, "bad_answer");
    assert_eq!(kind_of(|_| ok("")).await, "bad_answer");
    assert_eq!(kind_of(|_| ok("<html><h1>Welcome</h1></html>")).await, "bad_answer");
    assert_eq!(kind_of(|_| ok(json!({ "id": "nobody", "result": [] }).to_string())).await, "bad_answer");
    assert_eq!(kind_of(|_| ok(json!({ "result": [] }).to_string())).await, "bad_answer");
    assert_eq!(kind_of(|call| ok(json!([result(&call, &json!([]))]).to_string())).await, "bad_answer");
    assert_eq!(kind_of(|call| ok(result(&call, &json!("0x")).to_string())).await, "bad_answer");
    assert_eq!(kind_of(|call| ok(result(&call, &Value::Null).to_string())).await, "bad_answer");
    assert_eq!(kind_of(|_| ok("1e999999")).await, "bad_answer");
    assert_eq!(kind_of(|_| ok("[".repeat(100_000))).await, "bad_answer");
    assert_eq!(kind_of(|_| ok(vec![0xff; 1000])).await, "bad_answer");
    // An answer under another status than 2xx is none either.
    assert_eq!(kind_of(move |call| status(502, whole(&call))).await, "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_are_understood_in_their_own_json() {
    assert_eq!(kind_of(|_| ok(json!({ "message": "API rate limit exceeded" }).to_string())).await, "rate");
    assert_eq!(kind_of(|_| ok(json!({ "error": "Too many requests" }).to_string())).await, "rate");
    let nested = json!({ "error": { "code": "-32000", "message": { "text": "block range too large" } } });
    assert_eq!(kind_of(move |_| ok(nested.to_string())).await, "range");
    assert_eq!(kind_of(|_| status(403, json!({ "error": "API key disabled" }).to_string())).await, "denied");
    assert_eq!(kind_of(|_| status(413, "eth_getLogs is limited to a 10,000 range")).await, "range");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let elsewhere = Arc::new(AtomicU64::new(0));
    let calls = elsewhere.clone();
    let other = Script::serve(move |call| {
        calls.fetch_add(1, Ordering::Relaxed);
        ok(result(&call, &json!([])).to_string())
    })
    .await;
    for code in [301, 302, 303, 307, 308] {
        let location = other.url.clone();
        let redirect = move |_| {
            let response = Response::builder().status(code).header("location", &location);
            response.body(Body::empty()).expect("a response")
        };
        assert_eq!(kind_of(redirect).await, "other");
    }
    assert_eq!(elsewhere.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_body_without_end_no_more_is_read_than_the_limit() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let endless = move |_| {
        let counted = counted.clone();
        let chunks = futures_util::stream::repeat_with(move || {
            counted.fetch_add(64 << 10, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 64 << 10]))
        });
        ok(Body::from_stream(chunks))
    };
    assert_eq!(kind_of(endless).await, "too_large");
    // What the sockets hold comes on top of the mebibyte.
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent < 32 << 20, "{sent} bytes were taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_announced_as_too_large_is_not_read_at_all() {
    let announced = |_| {
        let chunks = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let response = Response::builder().header("content-length", 200 << 20);
        response.body(Body::from_stream(chunks)).expect("a response")
    };
    assert_eq!(kind_of(announced).await, "too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gzip_bomb_is_counted_as_it_unfolds() {
    let bomb = gzipped_blanks(100 << 20);
    // Unless it is unfolded it is not too large.
    assert!(bomb.len() < 1 << 20, "{} bytes on the wire", bomb.len());
    let zipped = |bytes: Vec<u8>| {
        move |_| {
            let response = Response::builder().header("content-encoding", "gzip");
            response.body(Body::from(bytes.clone())).expect("a response")
        }
    };
    assert_eq!(kind_of(zipped(bomb)).await, "too_large");
    assert_eq!(kind_of(zipped(gzipped_blanks(1000))).await, "bad_answer");
    assert_eq!(kind_of(zipped(b"plain text".to_vec())).await, "bad_answer");
}

/// RFC 1952 around one RFC 1951 block of fixed codes: a blank, and then "the last byte, 258 times" again and again. The
/// checksum at its end is wrong.
fn gzipped_blanks(count: usize) -> Vec<u8> {
    let mut zipped = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let (mut bits, mut held) = (0_u32, 0);
    let mut push = |code: u32, len: u32, zipped: &mut Vec<u8>| {
        // Huffman codes begin with their highest bit.
        for at in (0..len).rev() {
            bits |= (code >> at & 1) << held;
            held += 1;
            if held == 8 {
                zipped.push(u8::try_from(bits).expect("eight bits"));
                (bits, held) = (0, 0);
            }
        }
    };
    push(0b110, 3, &mut zipped);
    push(0x30 + 0x20, 8, &mut zipped);
    for _ in 0..count / 258 {
        push(0b1100_0101, 8, &mut zipped);
        push(0, 5, &mut zipped);
    }
    push(0, 7, &mut zipped);
    push(0, 7, &mut zipped);
    zipped.extend([0; 8]);
    zipped
}

/// The blocks 5, 6 and 7 of a node that answers batches in this way and single calls well; the requests it got, by
/// the number of their calls.
async fn blocks_by(
    answer: impl Fn(&[Value]) -> Response + Send + Sync + 'static,
) -> (Vec<Option<u64>>, Vec<usize>, Option<u64>) {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = sizes.clone();
    let script = Script::serve(move |request| {
        let calls = request.as_array().cloned();
        seen.lock().expect("unpoisoned").push(calls.as_ref().map_or(1, Vec::len));
        match calls {
            Some(calls) => answer(&calls),
            None => ok(result(&request, &block(&request)).to_string()),
        }
    })
    .await;
    let node = script.node();
    let blocks = node.blocks(&[5, 6, 7]).await.expect("single calls are answered");
    for block in blocks.iter().flatten() {
        assert_eq!(block.hash, hash(block.number));
    }
    let numbers = blocks.iter().map(|block| block.map(|block| block.number)).collect();
    let sizes = sizes.lock().expect("unpoisoned").clone();
    (numbers, sizes, node.limits().batch)
}

fn all(calls: &[Value]) -> Vec<Value> {
    calls.iter().map(|call| result(call, &block(call))).collect()
}

fn list(answers: Vec<Value>) -> Response {
    ok(Value::from(answers).to_string())
}

const WANTED: [Option<u64>; 3] = [Some(5), Some(6), Some(7)];

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_a_batch_are_distinguished_by_their_ids() {
    let (blocks, requests, _) = blocks_by(|calls| list(all(calls))).await;
    assert_eq!((blocks.as_slice(), requests), (WANTED.as_slice(), vec![3]));
    let (blocks, requests, _) = blocks_by(|calls| list(all(calls).into_iter().rev().collect())).await;
    assert_eq!((blocks.as_slice(), requests), (WANTED.as_slice(), vec![3]));
    let (blocks, _, _) = blocks_by(|calls| {
        let mut answers = all(calls);
        answers[1] = error(&calls[1], -39001, "Unknown block");
        list(answers)
    })
    .await;
    assert_eq!(blocks, [Some(5), None, Some(7)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_not_answered_as_one_is_asked_call_by_call() {
    let ways: [fn(&[Value]) -> Response; 10] = [
        |calls| list(all(calls)[1..].to_vec()),
        |calls| list([&all(calls)[..1], &all(calls)[..2]].concat()),
        |calls| list(all(calls).into_iter().chain(all(calls)).collect()),
        |calls| {
            let mut answers = all(calls);
            answers[2]["id"] = json!("another");
            list(answers)
        },
        |calls| ok(all(calls)[0].to_string()),
        |calls| ok(Value::from(all(calls)).to_string()[..30].to_owned()),
        |_| ok("[]"),
        |_| ok(""),
        |_| ok("<html></html>"),
        |_| status(500, ""),
    ];
    for (way, answer) in ways.into_iter().enumerate() {
        let (blocks, requests, _) = blocks_by(answer).await;
        assert_eq!((blocks.as_slice(), requests), (WANTED.as_slice(), vec![3, 1, 1, 1]), "way {way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_batches_is_learnt() {
    let refuse = |message: &'static str| {
        move |calls: &[Value]| match calls.len() {
            0..=2 if message.contains('2') => list(all(calls)),
            _ => ok(error(&Value::Null, -32600, message).to_string()),
        }
    };
    let (blocks, requests, learnt) = blocks_by(refuse("batch requests are not supported")).await;
    assert_eq!((blocks.as_slice(), requests, learnt), (WANTED.as_slice(), vec![3, 1, 1, 1], Some(1)));
    let (blocks, requests, learnt) = blocks_by(refuse("batch limit 2 exceeded: 3 requests given")).await;
    assert_eq!((blocks.as_slice(), requests, learnt), (WANTED.as_slice(), vec![3, 2, 1], Some(2)));
}

/// An answer that was tampered with: bytes changed, removed or repeated.
fn tampered() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    proptest::collection::vec((any::<prop::sample::Index>(), 0..3u8, any::<u8>()), 1..6)
}

fn tamper(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    for (index, what, byte) in changes {
        let at = index.index(bytes.len().max(1));
        match what {
            0 if at < bytes.len() => bytes[at] = *byte,
            1 => bytes.truncate(at),
            _ => bytes.insert(at.min(bytes.len()), *byte),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_answer_panics_and_what_is_believed_was_asked_for(changes in tampered(), code in 200..600u16) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let code = if code % 3 == 0 { code } else { 200 };
            let script = Script::serve(move |call| {
                let log = json!({
                    "address": format!("0x{:040x}", 1), "topics": [], "data": "0x", "blockNumber": "0xf", "blockHash": hash(15),
                    "transactionHash": hash(1), "transactionIndex": "0x0", "logIndex": "0x0",
                });
                status(code, tamper(result(&call, &json!([log])).to_string().into_bytes(), &changes))
            })
            .await;
            let range = BlockRange::new(10, 20).expect("in order");
            let addresses = Some([alloy_primitives::Address::with_last_byte(1)].into());
            let filter = LogFilter { addresses, topic0: None, values: TopicValues::default() };
            for log in &script.node().logs(&filter, range).await.unwrap_or_default() {
                assert!(range.contains(log.place.block_number) && filter.admits(&log.address, None));
            }
        });
    }
}
