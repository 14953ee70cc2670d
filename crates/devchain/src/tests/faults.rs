use std::time::{Duration, Instant};

use alloy_primitives::Address;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::chain;
use super::client::{call, error, post, request, result, send};
use crate::{
    BeyondHead, Cap, DEMO_TOKEN, DevChain, Effect, Lie, Request, RpcError, Rule, Server, Transport, Wire,
};
use chainflume_core::domain::BlockRange;

const NUMBER: &str = "eth_blockNumber";
const BLOCK: &str = "eth_getBlockByNumber";
const LOGS: &str = "eth_getLogs";

async fn served(history: u64) -> (DevChain, Server) {
    let chain = chain(history);
    let server = chain.serve("127.0.0.1:0").await.unwrap();
    (chain, server)
}

async fn logs(server: &Server, from: u64, to: u64) -> Vec<Value> {
    let filter = json!([{ "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}") }]);
    result(server, LOGS, filter).await.as_array().unwrap().clone()
}

#[tokio::test]
async fn a_rule_hits_its_method_the_set_number_of_times() {
    let (chain, server) = served(1).await;
    let refusal = RpcError { data: Some(json!({ "limit": 3 })), ..RpcError::new(-32005, "slow down") };
    let rule = Rule::on(NUMBER, Effect::Error(refusal)).after(1).times(2);
    let fault = chain.faults().add(rule);
    let ok = json!({ "jsonrpc": "2.0", "id": 7, "result": "0x1" });
    let bad = json!({ "jsonrpc": "2.0", "id": 7,
        "error": { "code": -32005, "message": "slow down", "data": { "limit": 3 } } });
    for wanted in [&ok, &bad, &bad, &ok] {
        assert_eq!(&call(&server, NUMBER, json!([])).await, wanted);
        assert_eq!(call(&server, "eth_chainId", json!([])).await["result"], "0x7a69");
    }
    assert_eq!((fault.fired(), chain.calls(NUMBER)), (2, 4));
    let fault = chain.faults().add(Rule::any(Effect::Null).over(Transport::Ws));
    assert_eq!(call(&server, NUMBER, json!([])).await, ok);
    assert_eq!(fault.fired(), 0);
    fault.lift();
    let fault = chain.faults().add(Rule::any(Effect::Null));
    assert_eq!(call(&server, NUMBER, json!([])).await["result"], Value::Null);
    fault.lift();
    chain.faults().add(Rule::any(Effect::WrongId).times(1));
    assert_ne!(call(&server, NUMBER, json!([])).await["id"], 7);
    assert_eq!(call(&server, NUMBER, json!([])).await, ok);
}

#[tokio::test]
async fn an_answer_held_back_by_its_parameters_is_true_when_released() {
    let (chain, server) = served(1).await;
    let release = CancellationToken::new();
    let rule = Rule::on(BLOCK, Effect::Until(release.clone())).asking(|params| params[0] == "latest");
    let fault = chain.faults().add(rule);
    let held = call(&server, BLOCK, json!(["latest", false]));
    let free = async {
        assert_eq!(call(&server, BLOCK, json!(["0x1", false])).await["result"]["number"], "0x1");
        while fault.fired() == 0 {
            tokio::task::yield_now().await;
        }
        chain.mine(1);
        release.cancel();
    };
    let (held, ()) = tokio::join!(held, free);
    assert_eq!(held["result"]["number"], "0x2");
}

#[tokio::test]
async fn answers_break_on_the_wire_in_every_way() {
    let (chain, server) = served(1).await;
    let next = |wire| drop(chain.faults().add(Rule::on(NUMBER, Effect::Wire(wire)).times(1)));
    let whole = post(&server, NUMBER, json!([])).await.unwrap();

    next(Wire::rate_limited(3));
    let limited = post(&server, NUMBER, json!([])).await.unwrap();
    assert_eq!((limited.status, limited.body.as_str()), (429, "too many requests"));
    assert!(limited.head.contains("retry-after: 3"));

    next(Wire::Close);
    assert!(post(&server, NUMBER, json!([])).await.is_err());

    next(Wire::Truncate);
    let half = post(&server, NUMBER, json!([])).await.unwrap();
    assert_eq!((half.status, half.body.as_str()), (200, &whole.body[..whole.body.len() / 2]));
    assert_eq!(half.promised_length(), half.body.len());

    next(Wire::CutOff);
    let cut = post(&server, NUMBER, json!([])).await.unwrap();
    assert_eq!(cut.body, half.body);
    assert_eq!(cut.promised_length(), whole.body.len());

    next(Wire::page());
    let page = post(&server, NUMBER, json!([])).await.unwrap();
    assert!(page.status == 200 && page.body.starts_with("<!DOCTYPE html>"));

    next(Wire::Oversize(1 << 20));
    let big = post(&server, NUMBER, json!([])).await.unwrap();
    assert_eq!((big.body.len(), big.json()), (1 << 20, whole.json()));

    assert_eq!(post(&server, NUMBER, json!([])).await.unwrap().body, whole.body);
}

