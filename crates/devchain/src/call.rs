//! A call as the node receives it, and its answer; used by faults and methods.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The transport of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP POST.
    Http,
    /// WebSocket.
    Ws,
}

/// One received call.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Name of the method.
    pub method: String,
    /// Its parameters, `null` for none.
    pub params: Value,
    /// Its transport.
    pub transport: Transport,
    /// Number of calls in the same message.
    pub together: usize,
}

/// A JSON-RPC error of the node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RpcError {
    /// `error.code`.
    pub code: i64,
    /// `error.message`.
    pub message: String,
    /// `error.data`, omitted if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Its HTTP status, 200 if `None`; always 200 in a batch.
    #[serde(skip)]
    pub status: Option<u16>,
}

/// The `result`, or the error.
pub(crate) type Answer = Result<Box<RawValue>, RpcError>;

impl RpcError {
    /// Without data, with HTTP status 200.
    pub fn new(code: i64, message: &str) -> Self {
        Self { code, message: message.to_owned(), data: None, status: None }
    }

    pub(crate) fn params(message: impl AsRef<str>) -> Self {
        Self::new(-32602, message.as_ref())
    }

    /// The error of go-ethereum for an unknown block hash.
    pub(crate) fn unknown_block() -> Self {
        Self::new(-32000, "unknown block")
    }
}
