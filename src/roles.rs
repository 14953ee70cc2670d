//! The roles of the daemon, which join the rooms: [`index`] reads chains, [`deliver`] sends messages,
//! [`serve`] answers clients, [`admin`] watches them.
//!
//! [`Loops`](loops::Loops) starts what they need, each under its lease. [`parts`] turns the configuration into the settings of
//! the rooms.

pub(crate) mod admin;
mod application;
pub(crate) mod database;
pub(crate) mod deliver;
mod error;
pub(crate) mod follow;
pub(crate) mod inbound;
pub(crate) mod index;
pub(crate) mod loops;
pub(crate) mod parts;
pub(crate) mod serve;
pub(crate) mod trigger;

pub use admin::watch;
pub use deliver::deliver;
pub use error::AppError;
pub use index::indexers;
pub use parts::{Loaded, telemetry_settings};
