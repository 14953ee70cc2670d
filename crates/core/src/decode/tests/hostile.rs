use std::time::{Duration, Instant};

use super::*;

const AGAIN: &str = "too many offsets point to the same bytes";

fn reason(ty: &str, data: Bytes) -> String {
    decode_data(&declare("E", false, &[("x", ty, false)]), data).expect_err("it is malformed")
}

#[test]
fn offsets_and_lengths_beyond_the_data_are_malformed() {
    let huge = B256::repeat_byte(0xff);
    let two_to_64 = B256::from(U256::from(1) << 64);
    for ty in ["bytes", "string", "uint256[]", "bytes[]", "string[2]"] {
        for word in [huge, two_to_64, number(u64::MAX)] {
            let outside = format!("argument `x`: an offset or a length points outside the data: {word}");
            assert_eq!(reason(ty, data(&[word, number(0)])), outside, "{ty}");
        }
    }
    for ty in ["bytes", "string", "uint256[]", "bytes[]"] {
        for word in [huge, two_to_64, number(u64::MAX)] {
            let outside = format!("argument `x`: an offset or a length points outside the data: {word}");
            assert_eq!(reason(ty, data(&[number(32), word])), outside, "{ty}");
        }
    }
}

#[test]
fn many_offsets_to_one_long_tail_are_refused_before_they_cost() {
    let offsets = 20_000u64;
    let mut words = vec![number(32), number(offsets)];
    words.extend((0..offsets).map(|_| number(offsets * 32)));
    words.push(number(600_000));
    words.extend((0..18_750).map(|_| B256::repeat_byte(1)));
    let began = Instant::now();
    for ty in ["bytes[]", "string[]"] {
        assert_eq!(reason(ty, data(&words)), format!("argument `x`: {AGAIN}"));
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn arrays_within_arrays_over_the_same_bytes_are_refused() {
    // Each level is an array whose every offset leads to the next one: 30^15 elements in 16 kB.
    let width = 30u64;
    let mut words = vec![number(32)];
    for _ in 0..15 {
        words.push(number(width));
        words.extend((0..width).map(|_| number(width * 32)));
    }
    words.push(number(0));
    let began = Instant::now();
    let nested = format!("uint256{}", "[]".repeat(16));
    assert_eq!(reason(&nested, data(&words)), format!("argument `x`: {AGAIN}"));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_oversized_fixed_array_is_malformed_and_reserves_nothing() {
    let ty = format!("uint256{}", "[4294967295]".repeat(3));
    assert!(reason(&ty, data(&[number(1)])).starts_with("the data ends too early: 32 bytes"));
    let dynamic = format!("string{}", "[4294967295]".repeat(3));
    assert!(reason(&dynamic, data(&[number(32), number(0)])).contains("ends too early"));
}

#[test]
fn tails_that_share_their_bytes_decode() {
    let words = [number(64), number(64), number(1), B256::right_padding_from(b"x")];
    let event = declare("E", false, &[("a", "string", false), ("b", "string", false)]);
    let text = Value::Text(Bytes::from_static(b"x"));
    assert_eq!(decode_data(&event, data(&words)), Ok(vec![text.clone(), text]));
}
