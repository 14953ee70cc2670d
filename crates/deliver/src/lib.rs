//! Publishes stored messages to sinks in order.

/// Delivers messages from the outbox to the sinks, in order.
pub mod relay;
/// The receivers of messages.
pub mod sink;
