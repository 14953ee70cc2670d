use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use chainflume_db::StoreError;

/// An error as RFC 9457 writes it: a status, a code that stays the same, and a sentence. Never a secret, a table or a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    status: u16,
    pub code: &'static str,
    pub detail: String,
}

impl Problem {
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into() }
    }

    /// Whether a room exists is not told.
    pub fn forbidden() -> Self {
        Self::new(403, "forbidden", "this credential does not open what was asked for")
    }

    /// What the database says is for the log; the feed warns of it already, and thousands of clients may ask.
    pub fn of_store(error: &StoreError) -> Self {
        tracing::debug!(%error, "messages cannot be read for a client");
        Self::new(503, "unavailable", "messages cannot be read just now; try again")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, code, detail } = self;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let title = status.canonical_reason().unwrap_or_default();
        let body =
            serde_json::json!({ "title": title, "status": status.as_u16(), "code": code, "detail": detail });
        let mut response = (status, body.to_string()).into_response();
        let mut set =
            |name: HeaderName, value| response.headers_mut().insert(name, HeaderValue::from_static(value));
        set(header::CONTENT_TYPE, "application/problem+json");
        match status {
            StatusCode::UNAUTHORIZED => set(header::WWW_AUTHENTICATE, "Bearer"),
            StatusCode::SERVICE_UNAVAILABLE => set(header::RETRY_AFTER, "1"),
            _ => None,
        };
        response
    }
}
