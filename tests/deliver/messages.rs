//! What is sent is what the schema promises.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use alloy_dyn_abi::DynSolValue;
use chainflume_core::domain::{Address, B256, U256};
use chainflume_devchain::{Action, CONSECUTIVE_TRANSFER, DEMO_NFT, DEMO_TOKEN, RawLog, STAKE_VAULT, wallet};
use serde_json::{Value, json};

use crate::flume::{Flume, config, devchain, source};
use crate::postgres;
use crate::schema::closed;

const ODD: Address = Address::repeat_byte(0x0d);

/// An event with an argument of every sort that a family does not know.
const ODD_ABI: &str = r#"[{ "type": "event", "name": "Odd", "anonymous": false, "inputs": [
    { "name": "who", "type": "address", "indexed": false }, { "name": "big", "type": "int256", "indexed": false },
    { "name": "yes", "type": "bool", "indexed": false }, { "name": "raw", "type": "bytes", "indexed": false },
    { "name": "text", "type": "string", "indexed": false }, { "name": "list", "type": "uint8[]", "indexed": false },
    { "name": "pair", "type": "tuple", "indexed": false, "components": [
        { "name": "a", "type": "uint256" }, { "name": "b", "type": "string" }] }
]}]"#;

fn odd() -> Action {
    let number = |number: u64, bits| DynSolValue::Uint(U256::from(number), bits);
    let data = DynSolValue::Tuple(vec![
        DynSolValue::Address(wallet(3)),
        DynSolValue::Int(alloy_primitives::I256::MINUS_ONE, 256),
        DynSolValue::Bool(true),
        DynSolValue::Bytes(vec![0, 255]),
        DynSolValue::String("a\0b".to_owned()),
        DynSolValue::Array(vec![number(1, 8), number(2, 8)]),
        DynSolValue::Tuple(vec![number(7, 256), DynSolValue::String("b".to_owned())]),
    ]);
    let signature = "Odd(address,int256,bool,bytes,string,uint8[],(uint256,string))";
    let topic = alloy_primitives::keccak256(signature);
    Action::Raw(Box::new(RawLog::new(ODD, &[topic], &data.abi_encode_params())))
}

/// Tokens 1,000 to 1,004, minted by one event.
fn batch_mint() -> Action {
    let topics = [CONSECUTIVE_TRANSFER, U256::from(1_000).into(), B256::ZERO, wallet(1).into_word()];
    Action::Raw(Box::new(RawLog::new(DEMO_NFT, &topics, &U256::from(1_004).to_be_bytes::<32>())))
}

/// One block each of everything the families know.
fn everything() -> Vec<Vec<Action>> {
    let (one, two, amount, token_id) = (wallet(1), wallet(2), U256::from(5), U256::from(900));
    vec![
        vec![Action::Stake { developer: one, amount: U256::MAX }],
        vec![Action::Stake { developer: one, amount }],
        vec![Action::Erc20Mint { to: one, amount }],
        vec![Action::Erc20Transfer { from: one, to: two, amount }],
        vec![Action::Erc20Burn { from: two, amount }],
        vec![Action::Erc20Approve { owner: one, spender: two, amount: U256::MAX }],
        vec![Action::NftMint { to: one, token_id }],
        vec![Action::NftApprove { owner: one, approved: two, token_id }],
        vec![Action::NftTransfer { from: one, to: two, token_id }],
        vec![Action::NftBurn { owner: two, token_id }],
        vec![Action::NftApprovalForAll { owner: one, operator: two, approved: true }, batch_mint()],
        vec![odd()],
    ]
}

fn sources(folder: &std::path::Path) -> String {
    let abi = folder.join("odd.json");
    fs::write(&abi, ODD_ABI).expect("written");
    let tables = [
        source("vault", "stake", STAKE_VAULT, 0),
        source("token", "erc20", DEMO_TOKEN, 0),
        source("nft", "erc721", DEMO_NFT, 0),
        source("odd", "generic", ODD, 0) + &format!("abi = \"{}\"\nuser = \"who\"\n", abi.display()),
    ];
    tables.map(|table| table + "publish_from = \"start\"\n").concat()
}

