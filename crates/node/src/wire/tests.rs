use serde_json::json;

use super::*;
use chainflume_core::domain::TopicValues;

/// A log that can be taken, in the JSON of a node.
fn log() -> Value {
    json!({
        "address": Address::ZERO, "topics": [], "data": "0x", "blockHash": B256::ZERO, "blockNumber": "0x1",
        "transactionHash": B256::ZERO, "transactionIndex": "0x0", "logIndex": "0x0",
    })
}

/// The same with this in a field, or without it.
fn with(field: &str, value: Option<Value>) -> Value {
    let mut log = log();
    let fields = log.as_object_mut().expect("an object");
    match value {
        Some(value) => drop(fields.insert(field.to_owned(), value)),
        None => drop(fields.remove(field)),
    }
    log
}

fn read(log: Value) -> Result<Log, String> {
    serde_json::from_value::<ReadLog>(log).map(|read| read.0).map_err(|error| error.to_string())
}

/// What is none of the forms of a field.
fn odd() -> [Value; 6] {
    [json!("0x"), json!(""), json!([]), json!({}), json!(1.5), json!("soon")]
}

#[test]
fn a_log_is_taken_whatever_is_in_fields_that_decide_nothing() {
    let plain = read(log()).expect("it is whole");
    for field in ["removed", "blockTimestamp", "somethingNew"] {
        for value in odd().into_iter().chain([Value::Null]) {
            assert_eq!(read(with(field, Some(value.clone()))), Ok(plain.clone()), "{field}: {value}");
        }
    }
    // Numbers that no clock and no database has.
    for time in ["0x19b76da5000", "0xffffffffffffffff", "0x1ffffffffffffffff"] {
        assert_eq!(read(with("blockTimestamp", Some(json!(time)))), Ok(plain.clone()), "{time}");
    }
    assert_eq!(read(with("topics", Some(Value::Null))), Ok(plain));
}

#[test]
fn a_log_is_not_taken_without_a_field_that_decides_something() {
    let decisive =
        ["address", "data", "blockHash", "blockNumber", "transactionHash", "transactionIndex", "logIndex"];
    for field in decisive {
        let nothing = [None, Some(Value::Null)];
        // An empty text is what no data are to some.
        let odd = odd()
            .into_iter()
            .map(Some)
            .filter(|value| field != "data" || ![Some(json!("0x")), Some(json!(""))].contains(value));
        for value in nothing.into_iter().chain(odd) {
            read(with(field, value.clone())).expect_err(&format!("{field}: {value:?}"));
        }
    }
    read(with("topics", None)).expect_err("which event it is");
    for removed in [json!(true), json!("true"), json!("0x1"), json!(1)] {
        assert_eq!(read(with("removed", Some(removed))), Err("a log is marked as removed".to_owned()));
    }
}

#[test]
fn numbers_that_do_not_fit_are_an_answer_that_cannot_be_read() {
    for (field, largest, too_large) in [
        ("blockNumber", "0xffffffffff", "0x10000000000"),
        ("transactionIndex", "0xffffffff", "0x100000000"),
        ("logIndex", "0xffffffff", "0x100000000"),
    ] {
        assert!(read(with(field, Some(json!(largest)))).is_ok(), "{field}");
        for value in [too_large, "0x8000000000000000", "0xffffffffffffffff", "0x10000000000000000", "0x-1"] {
            read(with(field, Some(json!(value)))).expect_err(field);
        }
    }
    let header = |number: &str, timestamp: &str| {
        let header =
            json!({ "number": number, "hash": B256::ZERO, "parentHash": B256::ZERO, "timestamp": timestamp });
        serde_json::from_value::<WireHeader>(header).map(BlockRef::from)
    };
    assert!(header("0xffffffffff", "0x3afff4417f").is_ok());
    for number in ["0x10000000000", "0x8000000000000000", "0x10000000000000000"] {
        assert!(header(number, "0x1").is_err(), "{number}");
    }
    for timestamp in ["0x3afff44180", "0x8000000000000000", "0x10000000000000000"] {
        assert!(header("0x1", timestamp).is_err(), "{timestamp}");
    }
    assert!(
        serde_json::from_value::<WireHead>(json!({ "number": "0x10000000000", "hash": B256::ZERO })).is_err()
    );
}

#[test]
fn a_header_is_taken_whatever_it_proves_about_its_logs() {
    let header = json!({ "number": "0x1", "hash": B256::ZERO, "parentHash": B256::ZERO, "timestamp": "0x1" });
    for field in ["logsBloom", "receiptsRoot"] {
        for value in odd().into_iter().chain([Value::Null]) {
            let mut header = header.clone();
            header[field] = value;
            let header: WireHeader = serde_json::from_value(header).expect("it is whole");
            assert_eq!(header.seal(), (None, None));
        }
    }
}

