//! Any words, in any order: nothing panics, and no hint is as wide as what was asked.

use proptest::prelude::*;

use crate::limits::classify;
use crate::limits::{ErrorResponse, RefusalKind};

/// Sentences of real words in any order, with figures, signs and rubbish between.
fn sentences() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => proptest::sample::select(RULE_WORDS),
        1 => proptest::sample::select(&[",", ". ", ": ", "[", "]", "(", ")", "-", "0x", "é", "🪵", "\"", "<", "</", ">", "k"][..]),
    ]
    .prop_map(str::to_owned);
    let figure = prop_oneof![
        any::<u64>().prop_map(|n| n.to_string()),
        (0..100_000u64).prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| format!("{n:#x}")),
        Just("10,000".to_owned()),
        Just("99999999999999999999999".to_owned()),
        Just("0xfffffffffffffffffff".to_owned()),
    ];
    let blank = proptest::sample::select(&["", " ", " "][..]);
    let piece = (prop_oneof![3 => word, 1 => figure, 1 => any::<String>()], blank);
    proptest::collection::vec(piece, 0..24)
        .prop_map(|pieces| pieces.into_iter().map(|(piece, blank)| piece + blank).collect())
}

const RULE_WORDS: &[&str] = &[
    "block",
    "blocks",
    "range",
    "limit",
    "max",
    "exceeds",
    "results",
    "logs",
    "up to",
    "from",
    "to",
    "between",
    "and",
    "retry with the range",
    "this block range should work",
    "more than",
    "requests",
    "per second",
    "address",
    "batch",
    "timeout",
    "not found",
    "method",
    "pruned",
    "query",
    "response",
    "too large",
    "allowed",
    "<style>",
    "</style>",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_words_panic_and_no_hint_is_as_wide_as_what_was_asked(
        message in sentences(),
        data in proptest::option::of(sentences()),
        asked in proptest::option::of(prop_oneof![1..5u64, 1..100_000u64, any::<u64>()]),
        calls in proptest::option::of(1..1000u64),
        status in proptest::option::of(100..600u16),
        code in proptest::option::of(any::<i64>()),
    ) {
        let answer = ErrorResponse { code, status, message, data, retry_after: None, asked, calls };
        match classify(&answer) {
            RefusalKind::Range(Some(hint)) | RefusalKind::Size(Some(hint)) => {
                prop_assert!(hint >= 1 && Some(hint) < asked, "{hint} of {asked:?}");
            }
            RefusalKind::Batch(Some(hint)) => prop_assert!(hint >= 2 && Some(hint) < calls, "{hint} of {calls:?}"),
            _ => {}
        }
    }

    #[test]
    fn json_of_any_shape_is_read(json in json(), asked in 1..100_000u64) {
        let answer = ErrorResponse {
            message: json.to_string(),
            data: Some(json.to_string()),
            asked: Some(asked),
            ..ErrorResponse::default()
        };
        if let RefusalKind::Range(Some(hint)) | RefusalKind::Size(Some(hint)) = classify(&answer) {
            prop_assert!((1..asked).contains(&hint));
        }
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let key = proptest::sample::select(
        &["from", "to", "fromBlock", "toBlock", "limit", "max block range", "message"][..],
    );
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(|b| json!(b)),
        any::<u64>().prop_map(|n| json!(n)),
        any::<u64>().prop_map(|n| json!(format!("{n:#x}"))),
        any::<f64>().prop_map(|n| json!(n)),
        sentences().prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((key.clone(), inner), 0..4).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
            )),
        ]
    })
}
