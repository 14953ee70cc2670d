use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::DevChain;
use crate::call::{Request, RpcError, Transport};
use chainflume_core::domain::Log;

/// The affected calls, and the fault.
#[derive(Clone, Debug)]
pub struct Rule {
    method: Option<String>,
    transport: Option<Transport>,
    asking: Option<Asking>,
    passing: u64,
    left: Option<u64>,
    pub(super) effect: Effect,
}

impl Rule {
    /// Every call of `method`.
    pub fn on(method: &str, effect: Effect) -> Self {
        Self { method: Some(method.to_owned()), ..Self::any(effect) }
    }

    /// Every call.
    pub fn any(effect: Effect) -> Self {
        Self { method: None, transport: None, asking: None, passing: 0, left: None, effect }
    }

    /// Only the next `count` of them.
    pub fn times(self, count: u64) -> Self {
        Self { left: Some(count), ..self }
    }

    /// Skips the first `count` of them.
    pub fn after(self, count: u64) -> Self {
        Self { passing: count, ..self }
    }

    /// Only calls by this transport.
    pub fn over(self, transport: Transport) -> Self {
        Self { transport: Some(transport), ..self }
    }

    /// Only calls with such parameters.
    pub fn asking(self, such: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Self {
        Self { asking: Some(Asking(Arc::new(such))), ..self }
    }

    /// Whether this call is affected; counts it.
    pub(super) fn hits(&mut self, request: &Request) -> bool {
        let meant = self.method.as_ref().is_none_or(|method| *method == request.method)
            && self.transport.is_none_or(|transport| transport == request.transport)
            && self.asking.as_ref().is_none_or(|Asking(such)| such(&request.params));
        if !meant || self.left == Some(0) {
            return false;
        }
        if self.passing > 0 {
            self.passing -= 1;
            return false;
        }
        self.left = self.left.map(|left| left - 1);
        true
    }
}

/// A test of a call's parameters.
#[derive(Clone)]
struct Asking(Arc<dyn Fn(&Value) -> bool + Send + Sync>);

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asking")
    }
}

/// A change of an answer's `result`.
#[derive(Clone)]
pub struct Edit(Arc<dyn Fn(&mut Value) + Send + Sync>);

impl Edit {
    pub(super) fn apply(&self, answer: &mut Value) {
        (self.0)(answer);
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edit")
    }
}

impl Effect {
    /// Changes the `result` of the answer.
    pub fn edit(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::Edit(Edit(Arc::new(change)))
    }
}

/// The fault of a call.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The answer is delayed by this time. On a WebSocket, later answers wait too.
    Delay(Duration),
    /// The answer waits until the token is cancelled, and then contains the state of that moment.
    Until(CancellationToken),
    /// The answer comes from a node that lacks this many of the newest blocks.
    Lag(u64),
    /// `eth_getLogs` returns a wrong answer.
    Lie(Lie),
    /// The `result` is changed, see [`Self::edit`].
    Edit(Edit),
    /// The answer comes from a node of another chain, as from a gateway that mixes up its networks. Rules and behaviour
    /// are those of the called node.
    Stranger(DevChain),
    /// The answer is this error.
    Error(RpcError),
    /// The answer is `"result": null`.
    Null,
    /// The answer has another id than the call.
    WrongId,
    /// The answers of the call's batch are in reverse order, as JSON-RPC 2.0 (§6) allows.
    Backwards,
    /// The answer, or its whole batch, has a fault of transport.
    Wire(Wire),
}

/// Faults of transport. On a WebSocket, [`Self::Status`] also closes the socket, and [`Self::CutOff`] sends half a
/// message first.
#[derive(Clone, Debug)]
pub enum Wire {
    /// This HTTP answer instead of the normal one.
    Status {
        /// HTTP status.
        status: u16,
        /// Headers, `("retry-after", "1")` for instance.
        headers: Vec<(String, String)>,
        /// Body.
        body: String,
    },
    /// The connection closes without an answer.
    Close,
    /// No answer, ever; the connection stays open.
    Hang,
    /// The first half of the JSON as a complete body.
    Truncate,
    /// The first half of the body, then the connection closes.
    CutOff,
    /// This text instead of the JSON, as `text/html` with status 200.
    Html(String),
    /// The JSON with leading blanks, until the body has this many bytes.
    Oversize(usize),
}

impl Wire {
    /// `429 Too Many Requests`, with `Retry-After` in seconds.
    pub fn rate_limited(retry_after: u64) -> Self {
        Self::Status {
            status: 429,
            headers: vec![("retry-after".to_owned(), retry_after.to_string())],
            body: "too many requests".to_owned(),
        }
    }

    /// A proxy's error page with status 200.
    pub fn page() -> Self {
        Self::Html("<!DOCTYPE html><html><body><h1>Bad gateway</h1></body></html>".to_owned())
    }
}

/// How `eth_getLogs` returns wrong logs. Only [`Self::DropLogs`] applies to an answer without logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// No logs.
    DropLogs,
    /// Every `n`th log is missing; 0 or 1 for all.
    DropEvery(u64),
    /// The last log occurs twice.
    Duplicate,
    /// The last log is from a contract that was not requested.
    ForeignAddress,
    /// The last log is from the block after the requested range.
    OutOfRange,
    /// The last log has another block hash.
    WrongBlockHash,
}

impl Lie {
    /// `end` is the last requested block.
    pub(super) fn apply(self, logs: &mut Vec<Log>, end: u64) {
        let last = logs.last().cloned();
        match (self, last) {
            (Self::DropLogs, _) => logs.clear(),
            (Self::DropEvery(n), _) => {
                let mut index = 0;
                logs.retain(|_| {
                    index += 1;
                    index % n.max(1) != 0
                });
            }
            (Self::Duplicate, Some(log)) => logs.push(log),
            (Self::ForeignAddress, Some(log)) => {
                logs.push(Log { address: Address::repeat_byte(0xfe), ..log });
            }
            (Self::OutOfRange, Some(mut log)) => {
                log.place.block_number = end.saturating_add(1);
                logs.push(Log { block_hash: B256::repeat_byte(0xfd), ..log });
            }
            (Self::WrongBlockHash, Some(_)) => {
                logs.iter_mut()
                    .next_back()
                    .into_iter()
                    .for_each(|log| log.block_hash = B256::repeat_byte(0xfc));
            }
            (_, None) => {}
        }
    }
}