#[tokio::test]
async fn a_call_can_be_late_or_hang_and_the_server_stops_all_the_same() {
    let (chain, server) = served(1).await;
    let delay = Duration::from_millis(80);
    chain.faults().add(Rule::on(NUMBER, Effect::Delay(delay)).times(1));
    let asked = Instant::now();
    assert_eq!(result(&server, NUMBER, json!([])).await, "0x1");
    assert!(asked.elapsed() >= delay);
    chain.faults().add(Rule::on(NUMBER, Effect::Wire(Wire::Hang)));
    let mut hanging = Box::pin(post(&server, NUMBER, json!([])));
    assert!(timeout(delay, &mut hanging).await.is_err());
    drop(hanging);
    server.stop().await;
}

#[tokio::test]
async fn limits_refuse_in_a_providers_words() {
    let (chain, server) = served(300).await;
    chain.faults().set(|node| {
        node.max_range = Some(Cap::range(100));
        node.max_addresses = Some(Cap::addresses(2));
    });
    assert_eq!(
        logs(&server, 101, 200).await.len(),
        chain.canonical_logs(BlockRange::new(101, 200).unwrap()).len()
    );
    let wide = json!([{ "fromBlock": "0x1", "toBlock": "0x65" }]);
    let words = "eth_getLogs is limited to a 100 block range. Based on your parameters, \
        this block range should work: [0x1, 0x32]";
    assert_eq!(error(&server, LOGS, wide.clone()).await, (-32600, words.to_owned()));
    let three: Vec<_> = (1..=3).map(Address::repeat_byte).collect();
    let refused = error(&server, LOGS, json!([{ "address": three }])).await;
    assert_eq!(refused, (-32602, "exceed max addresses: 2".to_owned()));

    chain.faults().set(|node| {
        let error = RpcError { status: Some(413), ..Cap::logs(0).error };
        node.max_range = None;
        node.max_logs = Some(Cap { max: 10, error });
    });
    let refused = post(&server, LOGS, wide.clone()).await.unwrap();
    assert_eq!(refused.status, 413);
    assert_eq!(refused.json()["error"]["message"], "query returned more than 10 results");
    chain.faults().clear();
    assert!(result(&server, LOGS, wide).await.as_array().unwrap().len() > 10);
}

#[tokio::test]
async fn a_lagging_node_returns_nothing_about_unknown_blocks() {
    let (chain, server) = served(60).await;
    let whole = logs(&server, 40, 60).await;
    let known = logs(&server, 40, 55).await;
    assert!(known.len() < whole.len());
    let head = json!([{ "blockHash": chain.head().hash }]);

    chain.faults().set(|node| node.lag = 5);
    assert_eq!(result(&server, NUMBER, json!([])).await, "0x37");
    assert_eq!(logs(&server, 40, 60).await, known);
    assert_eq!(logs(&server, 56, 60).await, Vec::<Value>::new());
    assert_eq!(error(&server, LOGS, head.clone()).await, (-32000, "unknown block".to_owned()));
    assert_eq!(result(&server, "eth_getBlockByNumber", json!(["0x38", false])).await, Value::Null);

    chain.faults().set(|node| node.lag = 0);
    chain.faults().add(Rule::on(LOGS, Effect::Lag(5)).times(1));
    assert_eq!(logs(&server, 40, 60).await, known);
    assert_eq!(logs(&server, 40, 60).await, whole);
}

#[tokio::test]
async fn above_the_head_there_is_nothing_or_an_error() {
    let (chain, server) = served(60).await;
    assert_eq!(logs(&server, 40, 70).await, logs(&server, 40, 60).await);
    assert_eq!(logs(&server, 61, 70).await, Vec::<Value>::new());
    chain.faults().set(|node| node.beyond_head = BeyondHead::Refuse);
    let refused = error(&server, LOGS, json!([{ "fromBlock": "0x28", "toBlock": "0x3d" }])).await;
    assert_eq!(refused, (-32602, "block range extends beyond current head block".to_owned()));
}

