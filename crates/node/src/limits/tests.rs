use std::path::{Path, PathBuf};

use super::*;

mod fuzz;

/// What a message is taken for where a million blocks were asked for.
fn read(message: &str) -> String {
    read_as(message, 200, None, 1_000_000)
}

fn read_as(message: &str, status: u16, code: Option<i64>, asked: u64) -> String {
    let answer = ErrorResponse {
        code,
        status: Some(status),
        message: message.to_owned(),
        asked: Some(asked),
        calls: Some(1000),
        ..ErrorResponse::default()
    };
    shown(classify(&answer))
}

/// `range 500`, `range`, `rate` …
fn shown(refusal: RefusalKind) -> String {
    match refusal {
        RefusalKind::Range(Some(hint)) | RefusalKind::Size(Some(hint)) | RefusalKind::Batch(Some(hint)) => {
            format!("{} {hint}", refusal.kind().as_str())
        }
        _ => refusal.kind().as_str().to_owned(),
    }
}

fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<_> = cases
        .iter()
        .map(|(message, wanted)| (message, read(message), wanted))
        .filter(|(_, found, wanted)| found != *wanted)
        .map(|(message, found, wanted)| format!("{message:?}: {found}, not {wanted}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn facts() -> PathBuf {
    match std::env::var_os("CHAINFLUME_FIXTURES") {
        Some(fixtures) => PathBuf::from(fixtures).join("../facts/provider-limits.json"),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/facts/provider-limits.json"),
    }
}

#[test]
fn real_answers_of_providers_are_distinguished() {
    let Ok(text) = std::fs::read_to_string(facts()) else {
        eprintln!("skipped: {} is not here", facts().display());
        return;
    };
    let class = |class: &str| match class {
        "range_too_large" => "range",
        "result_too_large" => "size",
        "too_many_addresses" => "addresses",
        "rate_limit" => "rate",
        "quota_exhausted" => "quota",
        "transient_or_range" => "other",
        "beyond_head" => "beyond_head",
        "unknown_block" => "unknown_block",
        "pruned" => "pruned",
        "wrong_chain" => "wrong_chain",
        class => panic!("an unknown class: {class}"),
    };
    let answers: Vec<serde_json::Value> = serde_json::from_str(&text).expect("valid facts");
    let wrong = answers.iter().filter_map(|answer| {
        let refused = ErrorResponse {
            code: answer["code"].as_i64(),
            status: answer["http_status"].as_u64().and_then(|s| u16::try_from(s).ok()),
            message: answer["message"].as_str().unwrap_or_default().to_owned(),
            data: answer.get("data").map(ToString::to_string),
            asked: Some(1_000_000),
            ..ErrorResponse::default()
        };
        let (found, wanted) = (classify(&refused), class(answer["class"].as_str()?));
        let cap = answer["true_max_span_blocks"].as_u64();
        let wide = matches!(found, RefusalKind::Range(Some(hint)) if cap.is_some_and(|cap| hint > cap));
        (found.kind().as_str() != wanted || wide)
            .then(|| format!("{}: {}, not {wanted}", answer["id"], shown(found)))
    });
    assert_eq!((answers.len(), wrong.collect::<Vec<_>>()), (33, Vec::new()));
}

#[test]
fn too_many_blocks() {
    check(&[
        (
            "block range is larger than max block range, block range = 5120, max block range = 5000",
            "range 5000",
        ),
        ("query exceeds max block range 5000", "range 5000"),
        ("block range too high", "range"),
        ("Maximum allowed number of requested blocks is 1000", "range 1000"),
        ("please limit the query to at most 10,000 blocks", "range 10000"),
        ("query block range exceeds server limit, narrow your filter: 5", "range 5"),
        ("query block range exceeds server limit", "range"),
        ("block range too large, max range: 2000", "range 2000"),
        ("range 900000 exceeds limit of 10000", "range 10000"),
        ("range 900000 is bigger than range limit 2000", "range 2000"),
        ("block range is bigger than maxBlockRange", "range"),
        ("block range is too wide (maximum 1024)", "range 1024"),
        ("block span 5000 exceeds the limit 1000", "range 1000"),
        ("block range greater than 10,000 max", "range 10000"),
        ("block range exceeds 1000", "range 1000"),
        ("Please, limit your query to at most 1000 blocks", "range 1000"),
        ("Block range limited to 10.000 blocks", "range 10000"),
        ("the requested block range exceeds the maximum of 10_000 blocks", "range 10000"),
        ("eth_getLogs: ranges over 10000 blocks are not supported on freetier", "range 10000"),
        (
            "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range. Based on your parameters, this block range should work: [0x10, 0x19]. Upgrade to PAYG for expanded block range.",
            "range 10",
        ),
        ("requested range too large", "range"),
        ("eth_getLogs and eth_newFilter are limited to a 10,000 blocks range", "range 10000"),
        (
            "eth_getLogs is limited to 1024 block range. Please check the parameter requirements at https://docs.blockpi.io/documentations/api-reference",
            "range 1024",
        ),
        ("maximum [from, to] blocks distance: 2000", "range 2000"),
        ("exceed max block distance limit", "range"),
        ("Invalid parameters: fromBlock..toBlock must be within 2048 blocks", "range 2048"),
        (
            "exceeded max range limit for eth_getLogs: 1024. Upgrade your plan to get rid of rate limits",
            "range 1024",
        ),
        ("log query: too many blocks requested, the limit is 3500", "range 3500"),
        ("the block range between fromBlock and toBlock should be less than 5k", "range 5000"),
        ("getLogs request exceeded max allowed range of 0x7d0 blocks", "range 2000"),
        ("Block interval is too big", "range"),
        ("Blocks span is greater than 3000", "range 3000"),
        ("Request covers 1,000,000 blocks, only 50,000 are allowed", "range 50000"),
        ("block range must not exceed 100 blocks (got 999999)", "range 100"),
        ("EvmError: filter range over 100000 blocks", "range 100000"),
    ]);
}

#[test]
fn too_many_results() {
    check(&[
        ("query returned more than 10000 results", "size"),
        (
            "Query returned more than 10000 results. Try with this block range [0x112A880, 0x112A908].",
            "size 137",
        ),
        (
            "request exceeded max allowed range: query exceeds max results 2000, retry with the range 100-199",
            "range 100",
        ),
        ("Query returned more than 10000 results. Please use narrower range or fewer addresses", "size"),
        ("Log response size exceeded. Please reduce query block range.", "size"),
        (
            "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and no limit on \
             the response size, or you can request any block range with a cap of 10K logs in the response. Based on \
             your parameters and the response size limit, this block range should work: [0x0, 0x3e7]",
            "size 1000",
        ),
        ("backend response too large", "size"),
        ("response is too big", "size"),
        ("Response size is larger than 150MB limit.", "size"),
        ("response exceed size limit", "size"),
        ("read limit exceeded", "size"),
        ("too much data", "size"),
        ("Error serializing response: Error(\"Memory capacity exceeded\")", "size"),
        ("query must be smaller than size 1024", "size"),
        ("query exceeds max results 20000, retry with the range 6000000-6000509", "size 510"),
        ("logs matched by query exceeds limit of 10000", "size"),
        ("too many logs: 12000 > 10000", "size"),
        ("number of logs exceeds the maximum of 20000", "size"),
        ("result set too large", "size"),
        ("The query returned too many entries (max 5000)", "size"),
        ("eth_getLogs returned too many events, limit is 10k", "size"),
        ("Response body exceeds 10485760 bytes", "size"),
    ]);
}

#[test]
fn too_many_addresses() {
    check(&[
        ("exceed max addresses: 1000", "addresses"),
        ("query exceeds the maximum of 1000 addresses or topics per search position", "addresses"),
        ("too many addresses in filter", "addresses"),
        ("This query contains 6000 filters. The current limit is 5000.", "addresses"),
        ("exceed max topics", "addresses"),
        ("address list is limited to 50 entries", "addresses"),
        ("Invalid params. specify less number of addresses, max 20", "addresses"),
        ("specify less number of addresses", "addresses"),
        ("invalid argument: please specify less number of address", "addresses"),
        ("Reduce the number of addresses and try again", "addresses"),
        ("too many topics", "addresses"),
    ]);
}

#[test]
fn too_many_requests() {
    check(&[
        (
            "Your app has exceeded its compute units per second capacity. If you have retries enabled, you can safely ignore this message. If not, check out https://docs.alchemy.com/reference/throughput",
            "rate",
        ),
        ("credits limited to 6000/sec", "rate"),
        ("project ID request rate exceeded", "rate"),
        ("rate limit exceeded", "rate"),
        ("Too Many Requests", "rate"),
        ("You've exceeded the RPS limit available on the current plan.", "rate"),
        ("call rate limit exhausted, retry in 10s", "rate"),
        ("limit your query to 10 requests per second", "rate"),
        ("Request throttled", "rate"),
        ("limit exceeded, max 10 requests per second; try batching your requests", "rate"),
        ("too many concurrent requests", "rate"),
        ("eth_getLogs is limited to 5 requests per minute", "rate"),
        ("Exceeded the quota usage: 300 requests/minute", "rate"),
        (
            "<html><head><title>429 Too Many Requests</title></head><body><center>nginx</center></body></html>",
            "rate",
        ),
        (
            "<!DOCTYPE html><title>Access denied</title><style>.range{max-width:10px}</style><h1>Error 1015</h1><p>You are being rate limited",
            "rate",
        ),
    ]);
}

#[test]
fn used_up() {
    check(&[
        (
            "Monthly capacity limit exceeded. Visit https://dashboard.example/settings/billing to upgrade",
            "quota",
        ),
        ("daily request count exceeded, request rate limited", "quota"),
        ("You have run out of credits", "quota"),
        ("quota exceeded", "quota"),
        ("API call limit per month reached", "quota"),
        ("Your free trial has ended", "quota"),
    ]);
}

#[test]
fn batches() {
    check(&[
        ("batch limit 100 exceeded: 142 requests given", "batch 100"),
        ("Exceeded maximum batch size 100", "batch 100"),
        ("Number of requests in batch exceeds --rpc-max-batch-size.", "batch"),
        ("batch too large", "batch"),
        ("batch requests are not supported", "batch"),
        ("Batch size is too large", "batch"),
        (
            "Batch of more than 3 requests are not allowed on free tier, to use this feature register paid account",
            "batch 3",
        ),
        ("JSON-RPC batch requests are disabled", "batch"),
    ]);
}

#[test]
fn blocks_that_are_not_there() {
    check(&[
        ("cannot query unfinalized data", "beyond_head"),
        ("block not yet imported", "beyond_head"),
        ("block is out of range", "beyond_head"),
        ("toBlock is greater than latest block", "beyond_head"),
        ("fromBlock is higher than the latest block", "beyond_head"),
        ("requested block number is in the future", "beyond_head"),
        ("header not found", "unknown_block"),
        ("block not found", "unknown_block"),
        ("could not find block 0xabc", "unknown_block"),
        ("Block with such an ID doesn't exist", "unknown_block"),
        ("header for hash not found", "unknown_block"),
        ("missing trie node 8b1604e0 (path )", "pruned"),
        ("required historical state unavailable (reexec=128)", "pruned"),
        ("Archive requests require a personal token", "pruned"),
        ("This request requires an archive node; upgrade your plan", "pruned"),
        ("block has been pruned, earliest available block is 15537394", "pruned"),
        ("history has been expired", "pruned"),
    ]);
}

#[test]
fn what_is_switched_off() {
    check(&[
        ("the method eth_getBlockReceipts does not exist/is not available", "method_off"),
        ("Method not found", "method_off"),
        ("eth_getLogs is disabled on this endpoint", "method_off"),
        ("eth_getBlockReceipts is not available on the Free tier - upgrade to Growth", "method_off"),
        ("rpc method is not whitelisted", "method_off"),
        ("Unsupported method: eth_getBlockReceipts", "method_off"),
        ("API key disabled, reason: tenant disabled", "denied"),
        ("Must be authenticated!", "denied"),
        ("invalid api key", "denied"),
        ("apikey is on another chain", "wrong_chain"),
    ]);
}

#[test]
fn out_of_time() {
    check(&[
        ("Query timeout exceeded. Consider reducing your block range.", "time"),
        ("query timeout of 10 seconds exceeded", "time"),
        ("context deadline exceeded", "time"),
        ("request timed out", "time"),
        ("eth_getLogs took too long to execute", "time"),
        ("execution aborted (timeout = 5s)", "time"),
    ]);
}

#[test]
fn an_answer_without_a_limit_is_no_limit() {
    check(&[
        ("no backend is currently healthy to serve traffic", "other"),
        ("limit exceeded", "other"),
        ("internal error", "other"),
        ("invalid block range params", "other"),
        ("", "other"),
        ("upstream is away", "other"),
    ]);
    assert_eq!(read_as("service unavailable", 503, None, 1000), "other");
    assert_eq!(read_as("", 429, None, 1000), "rate");
    assert_eq!(read_as("no", 504, None, 1000), "time");
    assert_eq!(read_as("no", 200, Some(-32601), 1000), "method_off");
    assert_eq!(read_as("request entity too large", 413, None, 1000), "size");
    // Words come before the status: here the range is meant after all.
    assert_eq!(read_as("max block range is 500", 429, None, 1000), "range 500");
}

#[test]
fn data_has_it_where_the_message_does_not() {
    let classified = |message: &str, data: &str| {
        shown(classify(&ErrorResponse {
            message: message.to_owned(),
            data: Some(data.to_owned()),
            asked: Some(10_000_000),
            ..ErrorResponse::default()
        }))
    };
    let tenderly = r#"{"error_id":"4ed94073-0317-4648-a167-107fba5f44b3","payload":"range 9009594 is bigger than range limit 2000"}"#;
    assert_eq!(classified("invalid params", tenderly), "range 2000");
    assert_eq!(
        classified("Invalid params", "\"exceeded maximum topics len at line 7 column 5\""),
        "addresses"
    );
    assert_eq!(classified("invalid", r#"{"max_block_range":2000}"#), "range 2000");
    let infura = r#"{"from":"0x112A880","limit":10000,"to":"0x112A908"}"#;
    assert_eq!(classified("query returned more than 10000 results", infura), "size 137");
}

#[test]
fn a_hint_that_is_not_narrower_is_none() {
    assert_eq!(read_as("max range is 1000 blocks", 200, None, 1000), "range");
    assert_eq!(read_as("exceeds max results, retry with the range 6000000-6000509", 200, None, 510), "size");
    assert_eq!(read_as("block range too large (2000)", 200, None, 2000), "range");
    assert_eq!(read_as("max 0 blocks", 200, None, 2000), "range");
}
