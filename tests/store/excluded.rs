//! A chain whose blooms exclude logs that its blocks have: what was taken for empty is added by the audit.

use alloy_primitives::{Address, U256};
use chainflume_devchain::{Action, DEMO_NFT, DevChain, RawLog, Settings, wallet};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Home};
use crate::flume::{all_sources, connect};
use crate::postgres;

const STRANGER: Address = Address::repeat_byte(0x77);

fn mint(n: u64) -> Action {
    Action::NftMint { to: wallet(n % 20), token_id: U256::from(n) }
}

fn strange(n: u64) -> Action {
    Action::Raw(Box::new(RawLog { address: STRANGER, ..mint(n).log() }))
}

/// Until all blocks up to this one are stored, whether the audit has found something by then or not.
async fn stored(daemon: &Daemon, tip: u64) {
    let at = |_: u16, report: &Value| {
        let sources = report["chains"]["dev"]["sources"].as_object();
        sources.is_some_and(|all| all.len() == 3 && all.values().all(|one| one["tip"] == json!(tip)))
    };
    daemon.until("stored", at).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_outside_its_bloom_ends_trust_and_the_audit_adds_others() {
    let url = postgres::empty_database().await;
    let outside_blooms = Some(DEMO_NFT);
    let chain = DevChain::new(Settings { header_hashes: true, outside_blooms, ..Settings::default() });
    let server = chain.serve("127.0.0.1:0").await.expect("a free port");
    chain.mine_with((1..=20).map(|n| vec![strange(n)]).collect());
    // At the end more than one read is final after the last log of ours.
    let audit = "[chain.audit]\nblocks = 15\nevery = \"20ms\"\n";
    let home = Home::new(&server, &(audit.to_owned() + &all_sources()), Some(&url));
    let daemon = home.start();
    stored(&daemon, 18).await;
    let excluded = "chainflume_blocks_excluded_total{chain=\"dev\"}";
    let contradicted = "chainflume_bloom_contradictions_total{chain=\"dev\"}";
    for n in 21..=60 {
        chain.mine_with(vec![vec![strange(n)]]);
        stored(&daemon, n - 2).await;
    }
    let trusted = daemon.metric(excluded).await;
    assert!(trusted > Some(10.0), "{trusted:?}");
    assert_eq!(daemon.metric(contradicted).await, Some(0.0));
    for n in 61..=130 {
        chain.mine_with(vec![vec![mint(n)]]);
        stored(&daemon, n - 2).await;
    }
    let missed = daemon.metric(excluded).await.zip(trusted).map(|(now, then)| now - then);
    assert!(missed > Some(1.0) && missed < Some(64.0), "{missed:?}");
    assert!(daemon.metric(contradicted).await >= Some(1.0));
    let words = "the bloom filter of a header excludes a log of its block";
    assert_eq!(daemon.log().matches(words).count(), 1, "{}", daemon.log());
    chain.mine_with((131..=165).map(|n| vec![strange(n)]).collect());
    daemon
        .until("audited", |_, report| {
            let source = &report["chains"]["dev"]["sources"]["nft"];
            source["verifiedTo"].as_u64() >= Some(130) && source["differences"] == json!(0)
        })
        .await;
    assert_eq!(daemon.metric(excluded).await.zip(trusted).map(|(now, then)| now - then), missed);
    let repaired = "chainflume_audit_repaired_total{chain=\"dev\",source=\"nft\"}";
    assert!(daemon.metric(repaired).await > Some(0.0));
    daemon.stop_well().await;
    let pool = connect(&url).await;
    let minted = "select count(*) from events where address = $1";
    let minted = sqlx::query_scalar::<_, i64>(minted).bind(DEMO_NFT.as_slice()).fetch_one(&pool).await;
    assert_eq!(minted.expect("a count"), 70);
}
