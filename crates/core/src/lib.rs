//! Words, decisions, decoding and meaning: no I/O, no runtime, no database.

/// Decides, without I/O: advance, rewind, wait or stop.
pub mod canon;
/// Bytes to typed logs.
pub mod decode;
/// Words every room shares.
pub mod domain;
/// Typed logs to facts: the only place that knows what an event means.
pub mod mapping;
