//! One call as the node receives it, and the error it answers with: what faults and methods both speak of.

use serde::Serialize;
use serde_json::Value;

/// How a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP POST.
    Http,
    /// WebSocket.
    Ws,
}

/// One call as it came in, see [`Faults::record`](crate::Faults::record).
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Name of the method.
    pub method: String,
    /// Its parameters, `null` for none.
    pub params: Value,
    /// How it came.
    pub transport: Transport,
    /// How many calls came in the same message.
    pub together: usize,
}

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

    pub(crate) fn params(message: impl AsRef<str>) -> Self {
        Self::new(-32602, message.as_ref())
    }

    /// What go-ethereum says of a block hash it does not have.
    pub(crate) fn unknown_block() -> Self {
        Self::new(-32000, "unknown block")
    }
}
