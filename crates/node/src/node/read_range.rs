//! The logs of a range with the headers of its ends, in one request where that can be: what one request asks one backend
//! answers, so that a backend which lacks the end of the range shows it by lacking the header.
//!
//! Where a node takes only narrow questions, a request has several of them. What the two headers prove is then the same as of
//! one question over the whole range: that the backend has its end, that the range links to the one below, and by the bloom
//! whether logs of the last block are missing. The ends of the questions between are inner blocks, of which a header is
//! fetched where they have logs without a plausible time.

use serde_json::json;

use super::header_seal::HeaderSeal;
use super::headers_with_logs::logs_question;
use super::{HEADER, Node, hex};
use crate::error::ChainError;
use crate::logs::{BlockSelector, CheckedLogs, LOGS};
use crate::rpc::RpcCall;
use crate::wire::ReadLog;
use chainflume_core::domain::{BlockRange, LogFilter, Logs};

/// What a node answers about a range.
pub(crate) struct RangeResponse {
    /// The header of its first block.
    pub first: HeaderSeal,
    /// The header of its last block.
    pub last: HeaderSeal,
    /// In chain order.
    pub logs: Logs,
}

/// A range that is old enough to be read as such.
#[derive(Clone, Copy)]
pub(crate) struct RangeRequest<'a> {
    /// Which logs.
    pub filter: &'a LogFilter,
    /// Of which blocks.
    pub range: BlockRange,
    /// Blocks that one question spans.
    pub width: u64,
    /// Whether it may still change: its last header is then looked at before and after the logs.
    pub twice: bool,
}

/// What came of that: the last header as it was before, and the headers after; `None` where the node lacks one.
type RangeAnswers = (Option<Option<HeaderSeal>>, Vec<Option<HeaderSeal>>, Logs);

impl RangeRequest<'_> {
    /// The blocks of each question.
    fn pieces(&self) -> Vec<BlockRange> {
        let (mut pieces, mut rest) = (Vec::new(), Some(self.range));
        while let Some(left) = rest {
            let (piece, after) = left.split_at_width(self.width);
            pieces.push(piece);
            rest = after;
        }
        pieces
    }

    fn is_one_question(&self) -> bool {
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

    fn questions(&self) -> Vec<RpcCall> {
        let header = |height: u64| RpcCall::new(HEADER, json!([hex(height), false]));
        let pieces = self.pieces().into_iter();
        let logs = pieces.map(|piece| logs_question(self.filter, BlockSelector::Range(piece)));
        let (before, after) = (self.before().map(header), self.after().into_iter().map(header));
        before.into_iter().chain(logs).chain(after).collect()
    }
}

impl Node {
    /// The logs of a range and the headers of its ends. A range that may still change is read between two looks at its last
    /// header, so that a reorg in between is noticed.
    ///
    /// # Errors
    /// Why the node cannot be asked, that its answer is wrong, or that it lacks one of the ends.
    pub(crate) async fn ranged(&self, ask: &RangeRequest<'_>) -> Result<RangeResponse, ChainError> {
        let (before, seals, logs) = match self.together(ask).await? {
            Some(answers) => answers,
            None if !ask.is_one_question() => return self.one_by_one(ask).await,
            None => self.apart(ask, None).await?,
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
            Some(Some(before)) if before.block != last.block => Err(self.moved(range.to())),
            _ => Ok(RangeResponse { first, last, logs }),
        }
    }

    /// Questions for logs that one request has, where the node takes no wider one.
    pub(crate) fn questions_at_once(&self, filter: &LogFilter) -> u64 {
        if self.asks_in_parts(filter) { 1 } else { self.bundle.now(self.rpc.calls_in_request()) }
    }

    /// Each question by itself, with its own headers, which must link to each other: another backend may answer each.
    async fn one_by_one(&self, ask: &RangeRequest<'_>) -> Result<RangeResponse, ChainError> {
        let mut all: Option<RangeResponse> = None;
        for range in ask.pieces() {
            let RangeResponse { first, last, logs } =
                Box::pin(self.ranged(&RangeRequest { range, ..*ask })).await?;
            let logs = self.with_tail(ask.filter, (range, last), logs).await?;
            all = Some(match all {
                None => RangeResponse { first, last, logs },
                Some(below) if below.last.block.hash != first.block.parent_hash => {
                    return Err(self.moved(range.from()));
                }
                Some(mut below) => {
                    below.logs.append(logs);
                    RangeResponse { last, ..below }
                }
            });
        }
        Ok(all.expect("a range has a first question"))
    }

    /// That a block was another one a moment ago.
    pub(crate) fn moved(&self, number: u64) -> ChainError {
        self.rpc.bad(LOGS, format!("block {number} changed while its range was read"))
    }

    /// All of it in one request. `None` where the node does not take that.
    async fn together(&self, ask: &RangeRequest<'_>) -> Result<Option<RangeAnswers>, ChainError> {
        let questions = ask.questions();
        if self.asks_in_parts(ask.filter) {
            return Ok(None);
        }
        if !self.rpc.is_one_request(questions.len()) {
            self.rpc.count_asked_alone();
            return Ok(None);
        }
        let mut checked = CheckedLogs::new(ask.filter, ask.blocks());
        let answers = match self.rpc.ask_with_list(&questions, |read: ReadLog| checked.push(&read.0)).await {
            Ok(Some(answers)) => answers,
            Ok(None) => return Ok(None),
            // Less is asked for before anything else is tried.
            Err(error) if !ask.is_one_question() => return Err(error),
            Err(error) => return self.apart(ask, Some(error)).await.map(Some),
        };
        let mut answers = answers.into_iter();
        let before = ask.before().map(|height| self.header_of(answers.next(), height)).transpose()?;
        for _ in ask.pieces() {
            let rest = self.parsed::<Vec<ReadLog>>(LOGS, answers.next().unwrap_or(Ok(None)))?;
            let rest = rest.ok_or_else(|| self.rpc.bad(LOGS, "null where a result belongs"))?;
            rest.iter().for_each(|read| checked.push(&read.0));
        }
        let after = ask.after().into_iter().map(|height| self.header_of(answers.next(), height));
        let after = after.collect::<Result<Vec<_>, _>>()?;
        match self.accepted(LOGS, checked.finish()) {
            Err(error) if !ask.is_one_question() => Err(error),
            Err(error) => self.apart(ask, Some(error)).await.map(Some),
            logs => Ok(Some((before, after, self.or_otherwise(logs, ask.filter, ask.blocks()).await?))),
        }
    }

    /// One after the other, the headers after the logs, since a backend only gets further. Logs that were `refused` are
    /// asked for in another way, if there is one.
    async fn apart(
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
