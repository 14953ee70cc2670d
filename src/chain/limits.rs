//! Which family a refusal belongs to, told by the language of its message: providers change wording,
//! numbers and status codes, and new ones appear, but all of them talk about ranges, results, requests
//! or blocks. The order matters: the more specific families come first.

use super::error::{Refusal, RefusedAnswer};

/// A width in blocks the node says it would accept, strictly narrower than what was asked.
pub type Hint = u64;

/// JSON-RPC 2.0 §5.1: the method does not exist or is not available.
const METHOD_NOT_FOUND: i64 = -32601;
/// HTTP 402.
const PAYMENT_REQUIRED: u16 = 402;
/// HTTP 429, which some providers also use as the JSON-RPC code.
const TOO_MANY_REQUESTS: u16 = 429;

/// Words that speak of a bound.
const BOUND: &[&str] = &[
    "limit",
    "max",
    "exceed",
    "too ",
    "more than",
    "greater",
    "over ",
    "up to",
    "allowed",
    "> ",
    "cap ",
    "not supported",
    "wide",
    "large",
];

/// A family is recognised by one word of each list.
struct Rule {
    family: Family,
    subject: &'static [&'static str],
    says: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Family {
    Quota,
    WrongChain,
    Rate,
    BeyondHead,
    UnknownBlock,
    Pruned,
    MethodOff,
    Addresses,
    Time,
    Size,
    Range,
}

const fn rule(family: Family, subject: &'static [&'static str], says: &'static [&'static str]) -> Rule {
    Rule { family, subject, says }
}

/// An empty second list asks for nothing more.
const RULES: &[Rule] = &[
    rule(Family::Quota, &["payment required", "monthly", "quota", "out of credit", "daily "], &[]),
    rule(Family::WrongChain, &["another chain", "wrong chain", "wrong network", "another network"], &[]),
    rule(
        Family::Rate,
        &["rate limit", "rate-limit", "ratelimit", "too many requests", "per second", "/second"],
        &[],
    ),
    rule(Family::Rate, &["throttl", "request limit", "slow down"], &[]),
    rule(
        Family::BeyondHead,
        &["beyond current head", "beyond head", "last accepted", "outofrange", "future block"],
        &[],
    ),
    rule(
        Family::UnknownBlock,
        &["unknown block", "not currently canonical", "header not found", "block not found"],
        &[],
    ),
    rule(
        Family::Pruned,
        &["pruned", "missing trie node", "history unavailable", "history is not available"],
        &[],
    ),
    rule(
        Family::MethodOff,
        &["method"],
        &["not found", "not supported", "not available", "not allowed", "disabled", "does not exist"],
    ),
    rule(Family::Addresses, &["addresses", "topics", "filters"], BOUND),
    rule(Family::Time, &["timeout", "timed out", "deadline", "took too long", "too slow"], &[]),
    rule(
        Family::Size,
        &["result", "response size", "response body", "response is too", "bytes", "logs matched"],
        BOUND,
    ),
    rule(Family::Size, &["many logs", "more logs", "number of logs"], BOUND),
    rule(Family::Range, &["range", "blocks"], BOUND),
];

/// The family of a refusal.
pub(super) fn classify(answer: &RefusedAnswer) -> Refusal {
    let data = answer.data.as_deref().unwrap_or_default();
    let text = format!("{} {data}", answer.message).to_lowercase();
    let has = |words: &[&str]| words.is_empty() || words.iter().any(|word| text.contains(word));
    let spoken = RULES.iter().find(|rule| has(rule.subject) && has(rule.says)).map(|rule| rule.family);
    let too_many =
        answer.status == Some(TOO_MANY_REQUESTS) || answer.code == Some(i64::from(TOO_MANY_REQUESTS));
    match spoken {
        Some(Family::Quota) => Refusal::Quota,
        _ if answer.status == Some(PAYMENT_REQUIRED) => Refusal::Quota,
        Some(Family::WrongChain) => Refusal::WrongChain,
        Some(Family::Rate) => Refusal::Rate { retry_after: answer.retry_after },
        _ if too_many => Refusal::Rate { retry_after: answer.retry_after },
        Some(Family::BeyondHead) => Refusal::BeyondHead,
        Some(Family::UnknownBlock) => Refusal::UnknownBlock,
        Some(Family::Pruned) => Refusal::Pruned,
        Some(Family::MethodOff) => Refusal::MethodOff,
        _ if answer.code == Some(METHOD_NOT_FOUND) => Refusal::MethodOff,
        Some(Family::Addresses) => Refusal::Addresses,
        Some(Family::Time) => Refusal::Time,
        Some(Family::Size) => Refusal::Size(hint(&text, answer.asked)),
        Some(Family::Range) => Refusal::Range(hint(&text, answer.asked)),
        None => Refusal::Other,
    }
}

/// The width the text offers. A range that is spelt out beats a number; of several numbers the largest one
/// below what was asked is meant ("5000 > 3000", "from 1 to 9 …, maximum is 2048"). What is not strictly narrower
/// than what was asked is no help and would be asked for again for ever.
fn hint(text: &str, asked: Option<u64>) -> Option<Hint> {
    let asked = asked?;
    let numbers = numbers(text);
    let spelt = numbers.windows(2).rev().find_map(|pair| {
        let width = pair[1].value.checked_sub(pair[0].value)?.checked_add(1)?;
        (pair[1].follows_range_sign && width < asked).then_some(width)
    });
    let stated =
        || numbers.iter().filter(|n| !n.hex).map(|n| n.value).filter(|n| (1..asked).contains(n)).max();
    spelt.or_else(stated)
}

