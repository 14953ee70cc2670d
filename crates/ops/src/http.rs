//! One HTTP request to an external server: bounded in time and in bytes both ways, never redirected, and only to an
//! address that was checked after the name was resolved. The contents are up to the caller.

mod address;
mod client;
mod error;

pub use address::{AddressPolicy, special_use};
pub use client::{HttpClient, HttpResponse, HttpSettings, build_client};
pub use error::HttpError;
