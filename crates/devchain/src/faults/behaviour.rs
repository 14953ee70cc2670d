use crate::call::RpcError;
use chainflume_core::domain::BlockRange;

/// How a node behaves as a whole. The default is a recent go-ethereum without limits.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// Over HTTP the newest `lag` blocks are unknown, as to a backend that lags behind its load balancer:
    /// `eth_getLogs` over a range answers what it knows and says nothing about the rest. The WebSocket
    /// knows them all.
    pub lag: u64,
    /// Most blocks `eth_getLogs` may span.
    pub max_range: Option<Cap>,
    /// Most logs `eth_getLogs` may answer.
    pub max_logs: Option<Cap>,
    /// Most addresses `eth_getLogs` may be asked for.
    pub max_addresses: Option<Cap>,
    /// What `eth_getLogs` says about blocks above the head.
    pub beyond_head: BeyondHead,
    /// Arrays of calls are refused.
    pub refuse_batches: bool,
    /// Orphaned blocks and their logs are still answered by hash, as a node does that keeps side chains.
    pub serve_orphans: bool,
    /// Headers have an empty logs bloom, whatever logs there are.
    pub wrong_bloom: bool,
    /// Headers have a receipts root that no receipts have.
    pub wrong_receipts_root: bool,
    /// WebSockets stay open and say nothing.
    pub ws_silent: bool,
    /// WebSockets are refused with status 503.
    pub ws_refuse: bool,
    /// Sockets of an older generation close.
    pub(crate) ws_generation: u64,
}

/// What a node says about a range that ends above its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BeyondHead {
    /// The logs up to its head, none if all is above.
    #[default]
    Empty,
    /// Error -32602 "block range extends beyond current head block", as go-ethereum since 1.16.
    Refuse,
}

/// A limit and how the node says that it is exceeded.
#[derive(Clone, Debug, PartialEq)]
pub struct Cap {
    /// The most that is still answered.
    pub max: u64,
    /// In its message, `{max}` becomes the limit, and `{from}` and `{to}` a range narrow enough, in hex.
    pub error: RpcError,
}

impl Cap {
    /// At most `max` blocks, in Alchemy's words, with a hint.
    pub fn range(max: u64) -> Self {
        let hint = "this block range should work: [{from}, {to}]";
        let message =
            format!("eth_getLogs is limited to a {{max}} block range. Based on your parameters, {hint}");
        Self { max, error: RpcError::new(-32600, &message) }
    }

    /// At most `max` logs, in Infura's words without a hint.
    pub fn logs(max: u64) -> Self {
        Self { max, error: RpcError::new(-32005, "query returned more than {max} results") }
    }

    /// At most `max` addresses.
    pub fn addresses(max: u64) -> Self {
        Self { max, error: RpcError::new(-32602, "exceed max addresses: {max}") }
    }

    /// The error for a question about `range`, or `None` if `asked` is within the limit.
    pub(crate) fn check(&self, asked: u64, range: BlockRange) -> Result<(), RpcError> {
        if asked <= self.max {
            return Ok(());
        }
        let (narrow, _) = range.split_at_width(self.max.min((range.width() / 2).max(1)));
        let message = self.error.message.replace("{max}", &self.max.to_string());
        let message = message.replace("{from}", &format!("{:#x}", narrow.from()));
        let message = message.replace("{to}", &format!("{:#x}", narrow.to()));
        Err(RpcError { message, ..self.error.clone() })
    }
}
