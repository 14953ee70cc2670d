//! A block of Ethereum mainnet, 18,000,000, as a node answered it: 291 logs of 93 contracts, ERC-20 and ERC-721
//! among much else. Where the fixture is not on the machine, these tests print it and pass.

mod fixture;
mod program;
mod server;

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::postgres::PgPool;

use crate::flume::{Flume, connect};
use crate::postgres;
use fixture::{Transfer, approvals, balances, transfers};
use server::{HEIGHT, Mainnet, fixture};

/// Every ERC-20 and every ERC-721 contract there is.
const ANY: [(&str, &str, &str); 2] = [("tokens", "erc20", "\"any\""), ("nfts", "erc721", "\"any\"")];

fn config(node: &Mainnet, start_block: u64, sources: &[(&str, &str, &str)]) -> String {
    let chain = format!(
        "[[chain]]\nname = \"mainnet\"\nchain_id = 1\nhttp = \"{}\"\nreorg_window = 16\npoll_interval = \"100ms\"\nmax_head_age = \"0s\"\n",
        node.url()
    );
    let source = |(name, family, address): &(&str, &str, &str)| {
        format!(
            "[[source]]\nname = \"{name}\"\nchain = \"mainnet\"\nfamily = \"{family}\"\naddress = {address}\n\
             start_block = {start_block}\n"
        )
    };
    chain + &sources.iter().map(source).collect::<String>()
}

async fn stored(pool: &PgPool) -> Vec<Transfer> {
    sqlx::query_as(
        "select k.source, k.type, tx_index, log_index, '0x' || encode(address, 'hex'), \
             '0x' || encode(account, 'hex'), '0x' || encode(counterparty, 'hex'), \
             coalesce(amount, token_id)::text, '0x' || encode(tx_hash, 'hex') \
         from events e join event_kinds k on k.id = e.kind_id where event = 'Transfer' \
         order by tx_index, log_index",
    )
    .fetch_all(pool)
    .await
    .expect("a table")
}

async fn counts(pool: &PgPool) -> BTreeMap<String, i64> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("select source || ' ' || type, events from event_kinds where events > 0")
            .fetch_all(pool)
            .await
            .expect("a table");
    rows.into_iter().collect()
}

fn counted(pairs: &[(&str, i64)]) -> BTreeMap<String, i64> {
    pairs.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect()
}

/// 141 ERC-20 and 2 ERC-721 transfers, approvals of both kinds, and nothing else anywhere.
async fn assert_whole_block(pool: &PgPool, logs: &[Value]) {
    let wanted = counted(&[
        ("tokens erc20.transfer", 138),
        ("tokens erc20.mint", 2),
        ("tokens erc20.burn", 1),
        ("tokens erc20.approval", 26),
        ("nfts erc721.transfer", 1),
        ("nfts erc721.mint", 1),
        ("nfts erc721.approval", 1),
        ("nfts erc721.approval_for_all", 1),
    ]);
    assert_eq!(counts(pool).await, wanted);
    let all = stored(pool).await;
    assert_eq!(all, transfers(logs));
    assert_eq!(all.iter().filter(|t| t.0 == "tokens").count(), 141);
    let (events, letters): (i64, i64) =
        sqlx::query_as("select (select count(*) from events), (select count(*) from dead_letters)")
            .fetch_one(pool)
            .await
            .expect("counts");
    assert_eq!((events, letters), (141 + 26 + 2 + 1 + 1, 0));
    let elsewhere: i64 = sqlx::query_scalar(
        "select count(*) from events where block_number <> 18000000 or block_hash <> \
             '\\x95b198e154acbfc64109dfd22d8224fe927fd8dfdedfae01587674482ba4baf3' \
             or block_time <> '2023-08-26 16:21:35+00'",
    )
    .fetch_one(pool)
    .await
    .expect("a count");
    assert_eq!(elsewhere, 0);
    assert_projections(pool, logs).await;
}

