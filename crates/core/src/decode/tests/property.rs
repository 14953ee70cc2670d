use alloy_primitives::I256;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::decode::canonical;
use crate::decode::{AbiType, Param};

fn word() -> impl Strategy<Value = B256> {
    any::<[u8; 32]>().prop_map(B256::from)
}

fn elementary() -> impl Strategy<Value = AbiType> {
    prop_oneof![
        Just(AbiType::Address),
        Just(AbiType::Bool),
        Just(AbiType::Bytes),
        Just(AbiType::String),
        (1usize..=32).prop_map(|n| AbiType::Uint(n * 8)),
        (1usize..=32).prop_map(|n| AbiType::Int(n * 8)),
        (1usize..=32).prop_map(AbiType::FixedBytes),
    ]
}

pub(crate) fn types() -> impl Strategy<Value = AbiType> {
    elementary().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|ty| AbiType::Array(Box::new(ty))),
            (inner.clone(), 1usize..4).prop_map(|(ty, len)| AbiType::FixedArray(Box::new(ty), len)),
            vec(inner, 1..4).prop_map(|types| {
                AbiType::Tuple(types.into_iter().enumerate().map(|(i, ty)| (format!("m{i}"), ty)).collect())
            }),
        ]
    })
}

pub(crate) fn value(ty: &AbiType) -> BoxedStrategy<Value> {
    match ty {
        AbiType::Address => any::<[u8; 20]>().prop_map(|bytes| Value::Address(bytes.into())).boxed(),
        AbiType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        AbiType::Bytes => vec(any::<u8>(), 0..70).prop_map(|bytes| Value::Bytes(bytes.into())).boxed(),
        AbiType::String => vec(any::<u8>(), 0..70).prop_map(|bytes| Value::Text(bytes.into())).boxed(),
        AbiType::Uint(bits) => {
            let drop = 256 - bits;
            word().prop_map(move |word| Value::Uint(U256::from_be_bytes(word.0) >> drop)).boxed()
        }
        AbiType::Int(bits) => {
            let drop = 256 - bits;
            word().prop_map(move |word| Value::Int(I256::from_be_bytes(word.0).asr(drop))).boxed()
        }
        AbiType::FixedBytes(len) => {
            let len = *len;
            let cut =
                move |word: B256| Value::FixedBytes { word: B256::right_padding_from(&word[..len]), len };
            word().prop_map(cut).boxed()
        }
        AbiType::Array(inner) => vec(value(inner), 0..4).prop_map(Value::Array).boxed(),
        AbiType::FixedArray(inner, len) => vec(value(inner), *len).prop_map(Value::Array).boxed(),
        AbiType::Tuple(fields) => {
            let fields: Vec<_> = fields.iter().map(|(_, ty)| value(ty)).collect();
            fields.prop_map(Value::Tuple).boxed()
        }
    }
}

pub(crate) fn event() -> impl Strategy<Value = Arc<AbiEvent>> {
    vec((types(), any::<bool>()), 0..6).prop_map(|params| {
        let mut topics = 0;
        let params = params.into_iter().enumerate().map(|(i, (ty, wish))| {
            let indexed = wish && topics < 3;
            topics += usize::from(indexed);
            Param { name: format!("p{i}"), ty, indexed }
        });
        Arc::new(AbiEvent::new("E".to_owned(), params.collect(), false).expect("at most three topics"))
    })
}

/// An event, arguments for it, and the log alloy's encoder makes of them.
pub(crate) fn event_and_log() -> impl Strategy<Value = (Arc<AbiEvent>, Vec<Value>, Log)> {
    event().prop_flat_map(|event| {
        let args: Vec<_> = event
            .params
            .iter()
            .map(|p| if p.is_hashed() { word().prop_map(Value::Hash).boxed() } else { value(&p.ty) })
            .collect();
        args.prop_map(move |args| {
            let mut topics = vec![event.topic0];
            for (_, arg) in event.params.iter().zip(&args).filter(|(param, _)| param.indexed) {
                topics.push(topic(arg));
            }
            let log = log(1, &topics, canonical::encode(&event, &args));
            (Arc::clone(&event), args, log)
        })
    })
}

fn topic(value: &Value) -> B256 {
    match value {
        Value::Address(address) => address.into_word(),
        Value::Uint(number) => (*number).into(),
        Value::Int(number) => number.into_raw().into(),
        Value::Bool(truth) => number(u64::from(*truth)),
        Value::FixedBytes { word, .. } | Value::Hash(word) => *word,
        other => panic!("no topic: {other:?}"),
    }
}

/// Words that look like offsets, lengths and numbers, and now and then like nothing.
fn garbage() -> impl Strategy<Value = Bytes> {
    let word = prop_oneof![
        4 => (0u64..12).prop_map(|n| number(n * 32)),
        3 => (0u64..6).prop_map(number),
        1 => any::<u64>().prop_map(number),
        1 => Just(B256::repeat_byte(0xff)),
        1 => word(),
    ];
    (vec(word, 0..40), 0usize..32).prop_map(|(words, cut)| {
        let bytes = words.concat();
        bytes[..bytes.len().saturating_sub(cut)].to_vec().into()
    })
}

fn leaves(values: &[Value]) -> usize {
    let within = |value: &Value| match value {
        Value::Array(items) | Value::Tuple(items) => leaves(items),
        _ => 1,
    };
    values.iter().map(within).sum()
}

proptest! {
    #[test]
    fn what_alloy_encodes_decodes_to_the_same_values((event, args, log) in event_and_log()) {
        let decoder = Decoder::new(vec![source(0, AddressSet::Any, vec![Arc::clone(&event)])]);
        let DecodeOutcome::Typed(typed) = decoder.decode(&log) else { panic!("{:?}", decoder.decode(&log)) };
        prop_assert_eq!(&typed.args, &args);
        prop_assert_eq!(typed.event, event);
    }

    #[test]
    fn garbage_is_malformed_or_bounded_values_and_never_a_panic(event in event(), bytes in garbage()) {
        let topics = [event.topic0, number(1), number(1), number(1)];
        let log = log(1, &topics[..event.topic_count()], bytes);
        let decoder = Decoder::new(vec![source(0, AddressSet::Any, vec![event])]);
        if let DecodeOutcome::Typed(typed) = decoder.decode(&log) {
            prop_assert!(leaves(&typed.args) <= 4 * log.data.len().div_ceil(32) + 4);
        }
    }

    #[test]
    fn one_changed_word_never_panics(
        (event, _, mut log) in event_and_log(), at in any::<prop::sample::Index>(), word in word(), small in any::<bool>()
    ) {
        let mut words: Vec<u8> = log.data.to_vec();
        if !words.is_empty() {
            let at = at.index(words.len() / 32) * 32;
            words[at..at + 32].copy_from_slice(&if small { number(u64::from(word[0])) } else { word }[..]);
        }
        log.data = words.into();
        let decoder = Decoder::new(vec![source(0, AddressSet::Any, vec![event])]);
        prop_assert_ne!(decoder.decode(&log), DecodeOutcome::Foreign);
    }

    #[test]
    fn any_text_is_an_abi_or_an_error(text in "\\PC*", ty in "[a-z()\\[\\]0-9,]{0,40}") {
        let _ = parse_abi(&text);
        let json = serde_json::json!([{ "type": "event", "name": "E", "inputs": [{ "name": "x", "type": ty }] }]);
        let _ = parse_abi(&json.to_string());
    }
}
