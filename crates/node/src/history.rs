//! Reads history: several ranges at once, handed out in order, within a byte budget.
//!
//! Each reader takes the range after the last one that was given out, and puts its batch into a buffer. The caller
//! takes batches from the buffer in order, as many as fit one commit. The readers continue while a commit runs, and
//! stop when the buffer is full.

mod log_times;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::error::ChainError;
use super::node::Node;
use super::node::read_range::{RangeRequest, RangeResponse};
use super::reorder_buffer::ReorderBuffer;
use super::rpc::MAX_RETRY_AFTER;
use super::settings::HistorySettings;
use super::settings::Work;
use super::width::QUICK;
use chainflume_core::domain::{BlockId, BlockRange, BlockRef, LogBlock, LogFilter, Logs};
use chainflume_ops::backoff::Backoff;
use chainflume_ops::metrics;
use chainflume_ops::supervise::{Beside, Loop, Turns};
use log_times::times_of_logs;

/// Receives the errors of a background reader, each with the blocks that were asked for.
pub type OnError = Arc<dyn Fn(BlockRange, &ChainError) + Send + Sync>;

/// The heights that decide how a block is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadDepths {
    /// The highest final block. A range above it is read between two reads of its last header.
    pub final_number: u64,
    /// The highest block that every backend of a node has, because it is old enough. Blocks above it are read one by
    /// one, by hash.
    pub aged: u64,
}

/// Which logs of which blocks are read.
#[derive(Clone, Debug)]
pub struct HistoryRequest {
    /// Which logs.
    pub filter: LogFilter,
    /// Of which blocks.
    pub range: BlockRange,
    /// Heights that decide how each block is read.
    pub depths: ReadDepths,
}

/// A reader of one closed range for one filter. To drop it cancels its requests.
pub struct HistoryReader {
    buffer: Arc<ReorderBuffer>,
    readers: Vec<Beside>,
    commit_logs: usize,
}

/// What one task of the reader needs.
#[derive(Clone)]
struct RangeFetcher {
    node: Arc<Node>,
    chain: Arc<str>,
    filter: Arc<LogFilter>,
    buffer: Arc<ReorderBuffer>,
    depths: ReadDepths,
    on_error: OnError,
}

impl HistoryReader {
    /// Starts the tasks that read the range. Needs a runtime.
    pub fn new(
        node: Arc<Node>,
        chain: &str,
        settings: HistorySettings,
        request: HistoryRequest,
        on_error: OnError,
    ) -> Self {
        let HistoryRequest { filter, range, depths } = request;
        node.width().begin();
        node.begins(Work::History);
        let buffer = Arc::new(ReorderBuffer::new(range, settings.buffer_bytes));
        let (chain, filter) = (chain.into(), Arc::new(filter));
        let fetch = RangeFetcher { node, chain, filter, buffer: buffer.clone(), depths, on_error };
        let reader = |_| {
            let fetch = fetch.clone();
            Beside::start(Loop::new(format!("readers {}", fetch.chain), HUNG_AFTER), |turns| fetch.run(turns))
        };
        let readers = (0..settings.ranges_in_flight.max(1)).map(reader).collect();
        Self { buffer, readers, commit_logs: settings.commit_logs }
    }

    /// The next batches in order, joined up to `commit_logs` logs; `None` at the end of the range. Every error is
    /// reported and retried with backoff, without an end. Cancel safe.
    ///
    /// # Panics
    /// When a task panicked or hangs, or when all have returned and blocks are left.
    pub async fn next(&mut self) -> Option<Batch> {
        loop {
            if let Ok(batch) =
                tokio::time::timeout(READER_CHECK_INTERVAL, self.buffer.take(self.commit_logs)).await
            {
                return batch;
            }
            assert!(!self.readers.is_empty(), "the readers of history returned although blocks are left");
            self.readers.retain_mut(|reader| !reader.has_ended());
        }
    }
}

/// Failures of one request in a row that may be a limit in unknown words.
#[derive(Default)]
struct UnexplainedFailures {
    count: u32,
    last: Option<ChainError>,
}

impl UnexplainedFailures {
    /// Counts a failure. A refusal of a known kind counts from its first repetition on.
    fn count(&mut self, error: &ChainError) {
        let is_repeated = self.last.as_ref().is_some_and(|last| error.is_same_refusal(last));
        self.count += u32::from(error.is_unexplained() || is_repeated);
        self.last = Some(error.clone());
    }
}

impl RangeFetcher {
    /// Reads ranges until none is left.
    async fn run(self, turns: Turns) {
        let given = || self.buffer.give(|rest| self.grant(rest.width()));
        while let Some((range, width)) = turns.wait(given()).await {
            self.read(range, width, &turns).await;
            self.buffer.done();
        }
    }