async fn assert_projections(pool: &PgPool, logs: &[Value]) {
    let held: Vec<(String, String, String)> = sqlx::query_as(
        "select '0x' || encode(token, 'hex'), '0x' || encode(account, 'hex'), balance::text from token_balances",
    )
    .fetch_all(pool)
    .await
    .expect("a table");
    let held: BTreeMap<_, _> =
        held.into_iter().map(|(token, account, sum)| ((token, account), sum)).collect();
    assert_eq!(held, balances(logs));
    assert_eq!(held.values().filter(|sum| sum.starts_with('-')).count(), 54);
    let allowances: Vec<(String, String, String, String)> = sqlx::query_as(
        "select '0x' || encode(token, 'hex'), '0x' || encode(owner, 'hex'), '0x' || encode(spender, 'hex'), \
             amount::text from token_allowances order by token, owner, spender",
    )
    .fetch_all(pool)
    .await
    .expect("a table");
    let allowances: BTreeMap<_, _> = allowances.into_iter().map(|(t, o, s, n)| ((t, o, s), n)).collect();
    assert_eq!(allowances, approvals(logs));
    let owners: Vec<(String, String, String)> = sqlx::query_as(
        "select '0x' || encode(contract, 'hex'), token_id::text, '0x' || encode(owner, 'hex') from nft_owners \
         order by contract",
    )
    .fetch_all(pool)
    .await
    .expect("a table");
    let owner =
        |contract: &str, id: &str, owner: &str| (contract.to_owned(), id.to_owned(), owner.to_owned());
    assert_eq!(
        owners,
        [
            owner(
                "0x33333333333371718a3c2bb63e5f3b94c9bc13be",
                "8924",
                "0x84b4fe12c5af4d8e067041924601bbb5c3bfabb6"
            ),
            owner(
                "0x8d0802559775c70fb505f22988a4fd4a4f6d3b62",
                "83773",
                "0x2eff1def3299e0a96c37406e6c4f0261ec29b805"
            ),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mainnet_block_is_stored_exactly_when_it_is_history() {
    let Some((header, logs)) = fixture() else { return };
    // Further below the head than a backend may lag.
    let node = Mainnet::serve((header, logs.clone()), HEIGHT + 200).await;
    let url = postgres::database().await;
    let flume = Flume::start(&config(&node, HEIGHT - 100, &ANY), &url).await;
    flume.until_tip("mainnet", HEIGHT + 198).await;
    flume.stop().await;
    let pool = connect(&url).await;
    assert_whole_block(&pool, &logs).await;
    assert_eq!(node.served(), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mainnet_block_is_stored_exactly_when_it_is_new() {
    let Some((header, logs)) = fixture() else { return };
    let node = Mainnet::serve((header, logs.clone()), HEIGHT + 1).await;
    let url = postgres::database().await;
    let pool = connect(&url).await;
    let flume = Flume::start(&config(&node, HEIGHT - 5, &ANY), &url).await;
    flume.until_tip("mainnet", HEIGHT - 1).await;
    assert_eq!(counts(&pool).await, BTreeMap::new());
    node.set_head(HEIGHT + 4);
    flume.until_tip("mainnet", HEIGHT + 2).await;
    flume.stop().await;
    assert_whole_block(&pool, &logs).await;
    // Strangers' logs fill the rest of the bloom, which then cannot prove the answer: the first blocks are asked for twice.
    assert_eq!(node.served(), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_transfers_are_known_to_the_digit() {
    let Some((header, logs)) = fixture() else { return };
    let node = Mainnet::serve((header, logs), HEIGHT + 100).await;
    let url = postgres::database().await;
    let flume = Flume::start(&config(&node, HEIGHT, &ANY), &url).await;
    flume.until_tip("mainnet", HEIGHT + 98).await;
    flume.stop().await;
    let query = "select concat_ws(' ', type, tx_index, log_index, encode(contract, 'hex'), encode(\"from\", 'hex'), \
                 encode(\"to\", 'hex'), ";
    let tokens =
        format!("{query} value) from tokens_transfer where type <> 'erc20.transfer' order by log_index");
    let nfts = format!("{query} token_id) from nfts_transfer order by log_index");
    let pool = connect(&url).await;
    let rows = async |sql: String| -> Vec<String> {
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&pool).await.expect("a view")
    };
    let nobody = "0".repeat(40);
    assert_eq!(
        rows(tokens).await,
        [
            format!(
                "erc20.mint 9 55 0a82fc64ecfd6669899857ae3bb4c85398721fdd {nobody} \
                 c0f1c87de7d8235cb960ed8742659503a4881c73 10000000000000000000"
            ),
            format!(
                "erc20.mint 13 63 72e95b8931767c79ba4eee721354d6e99a61d004 {nobody} \
                 df455882303fa4fa16bd96da7f0ae3b13983cc4c 8000000000"
            ),
            format!(
                "erc20.burn 78 203 12c7f0bdb928480dc23f284bd369443fec72aebb \
                 30a20bc595938a53c0f2b7d606c320aea62b3747 {nobody} 63362978158984252358656"
            ),
        ]
    );
    assert_eq!(
        rows(nfts).await,
        [
            "erc721.transfer 19 97 33333333333371718a3c2bb63e5f3b94c9bc13be \
             7d88160b804af6e973331ee1e42c2bded1a3132a 84b4fe12c5af4d8e067041924601bbb5c3bfabb6 8924"
                .to_owned(),
            format!(
                "erc721.mint 45 177 8d0802559775c70fb505f22988a4fd4a4f6d3b62 {nobody} \
                 2eff1def3299e0a96c37406e6c4f0261ec29b805 83773"
            ),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_of_single_contracts_take_theirs_and_leave_the_rest() {
    let Some((header, logs)) = fixture() else { return };
    let node = Mainnet::serve((header, logs.clone()), HEIGHT + 100).await;
    let url = postgres::database().await;
    let sources = [
        ("usdt", "erc20", "\"0xdAC17F958D2ee523a2206206994597C13D831ec7\""),
        (
            "others",
            "erc20",
            "[\"0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2\", \
                            \"0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48\"]",
        ),
        ("nft", "erc721", "\"0x8d0802559775c70fb505f22988a4fd4a4f6d3b62\""),
    ];
    let flume = Flume::start(&config(&node, HEIGHT - 1, &sources), &url).await;
    flume.until_tip("mainnet", HEIGHT + 98).await;
    flume.stop().await;
    let pool = connect(&url).await;
    let found = counts(&pool).await;
    let transfers: Vec<_> = found.iter().filter(|(what, _)| !what.ends_with("approval")).collect();
    let wanted =
        counted(&[("usdt erc20.transfer", 45), ("others erc20.transfer", 31 + 13), ("nft erc721.mint", 1)]);
    assert_eq!(transfers, wanted.iter().collect::<Vec<_>>());
    let usdt: Vec<String> = sqlx::query_scalar(
        "select concat(encode(account, 'hex'), ' ', balance) from token_balances \
         where token = '\\xdac17f958d2ee523a2206206994597c13d831ec7' and abs(balance) >= 1285000000 order by balance",
    )
    .fetch_all(&pool)
    .await
    .expect("a table");
    assert_eq!(
        usdt,
        [
            "21a31ee1afc51d94c2efccaa2092ad1028285549 -1823170000",
            "07888c3c5d25fa74ae04a9ead1fb1cf0e7743689 -1285000000",
            "f7336edf45d9c50a0ce3a5584cc12ef2b2e1c7c5 1285000000",
            "3abf902f82ead1f175b4cb2afac950da0c28acb7 1823170000",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn negative_balances_are_kept_and_shown_by_status_and_metrics() {
    let Some((header, logs)) = fixture() else { return };
    let node = Mainnet::serve((header, logs), HEIGHT + 100).await;
    let url = postgres::database().await;
    let config = config(&node, HEIGHT, &ANY);
    let flume = Flume::start(&config, &url).await;
    flume.until_tip("mainnet", HEIGHT + 98).await;
    flume.stop().await;
    let daemon = program::Daemon::start(&config, &url).await;
    daemon.until_metric("chainflume_negative_balances 54").await;
    let status = daemon.status().await;
    assert_eq!(status["negativeBalances"], serde_json::json!({ "1": 54 }));
    assert_eq!(status["daemon"]["database"]["negativeBalances"], 54);
    daemon.stop().await;
    let status = program::status(&config, &url).await;
    assert_eq!(status["negativeBalances"], serde_json::json!({ "1": 54 }));
    assert_eq!(status["daemon"], Value::Null);
}
