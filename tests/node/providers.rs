//! Real refusals of real providers, from `../shared/facts`: history comes through whole whatever the words.

use std::path::{Path, PathBuf};

use chainflume_core::domain::BlockRange;
use chainflume_devchain::{Cap, DevChain, RpcError, Settings};
use serde_json::Value;

use crate::flume::{Flume, all_sources, config};
use crate::postgres;

/// A provider's refusal of too many blocks.
struct Provider {
    name: String,
    /// The most blocks it answers for.
    cap: u64,
    error: RpcError,
}

/// Those whose cap is known; nothing with a message where the facts are not on this machine.
fn providers() -> Vec<Provider> {
    let path = match std::env::var_os("CHAINFLUME_FIXTURES") {
        Some(fixtures) => PathBuf::from(fixtures).join("../facts/provider-limits.json"),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/facts/provider-limits.json"),
    };
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: {} is not here; CHAINFLUME_FIXTURES names the folder beside it", path.display());
        return Vec::new();
    };
    let answers: Vec<Value> = serde_json::from_str(&text).expect("the facts are JSON");
    let read = |answer: &Value| {
        let message = answer["message"].as_str().expect("a message");
        Some(Provider {
            name: answer["id"].as_str().expect("a name").to_owned(),
            cap: answer["true_max_span_blocks"].as_u64()?,
            error: RpcError {
                data: answer.get("data").cloned(),
                status: answer["http_status"].as_u64().and_then(|status| u16::try_from(status).ok()),
                ..RpcError::new(answer["code"].as_i64().unwrap_or_default(), message)
            },
        })
    };
    answers.iter().filter_map(read).collect()
}

/// Traffic at both ends and in the middle of many empty blocks.
fn chain(length: u64) -> DevChain {
    let chain = DevChain::new(Settings { history: 40, ..Settings::default() });
    chain.mine_empty(length / 2);
    chain.mine(40);
    chain.mine_empty(length / 2);
    chain.mine(40);
    chain
}

/// Syncs the chain; returns how often the provider refused.
async fn refusals(chain: &DevChain, provider: &Provider, initial_range: u64) -> usize {
    let server = chain.serve("127.0.0.1:0").await.expect("a free port");
    let error = provider.error.clone();
    chain.faults().set(|node| node.max_range = Some(Cap { max: provider.cap, error }));
    chain.faults().record();
    let head = chain.head().number;
    let keys =
        format!("[chain.history]\ninitial_range = {initial_range}\nmax_range = {}\n", provider.cap * 8);
    let url = postgres::database().await;
    let flume = Flume::start(&config(&server, &keys, &all_sources()), &url).await;
    flume.until_tip("dev", head - 2).await;
    let stored = flume.store.all_events(chain.settings().chain_id).await.expect("a table");
    flume.stop().await;
    let range = BlockRange::new(0, head - 2).expect("in order");
    let wanted: Vec<_> = chain.canonical_logs(range).iter().map(|log| (log.place, log.block_hash)).collect();
    let stored: Vec<_> = stored.iter().map(|event| (event.place, event.block_hash)).collect();
    assert_eq!(stored, wanted, "{}", provider.name);
    let asked = chain.faults().journal().into_iter().filter(|request| request.method == "eth_getLogs");
    asked.filter_map(|request| width(&request.params[0])).filter(|width| *width > provider.cap).count()
}

fn width(filter: &Value) -> Option<u64> {
    let end = |key: &str| u64::from_str_radix(filter[key].as_str()?.strip_prefix("0x")?, 16).ok();
    Some(end("toBlock")? - end("fromBlock")? + 1)
}

/// From far too narrow, a little too wide and far too wide questions.
async fn assert_few_refusals(chain: &DevChain, provider: &Provider) {
    for initial in [provider.cap / 2, provider.cap * 3 / 2, provider.cap * 4] {
        let refusals = refusals(chain, provider, initial).await;
        assert!(refusals <= 12, "{}: {refusals} refusals from {initial}", provider.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_block_cap_is_found_in_a_dozen_refusals_of_any_words() {
    let chain = chain(12_000);
    for provider in providers().iter().filter(|provider| provider.cap <= 3000) {
        assert_few_refusals(&chain, provider).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wide_block_cap_is_found_in_a_dozen_refusals_of_any_words() {
    let chain = chain(110_000);
    for provider in providers().iter().filter(|provider| provider.cap > 3000) {
        assert_few_refusals(&chain, provider).await;
    }
}