#[tokio::test]
async fn each_lie_changes_only_what_it_names() {
    let (chain, server) = served(60).await;
    let honest = logs(&server, 10, 50).await;
    let last = honest.last().unwrap().clone();
    let lie = |lie| drop(chain.faults().add(Rule::on(LOGS, Effect::Lie(lie)).times(1)));

    lie(Lie::DropLogs);
    assert_eq!(logs(&server, 10, 50).await, Vec::<Value>::new());
    lie(Lie::DropEvery(3));
    let kept: Vec<_> =
        honest.iter().enumerate().filter(|(i, _)| (i + 1) % 3 != 0).map(|(_, l)| l.clone()).collect();
    assert_eq!(logs(&server, 10, 50).await, kept);
    for (fault, field) in [
        (Lie::Duplicate, None),
        (Lie::ForeignAddress, Some("address")),
        (Lie::OutOfRange, Some("blockNumber")),
    ] {
        lie(fault);
        let mut answer = logs(&server, 10, 50).await;
        let added = answer.pop().unwrap();
        assert_eq!(answer, honest);
        match field {
            None => assert_eq!(added, last),
            Some(field) => assert_ne!(added[field], last[field]),
        }
    }
    lie(Lie::WrongBlockHash);
    let answer = logs(&server, 10, 50).await;
    assert_eq!((answer.len(), &answer[..answer.len() - 1]), (honest.len(), &honest[..honest.len() - 1]));
    assert_ne!(answer.last().unwrap()["blockHash"], last["blockHash"]);
    assert_eq!(logs(&server, 10, 50).await, honest);
}

#[tokio::test]
async fn a_hook_can_reorg_between_two_calls() {
    let (chain, server) = served(20).await;
    let old = chain.head();
    let mut left = 1;
    chain.faults().on_call(LOGS, move |chain, params| {
        assert!(params[0]["blockHash"].is_string());
        if left > 0 {
            left -= 1;
            chain.reorg(1, 2);
        }
    });
    let block = result(&server, "eth_getBlockByNumber", json!(["latest", false])).await;
    assert_eq!(block["hash"], json!(old.hash));
    let orphan = json!([{ "blockHash": old.hash }]);
    assert_eq!(error(&server, LOGS, orphan.clone()).await, (-32000, "unknown block".to_owned()));
    assert_eq!(chain.head().number, 21);
    chain.faults().set(|node| node.serve_orphans = true);
    assert!(result(&server, LOGS, orphan).await.is_array());
    let kept = result(&server, "eth_getBlockByHash", json!([old.hash, false])).await;
    assert_eq!(kept, block);
}

#[tokio::test]
async fn batches_can_be_refused_and_everything_is_journaled() {
    let (chain, server) = served(2).await;
    chain.faults().record();
    let batch = json!([request(NUMBER, &json!([])), request(LOGS, &json!([{ "address": DEMO_TOKEN }]))]);
    assert_eq!(send(&server, "POST", &batch.to_string()).await.unwrap().json().as_array().unwrap().len(), 2);
    let seen = |method: &str, params| Request {
        method: method.to_owned(),
        params,
        transport: Transport::Http,
        together: 2,
    };
    let wanted = vec![seen(NUMBER, json!([])), seen(LOGS, json!([{ "address": DEMO_TOKEN }]))];
    assert_eq!(chain.faults().journal(), wanted);
    chain.faults().set(|node| node.refuse_batches = true);
    let refused = send(&server, "POST", &batch.to_string()).await.unwrap().json();
    assert_eq!(refused["error"]["message"], "batch requests are not supported");
    assert_eq!(chain.faults().journal(), Vec::new());
    chain.faults().forget();
    assert_eq!(chain.calls(NUMBER), 0);
}

#[tokio::test]
async fn every_call_can_be_decided_and_a_batch_answered_from_its_end() {
    let (chain, server) = served(2).await;
    let mut calls = 0;
    chain.faults().decide(move |request| {
        calls += 1;
        match (request.method.as_str(), calls) {
            (NUMBER, 1) => Some(Effect::Null),
            (LOGS, _) => Some(Effect::Backwards),
            _ => None,
        }
    });
    assert_eq!(call(&server, NUMBER, json!([])).await["result"], Value::Null);
    assert_eq!(call(&server, NUMBER, json!([])).await["result"], "0x2");
    let id = |id: u64, method: &str| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": [{}] });
    let batch = json!([id(1, LOGS), id(2, NUMBER), id(3, "eth_chainId")]);
    let answers = send(&server, "POST", &batch.to_string()).await.unwrap().json();
    let ids: Vec<&Value> = answers.as_array().unwrap().iter().map(|answer| &answer["id"]).collect();
    assert_eq!(ids, [3, 2, 1]);
    chain.faults().clear();
    let answers = send(&server, "POST", &batch.to_string()).await.unwrap().json();
    assert_eq!(answers[0]["id"], 1);
}