    /// How many of the blocks that are `left` the next request spans, and how many each of its calls spans.
    fn grant(&self, left: u64) -> Option<(u64, u64)> {
        let mut widths = self.node.width();
        let width = widths.grant(left)?;
        let calls = if widths.is_widest(width) { self.node.log_calls_at_once(&self.filter) } else { 1 };
        Some((width.saturating_mul(calls), width))
    }

    /// Reads all of `range` in as many requests as the node demands. Each call may span `width` blocks.
    async fn read(&self, range: BlockRange, mut width: u64, turns: &Turns) {
        let (mut rest, mut blocks) = (Some(range), range.width());
        let (mut backoff, mut failures) =
            (Backoff::new(MIN_PAUSE, MAX_PAUSE), UnexplainedFailures::default());
        while let Some(left) = rest {
            let (piece, after) = left.split_at_width(self.at_once(left, blocks));
            let first = self.first_call(piece, width);
            let started = Instant::now();
            turns.turn();
            self.node.reads(&self.filter, first);
            match self.read_piece(piece, width).await {
                Ok(batch) => {
                    self.answered(&batch, width, started.elapsed());
                    self.node.worked(Work::History, Some(piece));
                    self.buffer.put(batch);
                    rest = after;
                    backoff.reset();
                    failures = UnexplainedFailures::default();
                }
                Err(error) if self.asks_for_less(piece, first, &error) => {
                    failures = UnexplainedFailures::default();
                }
                Err(error) => {
                    failures.count(&error);
                    self.node.work_failed_on(Work::History, &self.filter, first, &error);
                    let narrowed = !self.is_recent(piece)
                        && piece == first
                        && self.node.width().failed(piece.width(), failures.count);
                    turns.wait(self.wait(piece, &error, &mut backoff)).await;
                    if !narrowed && piece == first {
                        continue;
                    }
                    failures = UnexplainedFailures::default();
                }
            }
            (blocks, width) = self.grant(rest.map_or(0, |rest| rest.width())).unwrap_or((1, 1));
        }
    }

    /// How many of these blocks one request reads: of aged blocks as many as the node accepts, of others a few.
    fn at_once(&self, left: BlockRange, width: u64) -> u64 {
        match self.depths.aged.checked_sub(left.from()) {
            Some(old) => width.min(old.saturating_add(1)),
            None => width.min(RECENT_AT_ONCE),
        }
    }

    /// The blocks of the first call for these blocks.
    fn first_call(&self, piece: BlockRange, width: u64) -> BlockRange {
        if self.is_recent(piece) { piece } else { piece.split_at_width(width).0 }
    }

    fn answered(&self, batch: &Batch, width: u64, took: Duration) {
        if self.is_recent(batch.range) {
            return;
        }
        let (blocks, mut widths) = (batch.range.width(), self.node.width());
        let calls = blocks.div_ceil(width);
        let share = u32::try_from(calls).unwrap_or(u32::MAX);
        let each = (width.min(blocks), batch.bytes() / share as usize, took / share);
        (0..calls).for_each(|_| widths.answered(each.0, each.1, each.2));
        let grows = took < QUICK && widths.is_widest(width) && widths.leaves_room(batch.bytes());
        self.node.bundle.answered(calls, grows);
        metrics::range_width(&self.chain, widths.now());
    }

    /// Whether a narrower call, or fewer calls in one request, would be answered. `first` are the blocks of the first call for `piece`.
    fn asks_for_less(&self, piece: BlockRange, first: BlockRange, error: &ChainError) -> bool {
        if piece != first {
            let is_limit = error.narrows().is_some() || error.is_rate();
            self.node.bundle.failed(piece.width().div_ceil(first.width()), is_limit);
        }
        let narrows = error.narrows().filter(|_| piece.width() > 1 && !self.is_recent(piece));
        let Some((why, hint)) = narrows else { return piece != first && error.splits_filter() };
        tracing::debug!(chain = %self.chain, range = %piece, %error, "range is narrowed");
        // A refusal by a limit comes in time. A timeout may be a limit, or a node that hangs. It counts as a failure,
        // so that another provider is tried before a dozen narrower requests have failed.
        if matches!(error, ChainError::Timeout { .. }) {
            self.node.work_failed_on(Work::History, &self.filter, first, error);
        }
        if piece == first {
            self.node.width().refused(piece.width(), hint, why);
        }
        true
    }

    async fn wait(&self, range: BlockRange, error: &ChainError, backoff: &mut Backoff) {
        (self.on_error)(range, error);
        let wait = backoff.next_pause();
        tokio::time::sleep(error.retry_after().map_or(wait, |asked| asked.clamp(wait, MAX_RETRY_AFTER)))
            .await;
    }

    fn is_recent(&self, range: BlockRange) -> bool {
        range.to() > self.depths.aged
    }

