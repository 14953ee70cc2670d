//! Reads history: ranges in flight in parallel, handed out in order, within a byte budget.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::B256;
use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::error::ChainError;
use super::node::Node;
use super::settings::HistorySettings;
use crate::domain::{BlockRange, BlockRef, Log, LogFilter};
use crate::metrics;

/// The logs of a range, with the block times of all of them, ready to be believed.
#[derive(Clone, Debug)]
pub struct Batch {
    /// All of these blocks were asked for.
    pub range: BlockRange,
    /// Hash of the block below the range, as its first block says.
    pub parent_hash: B256,
    /// The last block of the range.
    pub last: BlockRef,
    /// In chain order.
    pub logs: Vec<Log>,
    /// Height to block time in seconds, for every block that has a log.
    pub times: BTreeMap<u64, u64>,
}

impl Batch {
    /// Roughly what it takes in memory, in bytes.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.logs.iter().map(|log| size_of::<Log>() + log.data.len() + 48).sum::<usize>()
    }
}

/// Tells whoever keeps the chain's health what a reader in the background met.
pub type OnError = Arc<dyn Fn(&ChainError) + Send + Sync>;

/// A reader of one closed range for one filter. Dropping it ends what is in flight.
pub struct History {
    fetch: Fetch,
    settings: HistorySettings,
    rest: Option<BlockRange>,
    in_flight: VecDeque<AbortOnDropHandle<Vec<Batch>>>,
    ready: VecDeque<Batch>,
}

/// All that one task in flight needs.
#[derive(Clone)]
struct Fetch {
    node: Arc<Node>,
    chain: Arc<str>,
    filter: Arc<LogFilter>,
    buffered: Arc<std::sync::atomic::AtomicUsize>,
    final_number: u64,
    on_error: OnError,
}

impl History {
    /// Reads `range`. Blocks above `final_number` are read between two looks at the range's last block, so
    /// that a reorg in between is noticed.
    pub fn new(
        (node, chain): (Arc<Node>, &str),
        settings: HistorySettings,
        (filter, range): (LogFilter, BlockRange),
        final_number: u64,
        on_error: OnError,
    ) -> Self {
        let fetch = Fetch {
            node,
            chain: chain.into(),
            filter: Arc::new(filter),
            buffered: Arc::default(),
            final_number,
            on_error,
        };
        fetch.node.width().begin();
        Self { fetch, settings, rest: Some(range), in_flight: VecDeque::new(), ready: VecDeque::new() }
    }

    /// The next batch in order, `None` at the end of the range. Waits for as long as the node does not
    /// answer; every error is retried with backoff and told. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Batch> {
        while self.ready.is_empty() {
            self.dispatch();
            let oldest = self.in_flight.front_mut()?;
            match oldest.await {
                Ok(batches) => self.ready.extend(batches),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
            self.in_flight.pop_front();
        }
        let batch = self.ready.pop_front()?;
        self.fetch.buffered.fetch_sub(batch.bytes(), std::sync::atomic::Ordering::Relaxed);
        self.dispatch();
        Some(batch)
    }

    fn dispatch(&mut self) {
        while self.in_flight.len() < self.settings.ranges_in_flight {
            let buffered = self.fetch.buffered.load(std::sync::atomic::Ordering::Relaxed);
            // One question is always allowed, else an answer larger than the buffer would stop us for good.
            if buffered > self.settings.buffer_bytes && !self.in_flight.is_empty() {
                return;
            }
            let Some(rest) = self.rest else { return };
            let Some(width) = self.fetch.node.width().grant(rest.width()) else { return };
            let (range, rest) = rest.split_at_width(width);
            self.rest = rest;
            let task: JoinHandle<_> = tokio::spawn(self.fetch.clone().read(range));
            self.in_flight.push_back(AbortOnDropHandle::new(task));
        }
    }
}

impl Fetch {
    /// All of `range`, whose width was granted, in as many questions as the node demands.
    async fn read(self, range: BlockRange) -> Vec<Batch> {
        let mut batches = Vec::new();
        let (mut rest, mut width) = (Some(range), range.width());
        let (mut pause, mut failures) = (backoff(), 0);
        while let Some(left) = rest {
            let (piece, after) = left.split_at_width(width);
            let started = Instant::now();
            match self.read_piece(piece).await {
                Ok(batch) => {
                    self.answered(&batch, started.elapsed());
                    batches.push(batch);
                    rest = after;
                    (pause, failures) = (backoff(), 0);
                }
                Err(error) if self.narrowed(piece, &error) => failures = 0,
                Err(error) => {
                    failures += u32::from(error.is_doubtful());
                    let narrowed = self.node.width().failed(piece.width(), failures);
                    self.wait(&error, &mut pause).await;
                    if !narrowed {
                        continue;
                    }
                    failures = 0;
                }
            }
            let left = rest.map_or(0, |rest| rest.width());
            width = self.node.width().grant(left).unwrap_or(1);
        }
        batches
    }

