//! Reads the logs of a range with the headers of its ends, in one request where the node accepts that. One backend
//! answers one request, so a backend that lacks the end of the range also lacks the header.
//!
//! Where a node accepts only narrow ranges, one request has several calls for logs. The two headers prove the same as
//! for one call over the whole range: the backend has the last block, the range links to the block below, and the
//! bloom shows missing logs of the last block. A block at the end of an inner call counts as any inner block: its
//! header is fetched only if it has logs without a plausible time.

use serde_json::json;

use super::header_seal::HeaderSeal;
use super::headers_with_logs::logs_call;
use super::{HEADER, Node, hex};
use crate::error::ChainError;
use crate::logs::{BlockSelector, CheckedLogs, LOGS};
use crate::rpc::RpcCall;
use crate::wire::ReadLog;
use chainflume_core::domain::{BlockRange, LogFilter, Logs};

/// The logs of a range and the headers of its ends.
pub(crate) struct RangeResponse {
    /// The header of its first block.
    pub first: HeaderSeal,
    /// The header of its last block.
    pub last: HeaderSeal,
    /// In chain order.
    pub logs: Logs,
}

/// A request for a range that is old enough to be read by number.
#[derive(Clone, Copy)]
pub(crate) struct RangeRequest<'a> {
    /// Which logs.
    pub filter: &'a LogFilter,
    /// Of which blocks.
    pub range: BlockRange,
    /// Blocks that one call spans.
    pub width: u64,
    /// Whether the range may still change. Its last header is then read before and after the logs.
    pub twice: bool,
}

/// The last header before the logs, where it was requested; the headers of both ends after the logs; the logs. A
/// header is `None` where the node lacks it.
type RangeAnswers = (Option<Option<HeaderSeal>>, Vec<Option<HeaderSeal>>, Logs);

impl RangeRequest<'_> {
    /// The blocks of each call.
    fn pieces(&self) -> Vec<BlockRange> {
        let (mut pieces, mut rest) = (Vec::new(), Some(self.range));
        while let Some(left) = rest {
            let (piece, after) = left.split_at_width(self.width);
            pieces.push(piece);
            rest = after;
        }
        pieces
    }

    fn is_one_call(&self) -> bool {
        self.range.width() <= self.width
    }

    fn blocks(&self) -> BlockSelector {
        BlockSelector::Range(self.range)
    }

    fn before(&self) -> Option<u64> {
        self.twice.then_some(self.range.to())
    }

    fn after(&self) -> Vec<u64> {
        let (from, to) = (self.range.from(), self.range.to());
        if from == to { vec![to] } else { vec![from, to] }
    }

    fn calls(&self) -> Vec<RpcCall> {
        let header = |height: u64| RpcCall::new(HEADER, json!([hex(height), false]));
        let pieces = self.pieces().into_iter();
        let logs = pieces.map(|piece| logs_call(self.filter, BlockSelector::Range(piece)));
        let (before, after) = (self.before().map(header), self.after().into_iter().map(header));
        before.into_iter().chain(logs).chain(after).collect()
    }
}

impl Node {
    /// Reads a range. A range that may still change is read between two reads of its last header, so that a reorg in
    /// between is noticed.
    ///
    /// # Errors
    /// Why the node cannot be asked, that its answer is wrong, or that it lacks one of the ends.
    pub(crate) async fn read_range(&self, ask: &RangeRequest<'_>) -> Result<RangeResponse, ChainError> {
        let (before, seals, logs) = match self.in_one_request(ask).await? {
            Some(answers) => answers,
            None if !ask.is_one_call() => return self.in_pieces(ask).await,
            None => self.in_several_requests(ask, None).await?,
        };
        let range = ask.range;
        let lacks = || {
            let reason = format!("it has no block {} or {}, which are confirmed", range.from(), range.to());
            self.rpc.bad(LOGS, reason)
        };
        let mut seals = seals.into_iter().map(|seal| seal.ok_or_else(lacks));
        let first = seals.next().unwrap_or_else(|| Err(lacks()))?;
        let last = seals.next().unwrap_or(Ok(first))?;
        match before {
            Some(None) => Err(lacks()),
            Some(Some(before)) if before.block != last.block => Err(self.block_changed(range.to())),
            _ => Ok(RangeResponse { first, last, logs }),
        }
    }