    async fn read_piece(&self, range: BlockRange, width: u64) -> Result<Batch, ChainError> {
        if self.is_recent(range) {
            return self.node.read_by_hash(&self.filter, range).await;
        }
        let may_change = range.to() > self.depths.final_number;
        let asked = RangeRequest { filter: &self.filter, range, width, twice: may_change };
        let RangeResponse { first, last, logs } = self.node.read_range(&asked).await?;
        let logs = self.node.with_checked_tail(&self.filter, range, last, logs).await?;
        let times = self.times(&logs, first.block, last.block).await?;
        Ok(Batch { range, parent_hash: first.block.parent_hash, last: last.block, logs, times })
    }

    /// The times of the blocks. They come from the logs, where the node adds them, the blocks are final and the times
    /// are plausible. Otherwise they come from headers, which must have the block hashes of the logs: another branch
    /// may come and go between two reads of the range's last block.
    async fn times(
        &self,
        logs: &Logs,
        first: BlockRef,
        last: BlockRef,
    ) -> Result<BTreeMap<u64, u64>, ChainError> {
        self.node.in_sequence(&first, &last)?;
        let known_times = times_of_logs(logs, &first, &last).unwrap_or_default();
        let (mut times, mut unknown) = (BTreeMap::new(), BTreeMap::new());
        for LogBlock { id: BlockId { number, hash }, .. } in logs.blocks() {
            if let Some(block) = [first, last].iter().find(|block| block.number == number) {
                if block.hash != hash {
                    return Err(self.node.block_changed(number));
                }
                times.insert(number, block.timestamp);
            } else if let Some(time) = known_times.get(&number).filter(|_| number <= self.depths.final_number)
            {
                times.insert(number, *time);
            } else {
                unknown.insert(number, hash);
            }
        }
        let numbers: Vec<u64> = unknown.keys().copied().collect();
        for chunk in numbers.chunks(HEADERS_AT_ONCE) {
            for block in self.headers(chunk).await?.into_iter().flatten() {
                if unknown.remove(&block.number) != Some(block.hash) {
                    return Err(self.node.block_changed(block.number));
                }
                self.node.in_sequence(&first, &block)?;
                self.node.in_sequence(&block, &last)?;
                times.insert(block.number, block.timestamp);
            }
        }
        match unknown.keys().next() {
            Some(number) => Err(self.bad(format!("it has logs of block {number} and no header"))),
            None => Ok(times),
        }
    }

    /// Fetches headers. One failure among hundreds of headers is no reason to request the logs again.
    async fn headers(&self, numbers: &[u64]) -> Result<Vec<Option<BlockRef>>, ChainError> {
        for _ in 1..HEADER_TRIES {
            match self.node.blocks(numbers).await {
                Err(error) if error.is_unexplained() => {}
                answer => return answer,
            }
        }
        self.node.blocks(numbers).await
    }

    fn bad(&self, reason: String) -> ChainError {
        ChainError::BadAnswer { host: self.node.host().to_owned(), method: "eth_getLogs", reason }
    }
}

/// A task reports progress before each request. One request may be split into hundreds, and a node may ask for a
/// pause with each.
const HUNG_AFTER: Duration = Duration::from_mins(15);
/// Interval of the check of the tasks while the next batch is awaited.
const READER_CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// Headers requested at the same time where logs lack the time of their block: enough to hide the latency, few enough
/// not to look like an attack.
const HEADERS_AT_ONCE: usize = 16;
/// Blocks requested at the same time by hash: enough to hide the latency.
const RECENT_AT_ONCE: u64 = 16;
/// How often headers are requested before the range counts as failed.
const HEADER_TRIES: usize = 3;
/// Longest pause between two tries: a node that recovers is noticed within this time.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// First pause between two tries.
const MIN_PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RefusalKind;

    #[test]
    fn identical_refusals_count_whatever_they_are_taken_for() {
        let refused = |refusal, message: &str| ChainError::Refused {
            host: "node".to_owned(),
            method: "eth_getLogs",
            code: Some(-32_000),
            message: message.to_owned(),
            refusal,
        };
        let count = |errors: &[ChainError]| {
            let mut failures = UnexplainedFailures::default();
            errors.iter().for_each(|error| failures.count(error));
            failures.count
        };
        let denied = refused(RefusalKind::Denied, "your plan does not cover this");
        assert_eq!(count(&[denied.clone(), denied.clone(), denied.clone(), denied.clone()]), 3);
        let other = refused(RefusalKind::BeyondHead, "block 7 is beyond the head");
        let later = refused(RefusalKind::BeyondHead, "block 8 is beyond the head");
        assert_eq!(count(&[other.clone(), later, other]), 0, "something changes");
        let rate = refused(RefusalKind::Rate { retry_after: None }, "slow down");
        assert_eq!(count(&[rate.clone(), rate.clone(), rate]), 0);
        let unknown = refused(RefusalKind::Unknown, "no");
        assert_eq!(count(&[unknown.clone(), unknown]), 2);
    }
}
