use serde::Serialize;
use serde_json::Value;

/// A JSON-RPC error as the node sends it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RpcError {
    /// `error.code`.
    pub code: i64,
    /// `error.message`.
    pub message: String,
    /// `error.data`, left out if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// HTTP status it comes with, 200 if `None`; in a batch always 200.
    #[serde(skip)]
    pub status: Option<u16>,
}

impl RpcError {
    /// Without data, with HTTP status 200.
    pub fn new(code: i64, message: &str) -> Self {
        Self { code, message: message.to_owned(), data: None, status: None }
    }

    pub(super) fn params(message: impl AsRef<str>) -> Self {
        Self::new(-32602, message.as_ref())
    }

    /// What go-ethereum says of a block hash it does not have.
    pub(super) fn unknown_block() -> Self {
        Self::new(-32000, "unknown block")
    }
}
