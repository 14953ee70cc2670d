use serde_json::{Value, json};

/// A question to the node.
pub(crate) struct RpcCall {
    pub method: &'static str,
    pub params: Value,
    /// Blocks it spans, for refusals about ranges.
    pub width: Option<u64>,
}

impl RpcCall {
    pub(crate) fn new(method: &'static str, params: Value) -> Self {
        Self { method, params, width: None }
    }

    /// Bytes that an answer has at most, where the question limits them. A header with the hashes of ten thousand transactions has
    /// 700 KiB; what a node sends beyond that is no header, and is not read to the end.
    fn max_bytes(&self) -> Option<usize> {
        let small =
            ["eth_getBlockByNumber", "eth_getBlockByHash", "eth_blockNumber", "eth_chainId", "eth_syncing"];
        small.contains(&self.method).then_some(1 << 20)
    }

    pub(super) fn call(&self, id: u64) -> Value {
        json!({ "jsonrpc": "2.0", "id": id, "method": self.method, "params": self.params })
    }
}

/// Bytes of an answer to these calls that are read, where `most` is configured.
pub(super) fn max_bytes(calls: &[RpcCall], most: usize) -> usize {
    let all = calls.iter().map(|call| call.max_bytes().unwrap_or(most));
    all.fold(0, usize::saturating_add).min(most)
}

/// The method that a request of several calls is named by: that of the one over a range, which is what may be refused, or
/// else of the first.
pub(super) fn lead(calls: &[RpcCall]) -> &'static str {
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
