//! Types, decisions, decoding, meaning and settings: no I/O, no runtime, no database.

/// Decides, without I/O: advance, rewind, wait or stop.
pub mod canon;
/// Decodes raw logs into typed logs.
pub mod decode;
/// The types that every room shares.
pub mod domain;
/// Turns typed logs into facts; the only room that knows what an event means.
pub mod mapping;
/// Composes the messages about stored events.
pub mod messages;
/// Reads the values of configuration keys.
pub mod settings;
