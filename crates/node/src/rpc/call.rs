use serde_json::{Value, json};

/// A JSON-RPC call.
pub(crate) struct RpcCall {
    pub method: &'static str,
    pub params: Value,
    /// Blocks of its range, which classify refusals; `None` for a call without a range.
    pub width: Option<u64>,
}

impl RpcCall {
    pub(crate) fn new(method: &'static str, params: Value) -> Self {
        Self { method, params, width: None }
    }

    /// Maximum bytes of an answer, where the method limits them. A header with the hashes of ten thousand
    /// transactions has 700 KiB. A much larger answer is no header, and is not read to the end.
    fn max_bytes(&self) -> Option<usize> {
        let small =
            ["eth_getBlockByNumber", "eth_getBlockByHash", "eth_blockNumber", "eth_chainId", "eth_syncing"];
        small.contains(&self.method).then_some(1 << 20)
    }

    pub(super) fn to_json(&self, id: u64) -> Value {
        json!({ "jsonrpc": "2.0", "id": id, "method": self.method, "params": self.params })
    }
}

/// Maximum bytes that are read of an answer to these calls; `most` is the configured maximum.
pub(super) fn max_bytes(calls: &[RpcCall], most: usize) -> usize {
    let all = calls.iter().map(|call| call.max_bytes().unwrap_or(most));
    all.fold(0, usize::saturating_add).min(most)
}

/// The method that names a request of several calls in errors: that of the call over a range, which a node may
/// refuse, or else of the first call.
pub(super) fn method_of(calls: &[RpcCall]) -> &'static str {
    let ranged = calls.iter().find(|call| call.width.is_some());
    ranged.or(calls.first()).map_or("", |call| call.method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_logs_is_read_up_to_one_mebibyte_a_call() {
        let most = 64 << 20;
        let call = |method| RpcCall::new(method, json!([]));
        assert_eq!(max_bytes(&[call("eth_getBlockByNumber")], most), 1 << 20);
        assert_eq!(max_bytes(&[call("eth_blockNumber"), call("eth_getBlockByHash")], most), 2 << 20);
        assert_eq!(max_bytes(&[call("eth_getBlockByNumber"), call("eth_getLogs")], most), most);
        assert_eq!(max_bytes(&[call("eth_getBlockByNumber")], 64 << 10), 64 << 10);
    }
}