    /// Number of calls for logs in one request, where the node accepts no wider call.
    pub(crate) fn log_calls_at_once(&self, filter: &LogFilter) -> u64 {
        if self.asks_in_parts(filter) { 1 } else { self.bundle.now(self.rpc.calls_in_request()) }
    }

    /// Reads each piece by itself, with its own headers. The pieces must link to each other: another backend may
    /// answer each.
    async fn in_pieces(&self, ask: &RangeRequest<'_>) -> Result<RangeResponse, ChainError> {
        let mut all: Option<RangeResponse> = None;
        for range in ask.pieces() {
            let RangeResponse { first, last, logs } =
                Box::pin(self.read_range(&RangeRequest { range, ..*ask })).await?;
            let logs = self.with_checked_tail(ask.filter, range, last, logs).await?;
            all = Some(match all {
                None => RangeResponse { first, last, logs },
                Some(below) if below.last.block.hash != first.block.parent_hash => {
                    return Err(self.block_changed(range.from()));
                }
                Some(mut below) => {
                    below.logs.append(logs);
                    RangeResponse { last, ..below }
                }
            });
        }
        Ok(all.expect("a range has a first call"))
    }

    /// The error for a block whose hash changed while its range was read.
    pub(crate) fn block_changed(&self, number: u64) -> ChainError {
        self.rpc.bad(LOGS, format!("block {number} changed while its range was read"))
    }

    /// Reads a range in one request. `None` where the node does not accept that.
    async fn in_one_request(&self, ask: &RangeRequest<'_>) -> Result<Option<RangeAnswers>, ChainError> {
        let calls = ask.calls();
        if self.asks_in_parts(ask.filter) {
            return Ok(None);
        }
        if !self.rpc.is_one_request(calls.len()) {
            self.rpc.count_single_calls();
            return Ok(None);
        }
        let mut checked = CheckedLogs::new(ask.filter, ask.blocks());
        let answers = match self.rpc.ask_with_list(&calls, |read: ReadLog| checked.push(&read.0)).await {
            Ok(Some(answers)) => answers,
            Ok(None) => return Ok(None),
            // The caller requests less before another way is tried.
            Err(error) if !ask.is_one_call() => return Err(error),
            Err(error) => return self.in_several_requests(ask, Some(error)).await.map(Some),
        };
        let mut answers = answers.into_iter();
        let before = ask.before().map(|height| self.header_of(answers.next(), height)).transpose()?;
        for _ in ask.pieces() {
            let rest = self.parsed::<Vec<ReadLog>>(LOGS, answers.next().unwrap_or(Ok(None)))?;
            let rest = rest.ok_or_else(|| self.rpc.bad(LOGS, "null instead of a result"))?;
            rest.iter().for_each(|read| checked.push(&read.0));
        }
        let after = ask.after().into_iter().map(|height| self.header_of(answers.next(), height));
        let after = after.collect::<Result<Vec<_>, _>>()?;
        match self.accepted(LOGS, checked.finish()) {
            Err(error) if !ask.is_one_call() => Err(error),
            Err(error) => self.in_several_requests(ask, Some(error)).await.map(Some),
            logs => Ok(Some((before, after, self.or_otherwise(logs, ask.filter, ask.blocks()).await?))),
        }
    }

    /// Reads a range in several requests, the headers after the logs: a backend only gains blocks. Logs that were
    /// `refused` are requested in smaller parts, if possible.
    async fn in_several_requests(
        &self,
        ask: &RangeRequest<'_>,
        refused: Option<ChainError>,
    ) -> Result<RangeAnswers, ChainError> {
        let before = match ask.before() {
            Some(height) => Some(self.headers(&[height]).await?.pop().flatten()),
            None => None,
        };
        let logs = match refused {
            Some(error) => self.or_otherwise(Err(error), ask.filter, ask.blocks()).await?,
            None => self.logs(ask.filter, ask.range).await?,
        };
        Ok((before, self.headers(&ask.after()).await?, logs))
    }
}
