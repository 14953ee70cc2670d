//! One HTTP request to an external server: bounded in time and in bytes both ways, never redirected, and only to an
//! address that was checked after the name was resolved. The contents are up to the caller.
//! And of a request to us, what every server has to refuse.

mod address;
mod client;
mod error;
mod host;

pub use address::{AddressPolicy, special_use};
pub use client::{HttpClient, HttpResponse, HttpSettings, build_client};
pub use error::HttpError;
pub use host::host_fault;
