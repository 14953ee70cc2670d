//! Which family a refusal belongs to, told by the language of its message: providers change wording,
//! numbers and status codes, and new ones appear, but all of them talk about ranges, results, requests
//! or blocks. What is read is the first clause that says something; the advice behind it ("reduce your block
//! range", "use fewer addresses") may speak of anything.

mod hint;
mod rules;
mod text;

#[cfg(test)]
mod tests;

use super::error::{Refusal, RefusedAnswer};
use rules::Family;
use text::Said;

/// A width in blocks the node says it would accept, strictly narrower than what was asked.
pub type Hint = u64;

/// JSON-RPC 2.0 §5.1: the method does not exist or is not available.
const METHOD_NOT_FOUND: i64 = -32601;
/// EIP-1474: the method is not implemented.
const METHOD_NOT_SUPPORTED: i64 = -32004;

/// The family of a refusal. Words come before numbers: codes and statuses are used at will.
pub(super) fn classify(answer: &RefusedAnswer) -> Refusal {
    let said = Said::new(&answer.message, answer.data.as_deref());
    match said.family() {
        // A status that says "too many requests" beats words that are about no limit of the question's own.
        Some(family) if !is_too_many_requests(answer) || family.is_limit() => meant(family, &said, answer),
        _ => by_number(answer),
    }
}

fn meant(family: Family, said: &Said, answer: &RefusedAnswer) -> Refusal {
    match family {
        Family::Quota => Refusal::Quota,
        Family::WrongChain => Refusal::WrongChain,
        Family::Batch => Refusal::Batch(hint::batch(said.text(), answer.calls)),
        Family::Rate => Refusal::Rate { retry_after: answer.retry_after },
        Family::BeyondHead => Refusal::BeyondHead,
        Family::UnknownBlock => Refusal::UnknownBlock,
        Family::Pruned => Refusal::Pruned,
        Family::MethodOff => Refusal::MethodOff,
        Family::Addresses => Refusal::Addresses,
        Family::Time => Refusal::Time,
        Family::Size => Refusal::Size(hint::size(said.text(), answer.asked)),
        Family::Range => Refusal::Range(hint::range(said.text(), answer.asked)),
        Family::Denied => Refusal::Denied,
    }
}

fn is_too_many_requests(answer: &RefusedAnswer) -> bool {
    answer.status == Some(429) || answer.code == Some(429)
}

/// Where no word is understood. -32005 alone decides nothing: some mean the rate by it, some the range.
fn by_number(answer: &RefusedAnswer) -> Refusal {
    match (answer.status, answer.code) {
        _ if is_too_many_requests(answer) => Refusal::Rate { retry_after: answer.retry_after },
        (Some(402), _) => Refusal::Quota,
        (_, Some(METHOD_NOT_FOUND | METHOD_NOT_SUPPORTED)) => Refusal::MethodOff,
        // The last two are a proxy's: the origin did not answer in time.
        (Some(408 | 504 | 522 | 524), _) => Refusal::Time,
        (Some(413), _) => Refusal::Size(None),
        (Some(401 | 403), _) => Refusal::Denied,
        // A node that says when to come back is busy, not at a loss.
        _ if answer.retry_after.is_some() => Refusal::Rate { retry_after: answer.retry_after },
        _ => Refusal::Other,
    }
}
