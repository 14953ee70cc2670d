//! WebSocket connections (RFC 6455) with permessage-deflate (RFC 7692), after their handshake. It does not know what is in a message.
//!
//! The libraries compress each message for each connection, with a window of its own for each. Here a message goes to thousands of
//! connections: it is compressed once, without what was sent before it, and what is sent is bytes that all connections share. A quiet
//! connection keeps no window and no buffer.

mod connection;
mod deflate;
mod frame;
mod handshake;

pub use connection::{WebSocketConnection, WebSocketError, WebSocketMessage};
pub use frame::{compressed_text_frame, text_frame};
pub use handshake::{Handshake, NoHandshake, Upgrade};

/// Texts that are ready are gathered up to about so many bytes into one write. No more: a writer waits ten seconds for each write, and a
/// reader that takes less than this in that time is cut off.
pub const WRITE_BYTES: usize = 16 << 10;
