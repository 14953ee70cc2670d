//! Signed webhooks of providers. A delivery is verified over its raw bytes ([`verify`]), stored raw ([`InboundDeliveries`]), and read for what
//! it reports about a chain ([`hints`]). A hint proves nothing: it wakes the chain, and [`Comparison`] compares it with the events that
//! our own node made the daemon store.

mod compare;
mod hint;
mod inbox;
mod routes;
#[cfg(test)]
mod testing;
mod verify;

pub use compare::{ComparedChain, Comparison, ComparisonLoop, HintRound, is_hint};
pub use hint::{DeliveryHint, HintKind, HintLog, MAX_HINTS, hints};
pub use inbox::{InboundAnswer, InboundDeliveries, InboundEndpoint, NewHints, WakeChain};
pub use routes::routes;
pub use verify::{
    Headers, InboundProvider, InboundSecret, SignatureRefusal, SignedRequest, TOLERANCE_SECONDS,
    VerifiedDelivery, verify,
};
