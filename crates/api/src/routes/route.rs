use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::answer::{ApiAnswer, Refusal};
use super::request::ApiRequest;

/// What one crate offers.
#[derive(Debug, Default)]
pub struct Api {
    /// Its routes.
    pub routes: Vec<OfferedRoute>,
    /// Schemas of bodies and answers by name, for the OpenAPI document. Names are of all crates together.
    pub schemas: Map<String, Value>,
    /// Codes of its refusals: each has a series in the metrics from the start.
    pub codes: &'static [&'static str],
    /// The route that the op `emit` of a WebSocket is too: its body is what the client emits.
    pub emit: Option<OfferedRoute>,
}

/// The method of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiMethod {
    /// GET
    Get,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// POST in the document; the handler gets every method and refuses what it does not take.
    Any,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteAccess {
    /// Callers with a valid credential; what they may do is decided by the handler.
    Caller,
    /// Everybody: the handler checks the request by itself, by a signature for instance. A body that does not come whole, is too slow or
    /// too large is answered with `{"error":"…"}`.
    Open,
}

/// A parameter in the query of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryParameter {
    /// Its name.
    pub name: &'static str,
    /// What it is for, for the document.
    pub meaning: &'static str,
    /// Its values, for the document.
    pub values: ParameterValues,
}

/// Which values a parameter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterValues {
    /// Any text.
    Text,
    /// A number from 1 to this.
    UpTo(u64),
    /// One of these words.
    Words(&'static [&'static str]),
    /// A UUID.
    Uuid,
    /// A position, `<epoch>.<seq>`.
    Position,
}

impl QueryParameter {
    /// A parameter with any text.
    pub const fn text(name: &'static str, meaning: &'static str) -> Self {
        Self::new(name, meaning, ParameterValues::Text)
    }

    /// A parameter with these values.
    pub const fn new(name: &'static str, meaning: &'static str, values: ParameterValues) -> Self {
        Self { name, meaning, values }
    }
}

/// Answers requests of one route.
pub type ApiHandler =
    Arc<dyn Fn(ApiRequest) -> Pin<Box<dyn Future<Output = Result<ApiAnswer, Refusal>> + Send>> + Send + Sync>;

/// A route.
#[derive(Clone)]
pub struct OfferedRoute {
    /// Its method.
    pub method: ApiMethod,
    /// Its path; a place is written `{id}`.
    pub path: &'static str,
    /// What it does, for the document.
    pub summary: &'static str,
    /// Its parameters in the query. Others are refused.
    pub query: &'static [QueryParameter],
    /// Statuses of its answers that are JSON of its own, and the names of their schemas.
    pub answers: &'static [(u16, &'static str)],
    /// Name of the schema of its body.
    pub body: Option<&'static str>,
    /// Statuses of its refusals. The server adds its own to the document: of credentials, limits, bodies and positions.
    pub errors: &'static [u16],
    /// Who may ask.
    pub access: RouteAccess,
    /// Answers.
    pub handler: ApiHandler,
}

impl fmt::Debug for OfferedRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferedRoute")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A handler that calls `act` with a clone of `parts` and the request.
pub fn handler<P, W>(parts: &P, act: fn(P, ApiRequest) -> W) -> ApiHandler
where
    P: Clone + Send + Sync + 'static,
    W: Future<Output = Result<ApiAnswer, Refusal>> + Send + 'static,
{
    let parts = parts.clone();
    Arc::new(move |request| Box::pin(act(parts.clone(), request)))
}

impl ApiMethod {
    /// The word in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post | Self::Any => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}
