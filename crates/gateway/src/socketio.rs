//! Socket.IO (protocol 5 over Engine.IO 4): packets, and clients over WebSocket and long polling. It does not know what is in an event.

mod client;
mod engine;
mod packet;
mod session;
mod transport;

pub use client::{EngineClient, PacketSender, Received, SendError};
pub use engine::{Engine, Settings};
pub use packet::{ClientPacket, PacketEvent, ack, connected, disconnect, refused};
