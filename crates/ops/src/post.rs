//! One HTTP request to somebody else's server: bounded in time and in bytes both ways, never redirected, and only to
//! an address that was looked at after the name was resolved. It knows not what is said.

mod client;
mod error;
mod reach;

pub use client::{Answer, Post, Settings};
pub use error::PostError;
pub use reach::{Reach, special_use};
