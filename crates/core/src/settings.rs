//! Reads and bounds the values of configuration keys. A room derives `Deserialize` for its own settings, names the functions of this room
//! in `deserialize_with`, and writes each default once, in `Default`. `config` reads a table of the file into the type.
//!
//! ```
//! # use std::time::Duration;
//! #[derive(serde::Deserialize)]
//! #[serde(default)]
//! struct Pauses {
//!     /// From 100 ms to one minute.
//!     #[serde(deserialize_with = "chainflume_core::settings::duration::<100, 60_000, _>")]
//!     between_polls: Duration,
//! }
//!
//! impl Default for Pauses {
//!     fn default() -> Self {
//!         Self { between_polls: Duration::from_secs(2) }
//!     }
//! }
//! ```

/// What is wrong with a value.
mod fault;
/// Functions for `deserialize_with`.
mod read;
/// Keys and passwords.
mod secret;
/// Times and sizes as people write them.
mod units;

pub use fault::Fault;
pub use read::{NUMBER_OR_WORD, PATH, duration, limit, number, number_or_word, path, size, text, texts};
pub use secret::Secret;
pub use units::{GIB, KIB, MIB, parse_duration, parse_size, within};
