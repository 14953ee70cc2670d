//! What a crate offers on the public listener. The crate describes its routes and answers requests; `gateway::server` owns the
//! listener: it checks the credential, reads the body within its bounds, repeats answers by `Idempotency-Key`, and writes errors,
//! the access log and the OpenAPI document. No HTTP library and no runtime, so that a route is tested by calling it.

/// Answers.
mod answer;
/// Reads JSON that anyone may have sent.
mod json;
/// Requests.
mod request;
/// Descriptions of routes.
mod route;

pub use answer::{ApiAnswer, Refusal};
pub use json::{MAX_DEPTH, object, parse, read as read_json};
pub use request::ApiRequest;
pub use route::{
    Api, ApiHandler, ApiMethod, OfferedRoute, ParameterValues, QueryParameter, RouteAccess, handler,
};