async fn sent(flume: &Flume) -> Vec<Value> {
    let rows = flume.store.outbox().read_after(0, 100_000).await.expect("reads").expect("of this history");
    rows.iter().map(|row| serde_json::from_str(&row.message).expect("json")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_of_every_type_is_what_the_schema_promises() {
    let url = postgres::database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (chain, server) = devchain(3, 0).await;
    chain.mine_with(everything());
    chain.mine_empty(2);
    let flume = Flume::start(&config(&server, "", &sources(folder.path())), &url).await;
    flume.until_tip("dev", 12).await;
    // All of it goes, and the stakes come back by themselves: one activation more.
    chain.reorg_with(14, &[vec![chain.sign(Action::Stake { developer: wallet(1), amount: U256::from(1) })]]);
    chain.mine(19);
    flume.until_tip("dev", 18).await;
    let sent = sent(&flume).await;
    flume.stop().await;

    let schema = closed();
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for message in &sent {
        let problems: Vec<String> =
            schema.iter_errors(message).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert_eq!(problems, [] as [String; 0], "{message:#}");
        let word = |key: &str| message[key].as_str().expect("text").to_owned();
        seen.entry(word("type")).or_default().insert(word("state"));
    }
    let both = |kind: &str| (kind.to_owned(), ["confirmed", "retracted"].map(str::to_owned).into());
    let mut expected: BTreeMap<String, BTreeSet<String>> = [
        "contract.Odd",
        "erc20.approval",
        "erc20.burn",
        "erc20.mint",
        "erc20.transfer",
        "erc721.approval",
        "erc721.approval_for_all",
        "erc721.burn",
        "erc721.consecutive_transfer",
        "erc721.mint",
        "erc721.transfer",
        "stake.staked",
        "user.activated",
    ]
    .map(both)
    .into();
    expected.insert("user.updated".to_owned(), ["confirmed".to_owned()].into());
    assert_eq!(seen, expected);
    let batch =
        sent.iter().find(|message| message["type"] == "erc721.consecutive_transfer").expect("it was sent");
    let zero = format!("{:#x}", Address::ZERO);
    assert_eq!(
        batch["payload"],
        json!({
            "fromTokenId": "1000", "toTokenId": "1004", "fromAddress": zero, "toAddress": format!("{:#x}", wallet(1))
        })
    );
    let odd = sent.iter().find(|message| message["type"] == "contract.Odd").expect("it was sent");
    assert_eq!(
        odd["payload"],
        json!({
            "who": format!("{:#x}", wallet(3)), "big": "-1", "yes": true, "raw": "0x00ff", "text": { "hex": "0x610062" },
            "list": ["1", "2"], "pair": { "a": "7", "b": "b" }
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_event_is_published_as_pending_and_no_user_is() {
    let url = postgres::database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (chain, server) = devchain(3, 0).await;
    chain.mine_with(everything());
    let keys = "confirmations = 12\npublish = \"pending_and_confirmed\"";
    let flume = Flume::start(&config(&server, keys, &sources(folder.path())), &url).await;
    let deadline = std::time::Instant::now() + crate::flume::WAIT_LIMIT;
    while sent(&flume).await.len() < 12 {
        assert!(std::time::Instant::now() < deadline, "{:#?}", sent(&flume).await);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let published = sent(&flume).await;
    chain.mine_empty(12);
    flume.until_tip("dev", 12).await;
    let all = sent(&flume).await;
    flume.stop().await;

    let schema = closed();
    for message in &all {
        let problems: Vec<String> =
            schema.iter_errors(message).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert_eq!(problems, [] as [String; 0], "{message:#}");
    }
    let depths: Vec<_> =
        published.iter().map(|message| message["metadata"]["confirmations"].clone()).collect();
    // The vault has no room for the stake of block 2.
    assert_eq!(depths, [11, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 0].map(Value::from));
    let confirmed: Vec<Value> = all[12..]
        .iter()
        .filter(|message| !message["type"].as_str().expect("text").starts_with("user."))
        .map(|message| {
            let mut message = message.clone();
            (message["state"], message["seq"]) = ("pending".into(), Value::Null);
            (message["metadata"]["confirmations"], message["metadata"]["userId"]) =
                (Value::Null, Value::Null);
            message
        })
        .collect();
    let pending: Vec<Value> = published
        .into_iter()
        .map(|mut message| {
            message["seq"] = Value::Null;
            (message["metadata"]["confirmations"], message["metadata"]["userId"]) =
                (Value::Null, Value::Null);
            message
        })
        .collect();
    assert_eq!(pending, confirmed);
}

#[test]
fn the_schema_refuses_what_no_message_is() {
    let schema = closed();
    let zero = |digits: usize| format!("0x{}", "0".repeat(digits));
    let id = "00000000-0000-8000-8000-000000000000";
    let right = json!({
        "id": id, "seq": 1, "version": 1, "type": "erc20.mint", "state": "confirmed",
        "timestamp": "2023-11-14T22:13:44Z", "aggregateType": "token", "aggregateId": zero(40),
        "payload": { "from": zero(40), "to": zero(40), "value": "7" },
        "metadata": {
            "userId": null, "correlationId": zero(64), "causationId": null, "source": "token", "chainId": 1,
            "blockNumber": 2, "blockHash": zero(64), "transactionHash": zero(64), "logIndex": 0, "confirmations": 2
        }
    });
    assert!(schema.is_valid(&right));
    let mut pending = right.clone();
    (pending["state"], pending["metadata"]["confirmations"]) = ("pending".into(), 0.into());
    assert!(schema.is_valid(&pending));
    let user = json!({ "stakeAmount": "7", "stakedAt": null, "status": "registered" });
    (pending["type"], pending["aggregateType"], pending["payload"]) =
        ("user.activated".into(), "user".into(), user);
    pending["metadata"]["causationId"] = id.into();
    assert!(!schema.is_valid(&pending), "users wait");
    pending["state"] = "retracted".into();
    assert!(schema.is_valid(&pending));
    for (place, wrong) in [
        ("/seq", json!(0)),
        ("/version", json!(2)),
        ("/type", json!("erc20.burned")),
        ("/type", json!("user.updated")),
        ("/state", json!("final")),
        ("/state", json!("retracted")),
        ("/timestamp", json!("2023-11-14 22:13:44")),
        ("/aggregateType", json!("contract")),
        ("/payload/value", json!(7)),
        ("/payload/value", json!("-7")),
        ("/payload/to", json!("0xABCDEF0000000000000000000000000000000000")),
        ("/metadata/causationId", json!(id)),
        ("/metadata/blockHash", json!(zero(40))),
    ] {
        let mut message = right.clone();
        *message.pointer_mut(place).expect("it is there") = wrong.clone();
        assert!(!schema.is_valid(&message), "{place} may not be {wrong}");
    }
}

#[test]
fn the_schema_takes_facts_off_the_chain_with_null() {
    let schema = closed();
    let right = json!({
        "id": "00000000-0000-8000-8000-000000000000", "seq": 1, "version": 1, "type": "user.registered", "state": "confirmed",
        "timestamp": "2023-11-14T22:13:44.123Z", "aggregateType": "account", "aggregateId": "7", "payload": { "n": 7 },
        "metadata": {
            "userId": "auth0|7", "correlationId": "c", "causationId": null, "source": "backend", "chainId": null,
            "blockNumber": null, "blockHash": null, "transactionHash": null, "logIndex": null, "confirmations": null
        }
    });
    assert!(
        schema.is_valid(&right),
        "{:?}",
        schema.iter_errors(&right).map(|e| e.to_string()).collect::<Vec<_>>()
    );
    let mut merged = right.clone();
    (merged["type"], merged["aggregateType"]) = ("user.updated".into(), "user".into());
    assert!(!schema.is_valid(&merged), "a user's ids are missing");
    merged["payload"] = json!({ "ids": ["7", "8"], "joined": ["8"], "left": [] });
    assert!(schema.is_valid(&merged));
    for (place, wrong) in [
        ("/type", json!("erc20.mint")),
        ("/type", json!("user.updated")),
        ("/type", json!("user.activated")),
        ("/type", json!("registered")),
        ("/state", json!("retracted")),
        ("/aggregateType", json!("user")),
        ("/aggregateId", json!("")),
        ("/metadata/chainId", json!(1)),
        ("/metadata/blockNumber", json!(1)),
        ("/metadata/confirmations", json!(0)),
        ("/metadata/source", json!("")),
    ] {
        let mut message = right.clone();
        *message.pointer_mut(place).expect("it is there") = wrong.clone();
        assert!(!schema.is_valid(&message), "{place} may not be {wrong}");
    }
}