struct Number {
    value: u64,
    hex: bool,
    /// Between the number before and this one stand only signs that join the ends of a range.
    follows_range_sign: bool,
}

/// Numbers of a lower-case text: `10000`, `10,000`, `10k`, `0x112a880`.
fn numbers(text: &str) -> Vec<Number> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut last_end) = (Vec::<Number>::new(), 0, 0);
    while at < bytes.len() {
        let inside_word = at > 0 && bytes[at - 1].is_ascii_alphanumeric();
        if !bytes[at].is_ascii_digit() || inside_word {
            at += 1;
            continue;
        }
        let (value, hex, end) = number_at(text, at);
        if let Some(value) = value {
            let between = &text[last_end..at];
            let joins = between.chars().all(|c| " ,-–:\"'".contains(c))
                || [" to ", "\",\"to\":\""].contains(&between);
            found.push(Number { value, hex, follows_range_sign: !found.is_empty() && joins });
            last_end = end;
        }
        at = end;
    }
    found
}

fn number_at(text: &str, start: usize) -> (Option<u64>, bool, usize) {
    let rest = &text[start..];
    if let Some(digits) = rest.strip_prefix("0x") {
        let len = digits.bytes().take_while(u8::is_ascii_hexdigit).count();
        return (u64::from_str_radix(&digits[..len], 16).ok(), true, start + 2 + len);
    }
    let bytes = rest.as_bytes();
    let mut len = 0;
    while len < bytes.len() {
        let thousands = bytes[len] == b','
            && bytes.len() >= len + 4
            && bytes[len + 1..len + 4].iter().all(u8::is_ascii_digit);
        if !bytes[len].is_ascii_digit() && !thousands {
            break;
        }
        len += 1;
    }
    let value = rest[..len].replace(',', "").parse::<u64>().ok();
    let next = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    match bytes.get(len) {
        Some(b'k') if !next(len + 1) => (value.and_then(|v| v.checked_mul(1000)), false, start + len + 1),
        _ => (value, false, start + len),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn family(refusal: Refusal) -> &'static str {
        match refusal {
            Refusal::Range(_) => "range_too_large",
            Refusal::Size(_) => "result_too_large",
            Refusal::Addresses => "too_many_addresses",
            Refusal::Rate { .. } => "rate_limit",
            Refusal::Quota => "quota_exhausted",
            Refusal::BeyondHead => "beyond_head",
            Refusal::UnknownBlock => "unknown_block",
            Refusal::Pruned => "pruned",
            Refusal::WrongChain => "wrong_chain",
            Refusal::Other => "transient_or_range",
            Refusal::Time => "time",
            Refusal::MethodOff => "method_off",
        }
    }

    #[test]
    fn real_answers_of_providers_are_told_apart() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/facts/provider-limits.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            eprintln!("skipped: {} is not here", path.display());
            return;
        };
        let answers: Vec<serde_json::Value> = serde_json::from_str(&text).expect("valid facts");
        let wrong: Vec<_> = answers
            .iter()
            .filter_map(|answer| {
                let refused = RefusedAnswer {
                    code: answer["code"].as_i64(),
                    status: answer["http_status"].as_u64().and_then(|s| u16::try_from(s).ok()),
                    message: answer["message"].as_str().unwrap_or_default().to_owned(),
                    data: answer.get("data").map(ToString::to_string),
                    retry_after: None,
                    asked: Some(1_000_000),
                };
                let (found, expected) = (family(classify(&refused)), answer["class"].as_str()?);
                (found != expected).then(|| format!("{}: {found}, not {expected}", answer["id"]))
            })
            .collect();
        assert_eq!((answers.len(), wrong), (33, Vec::<String>::new()));
    }

    fn hinted(message: &str, asked: u64) -> Option<Hint> {
        hint(&message.to_lowercase(), Some(asked))
    }

    #[test]
    fn a_hint_is_read_in_every_spelling() {
        assert_eq!(
            hinted(
                "query returned more than 10000 results. Try with this block range [0x112A880, 0x112A908].",
                5000
            ),
            Some(0x89)
        );
        assert_eq!(
            hinted("query exceeds max results 20000, retry with the range 6000000-6000509", 5000),
            Some(510)
        );
        assert_eq!(hinted("eth_getLogs is limited to a 10,000 range", 50_000), Some(10_000));
        assert_eq!(hinted("range is too large, max is 10k blocks", 50_000), Some(10_000));
        assert_eq!(hinted("exceeds the range allowed for your plan (5000 > 3000)", 5000), Some(3000));
        assert_eq!(
            hinted("requested too many blocks from 53164500 to 53166548, maximum is set to 2048", 2049),
            Some(2048)
        );
        assert_eq!(hinted(r#"too many {"from":"0x10","to":"0x1f"}"#, 100), Some(16));
    }

    #[test]
    fn a_hint_that_is_not_narrower_is_none() {
        assert_eq!(hinted("max range is 1000 blocks", 1000), None);
        assert_eq!(hinted("retry with the range 6000000-6000509", 510), None);
        assert_eq!(hinted("block range is too wide", 510), None);
    }
}
