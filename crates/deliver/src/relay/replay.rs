use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{RelayError, backoff};
use crate::sink::{Sink, SinkError, Stream};
use chainflume_core::domain::Envelope;
use chainflume_outbox::{Draft, Outbox, ReplaySource};

/// Publishes stored facts again, to a sink or to the outbox.
pub struct Replayer<S, R> {
    /// The database.
    pub outbox: Outbox,
    /// The facts.
    pub source: R,
    /// The target of the messages.
    pub target: ReplayTarget<S>,
    /// Maximum number of messages per second.
    pub rate: u32,
}

/// The target of a replay.
pub enum ReplayTarget<S> {
    /// The outbox, after the existing messages, and so every sink and subscriber.
    Live,
    /// Separate streams of a sink.
    SeparateStreams(SeparateStreams<S>),
}

/// Streams beside the live ones, with their own numbers.
pub struct SeparateStreams<S> {
    sink: S,
    /// The name under which their numbers are stored.
    streams: String,
    /// The newest number that this replay delivered, by aggregate type.
    ends: BTreeMap<String, u64>,
    /// Whether the sink's streams were checked since the last error.
    looked: bool,
    /// The epoch of its entries; `None` until it is read.
    epoch: Option<String>,
}

/// Progress of a replay.
#[derive(Debug)]
pub struct Replayed {
    /// Number of published messages.
    pub messages: u64,
    /// The place of the last fact, after which a replay can continue; `None` where none was published.
    pub upto: Option<String>,
    /// How it ended.
    pub end: ReplayEnd,
}

/// How a replay ended.
#[derive(Debug)]
pub enum ReplayEnd {
    /// Everything was published.
    Done,
    /// It was stopped.
    Stopped,
    /// An error ended it.
    Failed(RelayError),
}

/// Maximum number of messages per step.
const BATCH: u32 = 500;
/// Number of steps per second. Each step keeps the rate, and a signal is handled between two steps.
const STEPS_PER_SECOND: u32 = 5;

impl<S> SeparateStreams<S> {
    /// Streams of `sink` whose numbers are stored under the name `streams`.
    pub fn new(sink: S, streams: String) -> Self {
        Self { sink, streams, ends: BTreeMap::new(), looked: false, epoch: None }
    }
}

impl<S: Sink, R: ReplaySource> Replayer<S, R> {
    /// Publishes the facts of the source in their order, until all are published or `stop`. A batch that has begun is finished.
    /// `progress` receives the number of messages published so far, and the place after which a replay would continue.
    pub async fn run(&mut self, stop: &CancellationToken, mut progress: impl FnMut(u64, &str)) -> Replayed {
        let mut replayed = Replayed { messages: 0, upto: None, end: ReplayEnd::Done };
        let (mut due, mut after) = (Instant::now(), None);
        loop {
            let step = match stop.run_until_cancelled(tokio::time::sleep_until(due)).await {
                Some(()) => self.step(after, stop).await,
                None => Ok(ReplayStep::Stopped),
            };
            match step {
                Ok(ReplayStep::Published(count, upto)) => {
                    due = due.max(Instant::now()) + self.share(count);
                    after = Some(upto);
                    replayed.messages += count;
                    progress(replayed.messages, replayed.upto.insert(upto.to_string()));
                }
                Ok(ReplayStep::End) => return replayed,
                Ok(ReplayStep::Stopped) => return Replayed { end: ReplayEnd::Stopped, ..replayed },
                Err(error) => return Replayed { end: ReplayEnd::Failed(error), ..replayed },
            }
        }
    }

    async fn step(
        &mut self,
        after: Option<R::Mark>,
        stop: &CancellationToken,
    ) -> Result<ReplayStep<R::Mark>, RelayError> {
        let limit = (self.rate / STEPS_PER_SECOND).clamp(1, BATCH);
        let Some((messages, upto)) = self.source.page(after, limit).await? else {
            return Ok(ReplayStep::End);
        };
        let count = messages.len() as u64;
        let published = match &mut self.target {
            ReplayTarget::Live => {
                self.outbox.publish_again(self.source.chain_id(), messages).await.map(|()| true)?
            }
            ReplayTarget::SeparateStreams(apart) => {
                let Some(epoch) = apart.open(&self.outbox, stop).await? else {
                    return Ok(ReplayStep::Stopped);
                };
                let first = self.outbox.take_replay_numbers(&apart.streams, count).await?;
                apart.deliver(&envelopes(&messages, first, &epoch), stop).await?
            }
        };
        Ok(if published { ReplayStep::Published(count, upto) } else { ReplayStep::Stopped })
    }

