//! Pushes stored messages to clients.

/// Pages for operators, as files.
pub mod dashboard;
/// One tail of the outbox for all clients of the process.
pub mod feed;
/// What the database keeps about callers.
pub mod grants;
/// From a message to rooms, events and frames: pure.
pub mod push;
/// The public listener: routes, WebSocket, server-sent events and Socket.IO.
pub mod server;
/// Packets and clients of Socket.IO.
pub mod socketio;
/// The connections of clients below their protocol.
pub mod tcp;
/// Messages and clients of WebSocket.
pub mod websocket;