    fn answered(&self, batch: &Batch, took: Duration) {
        let bytes = batch.bytes();
        self.buffered.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        let mut width = self.node.width();
        width.answered(batch.range.width(), bytes, took);
        metrics::range_width(&self.chain, width.now());
    }

    /// Whether the node would answer a narrower question.
    fn narrowed(&self, piece: BlockRange, error: &ChainError) -> bool {
        let Some((why, hint)) = error.narrows().filter(|_| piece.width() > 1) else { return false };
        tracing::debug!(chain = %self.chain, range = %piece, %error, "range is narrowed");
        self.node.width().refused(piece.width(), hint, why);
        true
    }

    async fn wait(&self, error: &ChainError, pause: &mut backon::ExponentialBackoff) {
        (self.on_error)(error);
        let wait = pause.next().unwrap_or(MAX_PAUSE);
        tokio::time::sleep(error.retry_after().map_or(wait, |asked| asked.clamp(wait, MAX_RETRY_AFTER)))
            .await;
    }

    async fn read_piece(&self, range: BlockRange) -> Result<Batch, ChainError> {
        let before = match range.to() > self.final_number {
            true => Some(self.block(range.to()).await?),
            false => None,
        };
        let (first, logs) = tokio::try_join!(self.block(range.from()), self.node.logs(&self.filter, range))?;
        let last =
            if range.width() == 1 && before.is_none() { first } else { self.block(range.to()).await? };
        if before.is_some_and(|before| before != last) {
            return Err(self.moved(range.to()));
        }
        let times = self.times(&logs, &[first, last]).await?;
        Ok(Batch { range, parent_hash: first.parent_hash, last, logs, times })
    }

    async fn block(&self, number: u64) -> Result<BlockRef, ChainError> {
        let block = self.node.block(number).await?;
        block.ok_or_else(|| self.bad(format!("it has no block {number}, which is confirmed")))
    }

    /// Block times from the logs themselves where the node adds them and they are final, else from the headers,
    /// which must then have the hashes the logs have: a branch may come and go between two looks at the range's last block.
    async fn times(&self, logs: &[Log], known: &[BlockRef]) -> Result<BTreeMap<u64, u64>, ChainError> {
        let (mut times, mut unknown) = (BTreeMap::new(), BTreeMap::new());
        for log in logs {
            let number = log.place.block_number;
            if let Some(block) = known.iter().find(|block| block.number == number) {
                if block.hash != log.block_hash {
                    return Err(self.moved(number));
                }
                times.insert(number, block.timestamp);
            } else if let Some(time) = log.block_timestamp.filter(|_| number <= self.final_number) {
                times.insert(number, time);
            } else {
                unknown.insert(number, log.block_hash);
            }
        }
        let numbers: Vec<u64> = unknown.keys().copied().collect();
        for chunk in numbers.chunks(HEADERS_AT_ONCE) {
            for block in self.headers(chunk).await?.into_iter().flatten() {
                if unknown.remove(&block.number) != Some(block.hash) {
                    return Err(self.moved(block.number));
                }
                times.insert(block.number, block.timestamp);
            }
        }
        match unknown.keys().next() {
            Some(number) => Err(self.bad(format!("it has logs of block {number} and no header"))),
            None => Ok(times),
        }
    }

    /// One failure among hundreds of headers is no reason to ask for the logs again.
    async fn headers(&self, numbers: &[u64]) -> Result<Vec<Option<BlockRef>>, ChainError> {
        for _ in 1..HEADER_TRIES {
            match self.node.blocks(numbers).await {
                Err(error) if error.is_doubtful() => {}
                answer => return answer,
            }
        }
        self.node.blocks(numbers).await
    }

    fn moved(&self, number: u64) -> ChainError {
        self.bad(format!("block {number} changed while its range was read"))
    }

    fn bad(&self, reason: String) -> ChainError {
        ChainError::BadAnswer { host: self.node.host().to_owned(), method: "eth_getLogs", reason }
    }
}

/// Headers asked for at the same time where logs lack their block's time: enough to hide the latency, few
/// enough not to look like an attack.
const HEADERS_AT_ONCE: usize = 16;
/// How often they are asked for before the range counts as failed.
const HEADER_TRIES: usize = 3;
/// Longest pause between two tries: a node that comes back is noticed within it.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// A node may ask for patience, not for an outage.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

fn backoff() -> backon::ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(MAX_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}
