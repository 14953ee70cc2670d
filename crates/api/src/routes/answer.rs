/// An answer: a status and JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiAnswer {
    /// Status of HTTP.
    pub status: u16,
    /// The body.
    pub json: String,
    /// The position of what was written, `<epoch>.<seq>`; the header `Chainflume-Position` is at least as new.
    pub position: Option<String>,
}

impl ApiAnswer {
    /// An answer with this body.
    pub fn new(status: u16, json: &serde_json::Value) -> Self {
        Self { status, json: json.to_string(), position: None }
    }

    /// The same, with the position of what was written.
    pub fn at(self, position: Option<String>) -> Self {
        Self { position, ..self }
    }
}

/// Why a request is not answered. The server writes it as RFC 9457 describes, with these fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status of HTTP, 400 or above.
    pub status: u16,
    /// A word that stays the same, for programs.
    pub code: &'static str,
    /// A sentence with the remedy, for people. No secret and no name of a table.
    pub detail: String,
    /// Seconds to wait before the request is sent again.
    pub retry_after: Option<u64>,
    /// The place in the body, a JSON Pointer (RFC 6901).
    pub pointer: Option<String>,
}

impl Refusal {
    /// A refusal. With status 503 the caller may send the request again after a second.
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        let retry_after = (status == 503).then_some(1);
        Self { status, code, detail: detail.into(), retry_after, pointer: None }
    }

    /// The same, about this place of the body.
    pub fn at(self, pointer: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), ..self }
    }

    /// The body is not what the route takes.
    pub fn bad_body(detail: impl Into<String>) -> Self {
        Self::new(400, "bad_body", detail)
    }

    /// A parameter of the address is not what the route takes.
    pub fn bad_query(detail: impl Into<String>) -> Self {
        Self::new(400, "bad_query", detail)
    }

    /// The caller may not do this. The answer does not reveal whether the thing exists.
    pub fn forbidden() -> Self {
        Self::new(403, "forbidden", "this credential does not open what was asked for")
    }

    /// There is no such thing.
    pub fn not_found(what: &str) -> Self {
        Self::new(404, "not_found", format!("there is no {what} of this id"))
    }

    /// The database does not answer.
    pub fn unavailable() -> Self {
        Self::new(503, "unavailable", "the database cannot be used just now; send the request again")
    }
}
