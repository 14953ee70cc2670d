use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use chainflume_api::routes::Refusal;
use chainflume_db::StoreError;

/// An error as RFC 9457 writes it: a status, a code that stays the same, and a sentence. Never a secret, a table or a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpProblem {
    status: u16,
    pub code: &'static str,
    pub detail: String,
    retry_after: Option<u64>,
    /// The place in the body that is at fault, a JSON Pointer.
    pointer: Option<String>,
}

/// The code of an answer that is an error, for the log and the count.
#[derive(Clone, Copy)]
pub(super) struct Code(pub &'static str);

/// The media type of every error.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// Every code there is, as docs/PUSH.md lists them.
pub(super) const CODES: [&str; 33] = [
    "bad_body",
    "bad_host",
    "bad_idempotency_key",
    "bad_position",
    "bad_query",
    "bad_room",
    "body_timeout",
    "body_too_large",
    "credential_missing",
    "credential_revoked",
    "epoch_mismatch",
    "forbidden",
    "head_too_large",
    "idempotency_key_reused",
    "key_unknown",
    "keys_unavailable",
    "malformed",
    "method_not_allowed",
    "not_a_websocket",
    "not_found",
    "origin_forbidden",
    "position_ahead",
    "position_timeout",
    "ticket_invalid",
    "ticket_limit",
    "token_expired",
    "token_in_query",
    "token_invalid",
    "too_many_connections",
    "too_many_requests",
    "too_many_rooms",
    "unavailable",
    "unsupported_media_type",
];

impl HttpProblem {
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after: (status == 503).then_some(1), pointer: None }
    }

    /// To be tried again after so many seconds.
    pub fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds.max(1)), ..self }
    }

    /// Whether the caller was not who may ask, or asked too much.
    pub fn is_about_access(&self) -> bool {
        matches!(self.status, 401 | 403 | 429)
    }

    /// One user or address has as many connections as it may have.
    pub fn too_many_connections() -> Self {
        let detail = "too many connections are open; close some, or try again";
        Self::new(429, "too_many_connections", detail).after(5)
    }

    /// The answer does not show whether a room exists.
    pub fn forbidden() -> Self {
        Self::new(403, "forbidden", "this credential does not open what was asked for")
    }

    /// The error of the database is for the log; the feed warns of it already, and thousands of clients may ask.
    pub fn of_store(error: &StoreError) -> Self {
        tracing::debug!(%error, "messages cannot be read for a client");
        Self::new(503, "unavailable", "messages cannot be read just now; try again")
    }
}

impl From<Refusal> for HttpProblem {
    fn from(Refusal { status, code, detail, retry_after, pointer }: Refusal) -> Self {
        Self { status, code, detail, retry_after, pointer }
    }
}

impl HttpProblem {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The answer to a stranger, who expects no problem+json: `{"error":"Payload too large"}`.
    pub fn into_plain(self) -> Response {
        let status = self.status();
        let (first, rest) = status.canonical_reason().unwrap_or("Error").split_at(1);
        let body = serde_json::json!({ "error": format!("{first}{}", rest.to_ascii_lowercase()) });
        let mut response = (status, body.to_string()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.extensions_mut().insert(Code(self.code));
        response
    }

    /// The body of the answer.
    pub fn json(&self) -> serde_json::Value {
        let (status, code, detail) = (self.status(), self.code, &*self.detail);
        let title = status.canonical_reason().unwrap_or_default();
        let mut body =
            serde_json::json!({ "title": title, "status": status.as_u16(), "code": code, "detail": detail });
        if let Some(pointer) = &self.pointer {
            body["pointer"] = pointer.as_str().into();
        }
        body
    }
}

impl IntoResponse for HttpProblem {
    fn into_response(self) -> Response {
        let (status, body) = (self.status(), self.json());
        let Self { code, retry_after, .. } = self;
        let mut response = (status, body.to_string()).into_response();
        let mut set =
            |name: HeaderName, value| response.headers_mut().insert(name, HeaderValue::from_static(value));
        set(header::CONTENT_TYPE, PROBLEM_JSON);
        if status == StatusCode::UNAUTHORIZED {
            set(header::WWW_AUTHENTICATE, "Bearer");
        }
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Code(code));
        response
    }
}
