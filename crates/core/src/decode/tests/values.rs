use alloy_primitives::{I256, hex};

use super::*;

fn one(ty: &str, word: B256) -> Result<Value, String> {
    let plain = decode_data(&declare("E", false, &[("x", ty, false)]), data(&[word]));
    let event = declare("E", false, &[("x", ty, true)]);
    let decoder = Decoder::new(vec![source(0, AddressSet::Any, vec![Arc::clone(&event)])]);
    let indexed = match decoder.decode(&log(1, &[event.topic0, word], data(&[]))) {
        DecodeOutcome::Typed(log) => Ok(log.args),
        DecodeOutcome::Malformed { reason, .. } => Err(reason),
        DecodeOutcome::Foreign => panic!("the log is ours"),
    };
    assert_eq!(plain, indexed, "a word reads the same as a topic");
    plain.map(|mut args| args.remove(0))
}

#[test]
fn words_are_read_to_the_bit() {
    let max = B256::repeat_byte(0xff);
    let minus_128 = B256::from(I256::try_from(-128).expect("fits").into_raw());
    assert_eq!(one("uint256", max), Ok(Value::Uint(U256::MAX)));
    assert_eq!(one("uint", number(5)), Ok(Value::Uint(U256::from(5))));
    assert_eq!(one("int256", max), Ok(Value::Int(I256::MINUS_ONE)));
    assert_eq!(one("int8", minus_128), Ok(Value::Int(I256::try_from(-128).expect("fits"))));
    assert_eq!(one("int8", number(127)), Ok(Value::Int(I256::try_from(127).expect("fits"))));
    assert_eq!(one("bool", number(1)), Ok(Value::Bool(true)));
    assert_eq!(one("address", account(3)), Ok(Value::Address(Address::repeat_byte(3))));
    let left = B256::right_padding_from(&[1, 2, 3, 4]);
    assert_eq!(one("bytes4", left), Ok(Value::FixedBytes { word: left, len: 4 }));
    assert_eq!(one("bytes32", max), Ok(Value::FixedBytes { word: max, len: 32 }));
}

#[test]
fn dirty_bits_outside_a_type_are_malformed() {
    let max = B256::repeat_byte(0xff);
    let cases = [
        ("address", max),
        ("uint8", number(256)),
        ("uint248", max),
        ("int8", number(128)),
        ("int8", number(255)),
        ("bool", number(2)),
        ("bytes4", B256::right_padding_from(&[1, 2, 3, 4, 5])),
    ];
    for (ty, word) in cases {
        assert_eq!(one(ty, word), Err(format!("argument `x`: {word} is not a clean {ty}")));
    }
}

#[test]
fn data_may_be_longer_than_needed_and_never_shorter() {
    let event = declare("E", false, &[("a", "uint256", false), ("b", "uint256", false)]);
    let args = vec![Value::Uint(U256::from(1)), Value::Uint(U256::from(2))];
    let words = [number(1), number(2), number(3)].concat();
    for end in [64, 65, 96] {
        assert_eq!(decode_data(&event, words[..end].to_vec().into()), Ok(args.clone()));
    }
    let short = decode_data(&event, words[..63].to_vec().into());
    assert_eq!(short, Err("the data ends too early: 63 bytes where 64 are needed".to_owned()));
}

#[test]
fn an_indexed_argument_that_fits_no_topic_is_its_hash() {
    let types = ["string", "bytes", "uint256[]", "uint8[2]"];
    for ty in types {
        let event = declare("E", false, &[("x", ty, true)]);
        let decoder = Decoder::new(vec![source(0, AddressSet::Any, vec![Arc::clone(&event)])]);
        let hash = B256::repeat_byte(0xaa);
        let DecodeOutcome::Typed(log) = decoder.decode(&log(1, &[event.topic0, hash], data(&[]))) else {
            panic!("{ty} is ours");
        };
        assert_eq!((log.args, event.params[0].is_hashed()), (vec![Value::Hash(hash)], true));
    }
}

#[test]
fn strings_keep_nul_and_what_is_no_utf8() {
    let event = declare("E", false, &[("s", "string", false)]);
    let words = data(&[number(32), number(3), B256::right_padding_from(&[0, 0xff, b'a'])]);
    assert_eq!(decode_data(&event, words), Ok(vec![Value::Text(Bytes::from_static(&[0, 0xff, b'a']))]));
}

#[test]
fn padding_behind_bytes_is_neither_needed_nor_looked_at() {
    let event = declare("E", false, &[("s", "bytes", false)]);
    let expected = Ok(vec![Value::Bytes(Bytes::from_static(b"abc"))]);
    let unpadded = [&number(32)[..], &number(3)[..], b"abc"].concat();
    let dirty = [&unpadded[..], &[0xff; 29]].concat();
    assert_eq!(decode_data(&event, unpadded.into()), expected);
    assert_eq!(decode_data(&event, dirty.into()), expected);
}

/// The example `f(uint256,uint32[],bytes10,bytes)` and `g(uint256[][],string[])` of the ABI
/// specification, <https://docs.soliditylang.org/en/latest/abi-spec.html#examples>.
#[test]
fn the_examples_of_the_specification_decode() {
    let f = declare(
        "f",
        false,
        &[("a", "uint256", false), ("b", "uint32[]", false), ("c", "bytes10", false), ("d", "bytes", false)],
    );
    let words = [
        number(0x123),
        number(0x80),
        B256::right_padding_from(b"1234567890"),
        number(0xe0),
        number(2),
        number(0x456),
        number(0x789),
        number(0x0d),
        B256::right_padding_from(b"Hello, world!"),
    ];
    let uint = |n: u64| Value::Uint(U256::from(n));
    let expected = vec![
        uint(0x123),
        Value::Array(vec![uint(0x456), uint(0x789)]),
        Value::FixedBytes { word: words[2], len: 10 },
        Value::Bytes(Bytes::from_static(b"Hello, world!")),
    ];
    assert_eq!(decode_data(&f, data(&words)), Ok(expected));

    let g = declare("g", false, &[("a", "uint256[][]", false), ("b", "string[]", false)]);
    let words = hex!(
        "0000000000000000000000000000000000000000000000000000000000000040"
        "0000000000000000000000000000000000000000000000000000000000000140"
        "0000000000000000000000000000000000000000000000000000000000000002"
        "0000000000000000000000000000000000000000000000000000000000000040"
        "00000000000000000000000000000000000000000000000000000000000000a0"
        "0000000000000000000000000000000000000000000000000000000000000002"
        "0000000000000000000000000000000000000000000000000000000000000001"
        "0000000000000000000000000000000000000000000000000000000000000002"
        "0000000000000000000000000000000000000000000000000000000000000001"
        "0000000000000000000000000000000000000000000000000000000000000003"
        "0000000000000000000000000000000000000000000000000000000000000003"
        "0000000000000000000000000000000000000000000000000000000000000060"
        "00000000000000000000000000000000000000000000000000000000000000a0"
        "00000000000000000000000000000000000000000000000000000000000000e0"
        "0000000000000000000000000000000000000000000000000000000000000003"
        "6f6e650000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000003"
        "74776f0000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000005"
        "7468726565000000000000000000000000000000000000000000000000000000"
    );
    let text = |text: &'static str| Value::Text(Bytes::from_static(text.as_bytes()));
    let expected = vec![
        Value::Array(vec![Value::Array(vec![uint(1), uint(2)]), Value::Array(vec![uint(3)])]),
        Value::Array(vec![text("one"), text("two"), text("three")]),
    ];
    assert_eq!(decode_data(&g, words.to_vec().into()), Ok(expected));
}
