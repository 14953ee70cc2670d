//! Evidence for each question: what a header speaks of and an answer lacks, times, and numbers and fields that are not as
//! they should be.

use alloy_primitives::{Address, B256, Bloom, U256};
use chainflume_devchain::{
    APPROVAL, Action, ActiveFault, Call, DEMO_TOKEN, Effect, RawLog, RpcError, Rule, STAKE_VAULT, Settings,
    wallet,
};
use chainflume_ops::health::ChainHealth;
use serde_json::{Value, json};

use crate::flume::{all_sources, source};
use crate::random::Random;
use crate::scene::{Scene, by_hash, height};
use crate::tables;

const LOGS: &str = "eth_getLogs";
const HEADER: &str = "eth_getBlockByNumber";
const RECEIPTS: &str = "eth_getBlockReceipts";
const RECEIPT: &str = "eth_getTransactionReceipt";

/// A block in which each of two contracts has something, one of them two kinds of events.
fn block_of_both() -> Vec<Action> {
    let (owner, spender, amount) = (wallet(1), wallet(2), U256::from(7));
    vec![
        Action::Stake { developer: owner, amount },
        Action::Erc20Mint { to: owner, amount },
        Action::Erc20Approve { owner, spender, amount },
        Action::NftApprove { owner, approved: spender, token_id: U256::from(1) },
    ]
}

/// Each log of an answer.
fn each(answer: &mut Value, change: impl Fn(&mut Value)) {
    answer.as_array_mut().into_iter().flatten().for_each(change);
}

/// The logs of a block come without those of which this holds.
fn leaves_out(scene: &Scene, such: impl Fn(&Value) -> bool + Send + Sync + 'static) -> ActiveFault {
    let leave_out = Effect::edit(move |answer| {
        if let Some(logs) = answer.as_array_mut() {
            logs.retain(|log| !such(log));
        }
    });
    scene.chain.faults().add(Rule::on(LOGS, leave_out).asking(by_hash))
}

fn is_of(log: &Value, address: Address) -> bool {
    log["address"] == json!(address)
}

fn off() -> Effect {
    Effect::Error(RpcError::new(-32601, "the method does not exist/is not available"))
}

