//! Pushes stored messages to clients.

/// Pages for operators, as files.
pub mod dashboard;
/// One tail of the outbox for all clients of the process.
pub mod feed;
/// From a message to rooms, events and frames: pure.
pub mod push;
/// The public listener: routes, WebSocket and server-sent events.
pub mod server;
