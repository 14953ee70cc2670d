//! What the public listener and the crates that answer its callers share: who a caller is, and what a route is. No HTTP, no
//! runtime, no database.

/// Decides who a caller is and what the caller may see.
pub mod access;
/// Describes routes, requests, answers and refusals.
pub mod routes;