/// Caught up at 100, whose newest blocks have nothing of ours.
async fn caught_up(keys: &str) -> (Scene, crate::flume::Flume) {
    let scene = Scene::new(98).await;
    scene.change(|chain| chain.mine_empty(4));
    let flume = scene.start(keys).await;
    flume.until_tip("dev", 100).await;
    (scene, flume)
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_one_contract_that_a_node_leaves_out_are_stored() {
    let (scene, flume) = caught_up("").await;
    let lying = leaves_out(&scene, |log| is_of(log, DEMO_TOKEN));
    for tip in 101..=106 {
        scene.change(|chain| chain.mine_with(vec![block_of_both()]));
        flume.until_tip("dev", tip).await;
    }
    scene.change(|chain| chain.mine_empty(2));
    assert!(lying.fired() >= 4);
    scene.ends_at(flume, 108).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_one_event_that_a_node_leaves_out_are_stored() {
    let (scene, flume) = caught_up("").await;
    leaves_out(&scene, |log| is_of(log, DEMO_TOKEN) && log["topics"][0] == json!(APPROVAL));
    let approve = |n: u64| {
        let amount = U256::from(n);
        let approval = Action::Erc20Approve { owner: wallet(1), spender: wallet(2), amount };
        vec![Action::Erc20Mint { to: wallet(1), amount }, approval]
    };
    scene.change(|chain| chain.mine_with(vec![approve(1), approve(2), approve(3)]));
    scene.change(|chain| chain.mine_empty(2));
    scene.ends_at(flume, 105).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_by_transaction_show_what_block_receipts_cannot() {
    let (scene, flume) = caught_up("").await;
    scene.chain.faults().add(Rule::on(RECEIPTS, off()));
    leaves_out(&scene, |log| is_of(log, STAKE_VAULT));
    scene.change(|chain| chain.mine_with(vec![block_of_both(), block_of_both()]));
    scene.change(|chain| chain.mine_empty(2));
    flume.until_tip("dev", 104).await;
    assert!(scene.chain.calls(RECEIPT) > 0);
    scene.ends_at(flume, 104).await;
}

/// The bloom of each header has these bits besides.
fn fuller(scene: &Scene, more: impl Fn(u64) -> Bloom + Send + Sync + 'static) {
    let fill = Effect::edit(move |header| {
        let (Some(number), Some(bloom)) = (header["number"].as_str(), header["logsBloom"].as_str()) else {
            return;
        };
        let number = u64::from_str_radix(number.trim_start_matches("0x"), 16).expect("hexadecimal");
        let bloom: Bloom = bloom.parse().expect("a bloom");
        header["logsBloom"] = json!(bloom | more(number));
    });
    scene.chain.faults().add(Rule::on(HEADER, fill));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mismatch_without_stronger_evidence_holds_up_no_source() {
    let (scene, flume) = caught_up("").await;
    scene.chain.faults().add(Rule::on(RECEIPTS, off()));
    scene.chain.faults().add(Rule::on(RECEIPT, off()));
    let mut ours = Bloom::ZERO;
    ours.accrue_raw_log(DEMO_TOKEN, &[APPROVAL]);
    fuller(&scene, move |_| ours);
    scene.change(|chain| chain.mine_empty(10));
    scene.ends_at(flume, 110).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_a_node_leaves_out_under_a_full_bloom_are_stored() {
    let (scene, flume) = caught_up("").await;
    fuller(&scene, |_| Bloom::repeat_byte(0xff));
    let lying = leaves_out(&scene, |log| is_of(log, DEMO_TOKEN));
    for tip in 101..=106 {
        scene.change(|chain| chain.mine_with(vec![block_of_both()]));
        flume.until_tip("dev", tip).await;
    }
    lying.lift();
    // With nothing left out, few blocks are checked.
    let before = scene.chain.calls(RECEIPTS);
    for round in 1..=20 {
        scene.change(|chain| chain.mine(5));
        flume.until_tip("dev", 106 + 5 * round).await;
    }
    let calls = scene.chain.calls(RECEIPTS) - before;
    assert!((1..=20).contains(&calls), "{calls} of 100 blocks");
    scene.ends_at(flume, 206).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_under_a_full_bloom_are_stored_at_once() {
    let (scene, flume) = caught_up("").await;
    scene.chain.faults().add(Rule::on(RECEIPTS, off()));
    scene.chain.faults().add(Rule::on(RECEIPT, off()));
    fuller(&scene, |_| Bloom::repeat_byte(0xff));
    scene.change(|chain| chain.mine(10));
    flume.until_tip("dev", 110).await;
    assert_eq!(flume.chain("dev").errors.consecutive, 0);
    scene.ends_at(flume, 110).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crowded_blooms_cost_receipts_of_few_blocks() {
    let (scene, flume) = caught_up("").await;
    fuller(&scene, |number| {
        let (mut random, mut bloom) = (Random::new(number), Bloom::ZERO);
        (0..2048_usize).filter(|_| random.percent(55)).for_each(|bit| bloom[bit / 8] |= 1 << (bit % 8));
        bloom
    });
    for round in 1..=20 {
        scene.change(|chain| chain.mine(5));
        flume.until_tip("dev", 100 + 5 * round).await;
    }
    let calls = scene.chain.calls(RECEIPTS);
    assert!(calls <= 30, "{calls} of 100 blocks");
    scene.ends_at(flume, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_with_other_events_costs_receipts_of_few_blocks() {
    let scene = Scene::new(98).await;
    scene.change(|chain| chain.mine_empty(4));
    // Its approvals are in each block, and belong to an event that no source follows.
    let sources = source("vault", "stake", STAKE_VAULT, 0);
    let flume = scene.start_with("", &sources).await;
    flume.until_tip("dev", 100).await;
    let other = || {
        let of_vault = RawLog::new(STAKE_VAULT, &[APPROVAL, wallet(1).into_word()], &[]);
        let staked = Action::Stake { developer: wallet(1), amount: U256::from(1) }.log();
        let of_other = RawLog { address: DEMO_TOKEN, ..staked };
        Call(vec![Action::Raw(Box::new(of_vault)), Action::Raw(Box::new(of_other))])
    };
    for round in 1..=20 {
        scene.change(|chain| chain.mine_with(vec![vec![other()]; 5]));
        flume.until_tip("dev", 100 + 5 * round).await;
    }
    let calls = scene.chain.calls(RECEIPTS);
    // Of each five that are read at once all may be asked about.
    assert!((1..=35).contains(&calls), "{calls} of 100 blocks");
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn implausible_times_of_logs_are_read_from_headers() {
    let (now, year) = (1_700_000_000_u64, 365 * 86_400);
    let odd = [
        json!("0x0"),
        json!("0xe10"),
        json!(format!("{:#x}", now * 1000)),
        json!(format!("{:#x}", now + year)),
        json!(format!("{:#x}", now - year)),
        json!("0x10000000000000000"),
        json!(null),
        json!(now),
    ];
    for time in odd {
        let scene =
            Scene::of(Settings { history: 300, block_timestamp_in_logs: true, ..Settings::default() }).await;
        let value = time.clone();
        let lie = Effect::edit(move |answer| each(answer, |log| log["blockTimestamp"] = value.clone()));
        let lying = scene.chain.faults().add(Rule::on(LOGS, lie));
        let flume = scene.start("").await;
        flume.until_tip("dev", 298).await;
        assert!(lying.fired() > 0);
        flume.stop().await;
        println!("{time}");
        tables::assert_equals_chain(&scene.pool, &scene.chain, 298).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_whose_time_contradicts_its_neighbours_is_read_again() {
    let (scene, flume) = caught_up("").await;
    let now = 1_700_000_000_u64;
    for (tip, time) in (101..).zip([
        "0x0".to_owned(),
        "0xe10".to_owned(),
        format!("{:#x}", now * 1000),
        format!("{:#x}", now * 3),
    ]) {
        let lie = Effect::edit(move |header| header["timestamp"] = json!(time));
        let lying = scene.chain.faults().add(Rule::on(HEADER, lie).asking(height(tip)).times(2));
        scene.change(|chain| chain.mine_with(vec![block_of_both()]));
        flume.until_tip("dev", tip).await;
        println!("{tip}: {}", lying.fired());
    }
    scene.ends_at(flume, 104).await;
}

/// A chain of 300 blocks, none of them final, of which those up to 172 are read by range. Every third block has a log, so that
/// no two of their headers are neighbours.
async fn old_and_not_final(block_timestamp_in_logs: bool) -> Scene {
    let settings = Settings { finalized_depth: Some(800), block_timestamp_in_logs, ..Settings::default() };
    let scene = Scene::of(settings).await;
    let blocks = (1..=300).map(|n: u64| if n.is_multiple_of(3) { block_of_both() } else { vec![] });
    scene.change(|chain| chain.mine_with(blocks.collect()));
    scene
}

const BY_RANGE: &str = "reorg_window = 64\nbackend_lag = \"1m\"\nbackend_lag_blocks = 128\nws = none\n";

/// Sources from block 10 on: block 0 may have any time.
fn from_ten() -> String {
    all_sources().replace("start_block = 0", "start_block = 10")
}

fn by_range(params: &Value) -> bool {
    params[0]["fromBlock"].is_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn log_times_in_blocks_not_final_come_from_headers() {
    let scene = old_and_not_final(true).await;
    // Each log has the time of the first one, which is between those of the headers at both ends.
    let lie = Effect::edit(|answer| {
        let first = answer[0]["blockTimestamp"].clone();
        each(answer, |log| log["blockTimestamp"] = first.clone());
    });
    let lying = scene.chain.faults().add(Rule::on(LOGS, lie).asking(by_range));
    let flume = scene.start_with(BY_RANGE, &from_ten()).await;
    flume.until_tip("dev", 298).await;
    assert!(lying.fired() > 0);
    flume.stop().await;
    scene.chain.faults().clear();
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_in_a_range_with_a_contradictory_time_is_read_again() {
    for time in ["0x0".to_owned(), format!("{:#x}", 1_700_000_000_u64 * 3)] {
        let scene = old_and_not_final(false).await;
        let lie = Effect::edit(move |header| header["timestamp"] = json!(time));
        let lying = scene.chain.faults().add(Rule::on(HEADER, lie).asking(height(51)).times(2));
        let flume = scene.start_with(BY_RANGE, &from_ten()).await;
        flume.until_tip("dev", 298).await;
        assert!(lying.fired() > 0);
        flume.stop().await;
        scene.chain.faults().clear();
        scene.equals_fresh_sync().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_another_block_than_their_header_are_a_bad_answer() {
    // Block 51 is within its range and block 150 the last of its own.
    for of in ["0x33", "0x96"] {
        let scene = old_and_not_final(false).await;
        let lie = Effect::edit(move |answer| {
            each(answer, |log| {
                if log["blockNumber"] == of {
                    log["blockHash"] = json!(B256::repeat_byte(0x77));
                }
            });
        });
        let lying = scene.chain.faults().add(Rule::on(LOGS, lie).asking(by_range));
        let history = "[chain.history]\ninitial_range = 141\nmax_range = 141\n";
        let flume = scene.start_with(&format!("{BY_RANGE}{history}"), &from_ten()).await;
        let refuses = |chain: &ChainHealth| {
            chain.errors.last.as_ref().is_some_and(|error| error.contains("changed while its range was read"))
        };
        flume.until("dev", "refuses the answer", refuses).await;
        lying.lift();
        flume.until_tip("dev", 298).await;
        flume.stop().await;
        scene.chain.faults().clear();
        scene.equals_fresh_sync().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unfit_numbers_are_bad_answers_and_the_chain_goes_on() {
    let (scene, flume) = caught_up("").await;
    let faults = scene.chain.faults();
    let too_large =
        ["0x10000000000", "0x100000000", "0x8000000000000000", "0xffffffffffffffff", "0x10000000000000000"];
    let mut tip = 100;
    for number in too_large {
        let mut lies = Vec::new();
        for field in ["blockNumber", "transactionIndex", "logIndex"] {
            let odd = Effect::edit(move |answer| each(answer, |log| log[field] = json!(number)));
            lies.push(faults.add(Rule::on(LOGS, odd).times(2)));
        }
        for field in ["number", "timestamp"] {
            // 2^32 is a fine second.
            if number == "0x100000000" {
                continue;
            }
            let odd = Effect::edit(move |header| header[field] = json!(number));
            lies.push(faults.add(Rule::on(HEADER, odd).times(2)));
        }
        tip += 1;
        scene.change(|chain| chain.mine_with(vec![block_of_both()]));
        flume.until_tip("dev", tip).await;
        lies.into_iter().for_each(ActiveFault::lift);
    }
    scene.ends_at(flume, tip).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_decide_nothing_may_be_null_or_odd() {
    let odd: [fn() -> Value; 4] = [|| json!(null), || json!("0x"), || json!([]), || json!(1.5)];
    for value in odd {
        let scene =
            Scene::of(Settings { history: 60, block_timestamp_in_logs: true, ..Settings::default() }).await;
        let of_logs = Effect::edit(move |answer| {
            each(answer, |log| ["removed", "blockTimestamp"].iter().for_each(|field| log[*field] = value()));
        });
        let of_headers = Effect::edit(move |header| {
            if header.is_object() {
                ["logsBloom", "receiptsRoot"].iter().for_each(|field| header[*field] = value());
            }
        });
        scene.chain.faults().add(Rule::on(LOGS, of_logs));
        scene.chain.faults().add(Rule::on(HEADER, of_headers));
        let flume = scene.start("").await;
        flume.until_tip("dev", 58).await;
        scene.change(|chain| chain.mine_with(vec![block_of_both()]));
        scene.ends_at(flume, 59).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_receipt_of_another_contract_stops_no_source() {
    let (scene, flume) = caught_up("verify = \"receipts\"").await;
    let odd = Effect::edit(move |answer| {
        each(answer, |receipt| {
            let ours = receipt["logs"]
                .as_array()
                .is_some_and(|logs| logs.iter().any(|log| !is_of(log, Address::repeat_byte(9))));
            if !ours {
                ["status", "cumulativeGasUsed", "type", "blockHash"]
                    .iter()
                    .for_each(|field| receipt[*field] = json!("0x"));
                each(&mut receipt["logs"], |log| {
                    ["logIndex", "data", "blockNumber", "removed"]
                        .iter()
                        .for_each(|field| log[*field] = json!([]));
                });
            }
        });
    });
    scene.chain.faults().add(Rule::on(RECEIPTS, odd));
    let foreign = || RawLog::new(Address::repeat_byte(9), &[APPROVAL], &[1]);
    let block = || vec![Call(vec![Action::Raw(Box::new(foreign()))]), Call(block_of_both())];
    for tip in 101..=106 {
        scene.change(|chain| chain.mine_with(vec![block()]));
        flume.until_tip("dev", tip).await;
    }
    scene.change(|chain| chain.mine_empty(2));
    flume.until_tip("dev", 108).await;
    flume.stop().await;
    let stored = "select count(*) from events where block_number > 100";
    let stored: i64 = sqlx::query_scalar(stored).fetch_one(&scene.pool).await.expect("a count");
    assert_eq!(stored, 24);
}
