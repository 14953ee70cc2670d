//! One HTTP request to a server outside: bounded in time and in bytes both ways, never redirected, and only to
//! an address that was looked at after the name was resolved. It knows not what is said.

mod address;
mod client;
mod error;

pub use address::{AddressPolicy, special_use};
pub use client::{HttpClient, HttpResponse, HttpSettings};
pub use error::HttpError;
