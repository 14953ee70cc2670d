//! The logs of a range with the headers of its ends, in one request where that can be: what one request asks one backend
//! answers, so that a backend which lacks the end of the range shows it by lacking the header.

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

/// A range, and what for.
struct RangeRequest<'a> {
    filter: &'a LogFilter,
    range: BlockRange,
    /// Whether its last header is looked at before and after the logs.
    twice: bool,
}

/// What came of that: the last header as it was before, and the headers after; `None` where the node lacks one.
type RangeAnswers = (Option<Option<HeaderSeal>>, Vec<Option<HeaderSeal>>, Logs);

impl RangeRequest<'_> {
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
        let logs = [logs_question(self.filter, self.blocks())];
        let (before, after) = (self.before().map(header), self.after().into_iter().map(header));
        before.into_iter().chain(logs).chain(after).collect()
    }
}

impl Node {
    /// The logs of a range and the headers of its ends. A range that may still change is read between two looks at its last
    /// header, so that a reorg in between is noticed.
    ///
    /// # Errors
    /// Why the node cannot be asked or its answer not be believed; that it lacks one of the ends.
    pub(crate) async fn ranged(
        &self,
        filter: &LogFilter,
        range: BlockRange,
        may_change: bool,
    ) -> Result<RangeResponse, ChainError> {
        let ask = RangeRequest { filter, range, twice: may_change };
        let (before, seals, logs) = match self.together(&ask).await? {
            Some(answers) => answers,
            None => self.apart(&ask, None).await?,
        };
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
            Err(error) => return self.apart(ask, Some(error)).await.map(Some),
        };
        let mut answers = answers.into_iter();
        let before = ask.before().map(|height| self.header_of(answers.next(), height)).transpose()?;
        let rest = self.parsed::<Vec<ReadLog>>(LOGS, answers.next().unwrap_or(Ok(None)))?;
        let rest = rest.ok_or_else(|| self.rpc.bad(LOGS, "null where a result belongs"))?;
        rest.iter().for_each(|read| checked.push(&read.0));
        let after = ask.after().into_iter().map(|height| self.header_of(answers.next(), height));
        let after = after.collect::<Result<Vec<_>, _>>()?;
        match self.believed(LOGS, checked.finish()) {
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
