use alloy_primitives::{B256, Bloom};

use crate::call::{RpcError, Transport};
use chainflume_core::domain::BlockRange;

/// General behaviour of a node. The default is a recent go-ethereum without limits.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// Over HTTP the newest `lag` blocks are unknown, like at a backend that lags behind its load balancer.
    /// `eth_getLogs` over a range returns the known logs, without an error about the rest. The WebSocket knows all
    /// blocks.
    pub lag: u64,
    /// Maximum number of blocks in a range of `eth_getLogs`.
    pub max_range: Option<Cap>,
    /// Maximum number of logs that `eth_getLogs` returns.
    pub max_logs: Option<Cap>,
    /// Maximum number of addresses in the filter of `eth_getLogs`.
    pub max_addresses: Option<Cap>,
    /// The answer of `eth_getLogs` about blocks above the head.
    pub beyond_head: BeyondHead,
    /// Whether batches are refused.
    pub refuse_batches: bool,
    /// Whether orphaned blocks and their logs are still returned by hash, as by a node that keeps side chains.
    pub serve_orphans: bool,
    /// Whether headers have an empty logs bloom, whatever their logs are.
    pub wrong_bloom: bool,
    /// Whether headers have a wrong receipts root.
    pub wrong_receipts_root: bool,
    /// Whether WebSockets stay open but send nothing.
    pub ws_silent: bool,
    /// Whether WebSockets are refused with status 503.
    pub ws_refuse: bool,
    /// Sockets of an earlier generation close.
    pub(super) ws_generation: u64,
}

impl Behaviour {
    /// The error for a batch of calls.
    pub(crate) fn check_batch(&self) -> Result<(), RpcError> {
        if self.refuse_batches {
            return Err(RpcError::new(-32600, "batch requests are not supported"));
        }
        Ok(())
    }

    /// The error for a filter with this many addresses.
    pub(crate) fn check_addresses(&self, count: u64, range: BlockRange) -> Result<(), RpcError> {
        self.max_addresses.as_ref().map_or(Ok(()), |cap| cap.check(count, range))
    }

    /// The error for the logs of this range.
    pub(crate) fn check_range(&self, range: BlockRange) -> Result<(), RpcError> {
        self.max_range.as_ref().map_or(Ok(()), |cap| cap.check(range.width(), range))
    }

    /// Number of logs that the node collects. One log more than allowed shows that the limit is exceeded, and bounds
    /// the work.
    pub(crate) fn most_logs(&self) -> usize {
        let most = |cap: &Cap| usize::try_from(cap.max.saturating_add(1)).unwrap_or(usize::MAX);
        self.max_logs.as_ref().map_or(usize::MAX, most)
    }

    /// The error for an answer with this many logs.
    pub(crate) fn check_logs(&self, count: u64, range: BlockRange) -> Result<(), RpcError> {
        self.max_logs.as_ref().map_or(Ok(()), |cap| cap.check(count, range))
    }

    /// The error for a range of logs that ends at block `end`.
    pub(crate) fn check_end(&self, end: u64, head: u64) -> Result<(), RpcError> {
        if end > head && self.beyond_head == BeyondHead::Refuse {
            return Err(RpcError::params("block range extends beyond current head block"));
        }
        Ok(())
    }

    /// Number of newest blocks that the node lacks for calls of this transport.
    pub(crate) fn lag(&self, transport: Transport) -> u64 {
        if transport == Transport::Http { self.lag } else { 0 }
    }

    /// Whether orphaned blocks are returned by hash.
    pub(crate) fn serves_orphans(&self) -> bool {
        self.serve_orphans
    }

    /// Whether WebSockets are refused.
    pub(crate) fn refuses_sockets(&self) -> bool {
        self.ws_refuse
    }

    /// Changes the fields of a header that prove its logs.
    pub(crate) fn falsify(&self, bloom: &mut Bloom, receipts_root: &mut B256) {
        if self.wrong_bloom {
            *bloom = Bloom::ZERO;
        }
        if self.wrong_receipts_root {
            *receipts_root = B256::repeat_byte(0xee);
        }
    }
}

/// The answer about a range that ends above the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BeyondHead {
    /// The logs up to the head; none if the range is above it.
    #[default]
    Empty,
    /// Error -32602 "block range extends beyond current head block", as go-ethereum since 1.16.
    Refuse,
}

/// A limit, and the error when it is exceeded.
#[derive(Clone, Debug, PartialEq)]
pub struct Cap {
    /// The largest accepted value.
    pub max: u64,
    /// In its message, `{max}` is replaced by the limit, and `{from}` and `{to}` by a range that is narrow enough, in
    /// hex.
    pub error: RpcError,
}

impl Cap {
    /// At most `max` blocks, with the error of Alchemy, including a hint.
    pub fn range(max: u64) -> Self {
        let hint = "this block range should work: [{from}, {to}]";
        let message =
            format!("eth_getLogs is limited to a {{max}} block range. Based on your parameters, {hint}");
        Self { max, error: RpcError::new(-32600, &message) }
    }

    /// At most `max` logs, with the error of Infura, without a hint.
    pub fn logs(max: u64) -> Self {
        Self { max, error: RpcError::new(-32005, "query returned more than {max} results") }
    }

    /// At most `max` addresses.
    pub fn addresses(max: u64) -> Self {
        Self { max, error: RpcError::new(-32602, "exceed max addresses: {max}") }
    }

    /// The error for a request about `range`; `None` if `asked` is within the limit.
    fn check(&self, asked: u64, range: BlockRange) -> Result<(), RpcError> {
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
