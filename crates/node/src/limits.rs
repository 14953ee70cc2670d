//! Classifies a refusal by the words of its message. Providers change wording, numbers and status codes, and new
//! providers appear. But all messages are about ranges, results, requests or blocks. The first clause with known
//! words decides: the advice after it ("reduce your block range", "use fewer addresses") may be about anything.

mod hint;
mod refusal;
mod rules;
mod text;

#[cfg(test)]
mod tests;

pub use refusal::RefusalKind;
pub(super) use refusal::{ErrorResponse, Hint, NarrowReason};
use rules::RefusalFamily;
use text::RefusalText;

/// JSON-RPC 2.0 §5.1: the method does not exist or is not available.
const METHOD_NOT_FOUND: i64 = -32601;
/// EIP-1474: the method is not implemented.
const METHOD_NOT_SUPPORTED: i64 = -32004;

/// The kind of a refusal. Words come before numbers: providers choose codes and statuses at will.
pub(super) fn classify(answer: &ErrorResponse) -> RefusalKind {
    let text = RefusalText::new(&answer.message, answer.data.as_deref());
    match text.family() {
        // The status "too many requests" decides, unless the words are about a limit of this request.
        Some(family) if !is_too_many_requests(answer) || family.is_limit() => meant(family, &text, answer),
        _ => by_number(answer),
    }
}

fn meant(family: RefusalFamily, text: &RefusalText, answer: &ErrorResponse) -> RefusalKind {
    match family {
        RefusalFamily::Quota => RefusalKind::Quota,
        RefusalFamily::WrongChain => RefusalKind::WrongChain,
        RefusalFamily::Batch => RefusalKind::Batch(hint::batch(text.as_str(), answer.calls)),
        RefusalFamily::Rate => RefusalKind::Rate { retry_after: answer.retry_after },
        RefusalFamily::BeyondHead => RefusalKind::BeyondHead,
        RefusalFamily::UnknownBlock => RefusalKind::UnknownBlock,
        RefusalFamily::Pruned => RefusalKind::Pruned,
        RefusalFamily::MethodOff => RefusalKind::MethodOff,
        RefusalFamily::Addresses => RefusalKind::Addresses,
        RefusalFamily::Time => RefusalKind::Time,
        RefusalFamily::Size => RefusalKind::Size(hint::size(text.as_str(), answer.asked)),
        RefusalFamily::Range => RefusalKind::Range(hint::range(text.as_str(), answer.asked)),
        RefusalFamily::Denied => RefusalKind::Denied,
    }
}

fn is_too_many_requests(answer: &ErrorResponse) -> bool {
    answer.status == Some(429) || answer.code == Some(429)
}

/// The kind by code and status, where no word is known. -32005 alone decides nothing: some providers use it for the
/// rate, some for the range.
fn by_number(answer: &ErrorResponse) -> RefusalKind {
    match (answer.status, answer.code) {
        _ if is_too_many_requests(answer) => RefusalKind::Rate { retry_after: answer.retry_after },
        (Some(402), _) => RefusalKind::Quota,
        (_, Some(METHOD_NOT_FOUND | METHOD_NOT_SUPPORTED)) => RefusalKind::MethodOff,
        // The last two are a proxy's: the origin did not answer in time.
        (Some(408 | 504 | 522 | 524), _) => RefusalKind::Time,
        (Some(413), _) => RefusalKind::Size(None),
        (Some(401 | 403), _) => RefusalKind::Denied,
        // A node that returns `Retry-After` is busy.
        _ if answer.retry_after.is_some() => RefusalKind::Rate { retry_after: answer.retry_after },
        _ => RefusalKind::Unknown,
    }
}