fn receipt() -> Value {
    json!({
        "blockHash": B256::ZERO, "type": "0x2", "status": "0x1", "cumulativeGasUsed": "0x5208",
        "logsBloom": Bloom::ZERO, "logs": [log()],
    })
}

#[test]
fn odd_fields_of_another_receipt_hide_no_log_of_ours() {
    let ours =
        LogFilter { addresses: Some([Address::ZERO].into()), topic0: None, values: TopicValues::default() };
    let logs = |receipt: Value| {
        let receipt: WireReceipt = serde_json::from_value(receipt).expect("any receipt");
        (receipt.consensus().is_ok(), receipt.logs_for(&ours).map(|logs| logs.len()))
    };
    assert_eq!(logs(receipt()), (true, Ok(1)));
    for field in ["blockHash", "type", "status", "cumulativeGasUsed", "logsBloom", "root", "depositNonce"] {
        for value in odd().into_iter().chain([Value::Null]) {
            let mut odd = receipt();
            odd[field] = value.clone();
            assert_eq!(logs(odd).1, Ok(1), "{field}: {value}");
        }
    }
    for field in ["topics", "data", "blockNumber", "blockHash", "transactionHash", "logIndex", "removed"] {
        let mut foreign = with(field, Some(json!(1.5)));
        foreign["address"] = json!(Address::repeat_byte(9));
        let mut odd = receipt();
        odd["logs"].as_array_mut().expect("a list").push(foreign);
        assert_eq!(logs(odd).1, Ok(1), "{field}");
    }
    let mut without = receipt();
    without["logs"] = Value::Null;
    assert_eq!(logs(without), (true, Ok(0)));
    // One of ours is not passed over.
    let mut wrong = receipt();
    wrong["logs"] = json!([with("logIndex", None)]);
    assert_eq!(logs(wrong).1, Err("the index of a log is missing".to_owned()));
}

#[test]
fn a_header_has_the_hash_of_its_fields_or_another() {
    let nothing = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421";
    let no_uncles = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347";
    let read = |header: &Value| serde_json::from_value::<WireHeader>(header.clone()).expect("it is whole");
    // Block 0 of Ethereum.
    let genesis = json!({
        "hash": "0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3", "parentHash": B256::ZERO,
        "sha3Uncles": no_uncles, "miner": Address::ZERO,
        "stateRoot": "0xd7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544",
        "transactionsRoot": nothing, "receiptsRoot": nothing, "logsBloom": Bloom::ZERO, "difficulty": "0x400000000",
        "number": "0x0", "gasLimit": "0x1388", "gasUsed": "0x0", "timestamp": "0x0",
        "extraData": "0x11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa", "mixHash": B256::ZERO,
        "nonce": "0x0000000000000042", "totalDifficulty": "0x400000000", "uncles": []
    });
    // A block of anvil with all fields up to the Prague upgrade.
    let newest = json!({
        "hash": "0x991af923de34bec49c5fd04e6dd74f8df28597ad276e3ec9cb321a123002ab39",
        "parentHash": "0x241573c5c563f29a6aeada03ae57bb382f5aa9741d87ef7ceb314555302160f0",
        "sha3Uncles": no_uncles, "miner": Address::ZERO,
        "stateRoot": "0x28b3af346edcd863076524d8888ec6144e53b1aab5f315a8aecbb2a17d90ae01",
        "transactionsRoot": nothing, "receiptsRoot": nothing, "logsBloom": Bloom::ZERO, "difficulty": "0x0",
        "number": "0x1", "gasLimit": "0x1c9c380", "gasUsed": "0x0", "timestamp": "0x6b0d2e73", "extraData": "0x",
        "mixHash": "0xbd986cf173effedea814f0cb62370e710ef3d55377e8f1827d750570b47f5cb1",
        "nonce": "0x0000000000000000", "baseFeePerGas": "0x3b9aca00", "withdrawalsRoot": nothing,
        "blobGasUsed": "0x0", "excessBlobGas": "0x0", "parentBeaconBlockRoot": B256::ZERO,
        "requestsHash": "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "size": "0x267"
    });
    for honest in [genesis, newest] {
        assert!(read(&honest).has_its_hash(), "{honest}");
        for (field, other) in [
            ("logsBloom", json!(Bloom::repeat_byte(1))),
            ("receiptsRoot", json!(B256::ZERO)),
            ("timestamp", json!("0x1")),
            ("nonce", Value::Null),
            ("mixHash", json!("soon")),
            ("requestsHash", json!(B256::ZERO)),
        ] {
            let mut lie = honest.clone();
            lie[field] = other;
            assert!(!read(&lie).has_its_hash(), "{lie}");
        }
    }
}
