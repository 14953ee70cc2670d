use alloy_primitives::{B256, Bytes, I256};
use proptest::prelude::*;

use super::*;
use crate::mapping::MapLogError;

fn with_user(json: &str, user: &str) -> SourceMapping {
    let settings = FamilySettings { family: Family::Generic, user: Some(user.to_owned()) };
    SourceMapping { settings, ..source("s", Family::Generic, events(json)) }
}

fn args(json: &str, values: Vec<Value>) -> String {
    let (_, fact) = map(&mapper(Family::Generic, json), json, "E", values);
    fact.args.expect("there are arguments")
}

fn text(ty: &str, value: Value) -> String {
    args(&abi(&[("E", &[("x", ty, false)])]), vec![value])
}

#[test]
fn arguments_are_kept_exactly_in_the_order_of_the_abi() {
    let json = abi(&[(
        "E",
        &[
            ("z", "uint256", false),
            ("a", "int8", false),
            ("m", "address", true),
            ("b", "bool", false),
            ("", "bytes4", false),
            ("data", "bytes", false),
        ],
    )]);
    let values = vec![
        Value::Uint(U256::MAX),
        Value::Int(I256::MINUS_ONE),
        Value::Address(address(0xab)),
        Value::Bool(false),
        Value::FixedBytes { word: B256::right_padding_from(&[1, 2, 3, 0xff]), len: 4 },
        Value::Bytes(Bytes::new()),
    ];
    let expected = format!(
        r#"{{"z":"{}","a":"-1","m":"0x{}","b":false,"arg4":"0x010203ff","data":"0x"}}"#,
        U256::MAX,
        "ab".repeat(20)
    );
    assert_eq!(args(&json, values), expected);
}

#[test]
fn arrays_are_arrays_and_structs_are_objects() {
    let json = r#"[{"type":"event","name":"E","inputs":[{"name":"p","type":"tuple[]","components":[
        {"name":"y","type":"uint8"},{"name":"","type":"string[1]"}]}]}]"#;
    let member = Value::Tuple(vec![uint(1), Value::Array(vec![Value::Text(Bytes::from_static(b"q\"\n"))])]);
    assert_eq!(args(json, vec![Value::Array(vec![member])]), r#"{"p":[{"y":"1","arg1":["q\"\n"]}]}"#);
}

#[test]
fn a_string_postgresql_cannot_keep_is_kept_as_hex() {
    let string = |bytes: &'static [u8]| text("string", Value::Text(Bytes::from_static(bytes)));
    assert_eq!(string("grüezi".as_bytes()), r#"{"x":"grüezi"}"#);
    assert_eq!(string(b"a\0b"), r#"{"x":{"hex":"0x610062"}}"#);
    assert_eq!(string(b"\xff"), r#"{"x":{"hex":"0xff"}}"#);
    // A lone surrogate in UTF-8 clothing.
    assert_eq!(string(b"\xed\xa0\x80"), r#"{"x":{"hex":"0xeda080"}}"#);
}

#[test]
fn an_indexed_argument_known_by_its_hash_is_named_so() {
    let json = abi(&[("E", &[("memo", "string", true), ("memo_hash", "bool", false)])]);
    let hash = B256::repeat_byte(0xcd);
    let expected = format!(r#"{{"memo_hash":"{hash}","memo_hash_2":true}}"#);
    assert_eq!(args(&json, vec![Value::Hash(hash), Value::Bool(true)]), expected);
}

#[test]
fn the_user_argument_is_the_account_and_stays_an_argument() {
    let json = abi(&[
        ("E", &[("n", "uint256", false), ("who", "address", true)]),
        ("F", &[("n", "uint256", false)]),
    ]);
    let mapper = Mapper::new(vec![with_user(&json, "who")]).expect("it is an address");
    let (word, fact) = map(&mapper, &json, "E", vec![uint(1), Value::Address(address(1))]);
    let expected = Fact {
        kind: KindIndex(0),
        account: Some(address(1)),
        counterparty: None,
        amount: None,
        token_id: None,
        args: Some(format!(r#"{{"n":"1","who":"0x{}"}}"#, "01".repeat(20))),
    };
    assert_eq!((word.as_str(), fact), ("contract.E", expected));
    assert_eq!(map(&mapper, &json, "F", vec![uint(1)]).1.account, None);
}

#[test]
fn arguments_are_written_under_the_names_they_are_kept_by() {
    let declare = |names: [&str; 3]| {
        format!(
            r#"[{{"type":"event","name":"E","inputs":[{{"name":"{}","type":"uint8"}},{{"name":"{}","type":"tuple[]",
            "components":[{{"name":"{}","type":"uint8"}}]}}]}}]"#,
            names[0], names[1], names[2]
        )
    };
    let (old, new) = (declare(["a", "b", "c"]), declare(["b", "a", ""]));
    let mut mapper = mapper(Family::Generic, &new);
    let mut kinds = mapper.kinds().to_vec();
    let first = super::mapper(Family::Generic, &old).kinds()[0].columns.clone();
    kinds[0].columns.iter_mut().zip(&first).for_each(|(column, first)| column.keep_as(first));
    mapper.keep_as(&kinds);
    let member = Value::Array(vec![Value::Tuple(vec![uint(2)])]);
    let (_, fact) = map(&mapper, &new, "E", vec![uint(1), member]);
    assert_eq!(fact.args.as_deref(), Some(r#"{"a":"1","b":[{"c":"2"}]}"#));
    assert_eq!(mapper.kinds()[0].columns[0].argument, "b");
}

#[test]
fn a_log_that_does_not_fit_the_mapper_has_a_reason_and_no_panic() {
    let json = abi(&[("E", &[("x", "uint256[]", false), ("who", "address", false)])]);
    let mapper = Mapper::new(vec![with_user(&json, "who")]).expect("it is an address");
    let event = events(&json).remove(0);
    let log = |source, args| TypedLog { source: SourceIndex(source), event: Arc::clone(&event), args };
    let who = || Value::Address(address(1));
    let unknown = MapLogError::UnknownEvent { event: "E(uint256[],address)".to_owned() };
    assert_eq!(mapper.map(&log(1, vec![])), Err(unknown));
    assert_eq!(mapper.map(&log(0, vec![])), Err(MapLogError::Count { expected: 2, found: 0 }));
    let nested = Value::Array(vec![Value::Array(vec![])]);
    assert_eq!(mapper.map(&log(0, vec![nested, who()])), Err(MapLogError::Type { position: 0 }));
    let array = || Value::Array(vec![]);
    assert_eq!(mapper.map(&log(0, vec![array(), array()])), Err(MapLogError::Type { position: 1 }));
}

proptest! {
    #[test]
    fn any_string_survives_as_json_without_nul(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let json = text("string", Value::Text(bytes.clone().into()));
        prop_assert!(!json.contains('\0') && !json.contains("\\u0000"));
        let parsed: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        let kept = match &parsed["x"] {
            serde_json::Value::String(text) => text.clone().into_bytes(),
            object => alloy_primitives::hex::decode(object["hex"].as_str().expect("hex")).expect("hex"),
        };
        prop_assert_eq!(kept, bytes);
    }
}
