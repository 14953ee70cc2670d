//! Signed webhooks of providers. The signature of a delivery is verified over its raw bytes ([`verify`]), the delivery is stored
//! ([`InboundDeliveries`]), and its reports about a chain are read as hints ([`hints`]). A hint proves nothing. It wakes the chain's loop, and
//! [`Comparison`] compares it with the events that the daemon stored from its own node.

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
