//! Socket.IO (protocol 5 over Engine.IO 4): packets, and clients over WebSocket and long polling. It does not know what is in an event.

mod engine;
mod packet;
mod stall;

pub use engine::{Engine, EngineClient, Received, SendError, Settings};
pub use packet::{ClientPacket, PacketEvent, ack, connected, disconnect, refused};