    /// The time that this many messages take at the configured rate.
    fn share(&self, count: u64) -> Duration {
        Duration::from_secs(1).saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)) / self.rate.max(1)
    }
}

enum ReplayStep<M> {
    Published(u64, M),
    End,
    Stopped,
}

impl<S: Sink> SeparateStreams<S> {
    /// Checks that the streams belong to this database before any number is assigned, and returns the epoch of their
    /// entries. Numbers assigned for foreign streams would make those streams look like its own at the next try. Waits
    /// for a sink that is unreachable; `None` if stopped before.
    async fn open(
        &mut self,
        outbox: &Outbox,
        stop: &CancellationToken,
    ) -> Result<Option<String>, RelayError> {
        if let Some(epoch) = &self.epoch {
            return Ok(Some(epoch.clone()));
        }
        let mut backoff = backoff();
        let streams = loop {
            match self.sink.look().await {
                Ok(streams) => break streams,
                Err(error) if error.is_transient() => {
                    if !self.wait(&error, backoff.next_pause(), stop).await {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        };
        let taken = outbox.replay_number(&self.streams).await?;
        let lineage = outbox.lineage(&self.streams, 0, &[]).await?;
        let is_ours = |stream: &Stream| {
            let epoch = stream.newest.as_ref().and_then(|entry| entry.epoch.as_deref());
            stream.top <= taken && epoch.is_none_or(|epoch| epoch == "0" || lineage.last_of(epoch).is_some())
        };
        if let Some(foreign) = streams.into_iter().find(|stream| !is_ours(stream)) {
            return Err(RelayError::ForeignReplay { stream: foreign.name, seq: foreign.top });
        }
        self.looked = true;
        Ok(Some(self.epoch.insert(outbox.epoch().await?).clone()))
    }

    /// Waits for an unreachable sink; `false` if stopped.
    async fn wait(&self, error: &SinkError, pause: Duration, stop: &CancellationToken) -> bool {
        tracing::warn!(sink = self.sink.name(), %error, "replay waits for the sink");
        stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }

    /// Delivers all of the batch; `false` if stopped before that was certain. Waits for an unreachable sink.
    async fn deliver(
        &mut self,
        batch: &[Arc<Envelope>],
        stop: &CancellationToken,
    ) -> Result<bool, RelayError> {
        let (mut rest, mut backoff, mut repeating) = (batch, backoff(), false);
        while !rest.is_empty() {
            match self.send(rest).await {
                // The numbers of a replay are new, so a stream that is ahead of them has another writer.
                Ok((_, true)) if !repeating => {
                    let seq = rest.first().map_or(0, |envelope| envelope.seq);
                    return Err(RelayError::ForeignReplay { stream: self.streams.clone(), seq });
                }
                Ok((upto, _)) => {
                    rest = &rest[rest.partition_point(|envelope| envelope.seq <= upto)..];
                    // Some of the rest may be delivered: the part for another server than the failed one.
                    repeating = true;
                }
                Err(error) if error.is_transient() && !matches!(error, SinkError::Lost { .. }) => {
                    (repeating, self.looked) = (true, false);
                    if !self.wait(&error, backoff.next_pause(), stop).await {
                        return Ok(false);
                    }
                }
                Err(SinkError::Foreign { stream, seq }) => {
                    return Err(RelayError::ForeignReplay { stream, seq });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// The delivered position, and the number of messages that the sink already had.
    async fn send(&mut self, batch: &[Arc<Envelope>]) -> Result<(u64, bool), SinkError> {
        let Some(last) = batch.last() else { return Ok((0, false)) };
        if !self.looked {
            for Stream { aggregate_type, name, top, .. } in self.sink.look().await? {
                let end = self.ends.get(&aggregate_type).copied().unwrap_or(0);
                if top < end {
                    return Err(SinkError::Lost { stream: name, held: top, given: end });
                }
                if top > last.seq {
                    return Err(SinkError::Foreign { stream: name, seq: top });
                }
            }
            self.looked = true;
        }
        let delivered = self.sink.deliver(batch).await?;
        for envelope in batch.iter().filter(|envelope| envelope.seq <= delivered.upto) {
            self.ends.insert(envelope.aggregate_type.clone(), envelope.seq);
        }
        Ok((delivered.upto, !delivered.repeats.is_empty()))
    }
}

fn envelopes(messages: &[Draft], first: u64, epoch: &str) -> Vec<Arc<Envelope>> {
    (first..).zip(messages).map(|(seq, draft)| Arc::new(draft.envelope(seq, epoch))).collect()
}
