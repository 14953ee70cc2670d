//! Publishes stored messages to sinks in order.

/// From the outbox to the sinks, in order, for as long as it takes.
pub mod relay;
/// Where messages go.
pub mod sink;
