use serde_json::{Value, json};

/// A question to the node.
pub(crate) struct RpcCall {
    pub method: &'static str,
    pub params: Value,
    /// Blocks it spans, for what the node says about ranges.
    pub width: Option<u64>,
}

impl RpcCall {
    pub(crate) fn new(method: &'static str, params: Value) -> Self {
        Self { method, params, width: None }
    }

    pub(super) fn call(&self, id: u64) -> Value {
        json!({ "jsonrpc": "2.0", "id": id, "method": self.method, "params": self.params })
    }
}

/// The method that a request of several calls is named by: that of the one over a range, which is what may be refused, or
/// else of the first.
pub(super) fn lead(calls: &[RpcCall]) -> &'static str {
    let ranged = calls.iter().find(|call| call.width.is_some());
    ranged.or(calls.first()).map_or("", |call| call.method)
}
