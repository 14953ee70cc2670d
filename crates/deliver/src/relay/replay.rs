use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{RelayError, backoff};
use crate::sink::{Sink, SinkError, Stream};
use chainflume_core::domain::{Envelope, Message, Place};
use chainflume_outbox::Outbox;
use chainflume_store::{ChainStore, ReplayQuery};

/// Publishes history again: from the stored events to a sink, or to the outbox.
pub struct Replayer<S> {
    /// The database.
    pub outbox: Outbox,
    /// The chain whose history it is.
    pub chain: ChainStore,
    /// Where the messages go.
    pub target: ReplayTarget<S>,
    /// Messages a second at most.
    pub rate: u32,
}

/// Where the messages of a replay go.
pub enum ReplayTarget<S> {
    /// Into the outbox, behind what is there, and so to every sink and to whoever listens.
    Live,
    /// To streams of their own.
    SeparateStreams(SeparateStreams<S>),
}

/// Streams beside the live ones, with numbers of their own.
pub struct SeparateStreams<S> {
    sink: S,
    /// What their numbers are kept under.
    streams: String,
    /// What this replay has put there: the newest number by aggregate type.
    ends: BTreeMap<String, u64>,
    /// Whether the sink was asked what it holds since the last error.
    looked: bool,
    /// The epoch its entries bear; `None` until it is read.
    epoch: Option<String>,
}

/// How far a replay came.
#[derive(Debug)]
pub struct Replayed {
    /// Messages that were told.
    pub messages: u64,
    /// The place of the last: what to go on after.
    pub upto: Option<Place>,
    /// How it ended.
    pub end: ReplayEnd,
}

/// How a replay ended.
#[derive(Debug)]
pub enum ReplayEnd {
    /// All was told.
    Done,
    /// It was told to stop.
    Stopped,
    /// It could not go on.
    Failed(RelayError),
}

/// Most messages at once.
const BATCH: u32 = 500;
/// The rate is kept from step to step, and a signal is answered between two.
const STEPS_PER_SECOND: u32 = 5;

impl<S> SeparateStreams<S> {
    /// Streams of `sink`, whose numbers are kept under the name `streams`.
    pub fn new(sink: S, streams: String) -> Self {
        Self { sink, streams, ends: BTreeMap::new(), looked: false, epoch: None }
    }
}

impl<S: Sink> Replayer<S> {
    /// Tells what `query` asks for, in chain order, until all is told or `stop`; a batch in hand is finished. `progress`
    /// is told how many messages were told so far.
    pub async fn run(
        &mut self,
        mut query: ReplayQuery,
        stop: &CancellationToken,
        mut progress: impl FnMut(u64),
    ) -> Replayed {
        let mut replayed = Replayed { messages: 0, upto: query.after, end: ReplayEnd::Done };
        let mut due = Instant::now();
        loop {
            let step = match stop.run_until_cancelled(tokio::time::sleep_until(due)).await {
                Some(()) => self.step(&query, stop).await,
                None => Ok(ReplayStep::Stopped),
            };
            match step {
                Ok(ReplayStep::Told(count, upto)) => {
                    due = due.max(Instant::now()) + self.share(count);
                    replayed.messages += count;
                    replayed.upto = Some(upto);
                    query.after = Some(upto);
                    progress(replayed.messages);
                }
                Ok(ReplayStep::End) => return replayed,
                Ok(ReplayStep::Stopped) => return Replayed { end: ReplayEnd::Stopped, ..replayed },
                Err(error) => return Replayed { end: ReplayEnd::Failed(error), ..replayed },
            }
        }
    }

    async fn step(
        &mut self,
        query: &ReplayQuery,
        stop: &CancellationToken,
    ) -> Result<ReplayStep, RelayError> {
        let limit = (self.rate / STEPS_PER_SECOND).clamp(1, BATCH);
        let Some((messages, upto)) = self.chain.replay_page(query, limit).await? else {
            return Ok(ReplayStep::End);
        };
        let count = messages.len() as u64;
        let told = match &mut self.target {
            ReplayTarget::Live => self.chain.announce_again(messages).await.map(|()| true)?,
            ReplayTarget::SeparateStreams(apart) => {
                let Some(epoch) = apart.open(&self.outbox, stop).await? else {
                    return Ok(ReplayStep::Stopped);
                };
                let first = self.outbox.take_replay_numbers(&apart.streams, count).await?;
                apart.deliver(&envelopes(messages, (first, &epoch))?, stop).await?
            }
        };
        Ok(if told { ReplayStep::Told(count, upto) } else { ReplayStep::Stopped })
    }

    /// The time so many messages may take.
    fn share(&self, count: u64) -> Duration {
        Duration::from_secs(1).saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)) / self.rate.max(1)
    }
}

enum ReplayStep {
    Told(u64, Place),
    End,
    Stopped,
}

impl<S: Sink> SeparateStreams<S> {
    /// Looks, before any number is taken, whether the streams are ours, and returns the epoch of their entries. Numbers that
    /// were taken for streams of another history would make them look like ours at the next try. A sink that is away is waited
    /// for; `None` when told to stop before.
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

    /// Waits for a sink that is away; `false` when told to stop.
    async fn wait(&self, error: &SinkError, pause: Duration, stop: &CancellationToken) -> bool {
        tracing::warn!(sink = self.sink.name(), %error, "replay waits for the sink");
        stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }

    /// Whether all of the batch is there; `false` when it was told to stop before that was certain. A sink that is away is
    /// waited for.
    async fn deliver(
        &mut self,
        batch: &[Arc<Envelope>],
        stop: &CancellationToken,
    ) -> Result<bool, RelayError> {
        let (mut rest, mut backoff, mut repeating) = (batch, backoff(), false);
        while !rest.is_empty() {
            match self.send(rest).await {
                // Our numbers are new, so whoever is ahead of them is somebody else.
                Ok((_, true)) if !repeating => {
                    let seq = rest.first().map_or(0, |envelope| envelope.seq);
                    return Err(RelayError::ForeignReplay { stream: self.streams.clone(), seq });
                }
                Ok((upto, _)) => {
                    rest = &rest[rest.partition_point(|envelope| envelope.seq <= upto)..];
                    // Of what is left some may be there: what goes to another server than the part that failed.
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

    /// How far it is there now, and whether some of it had been.
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

fn envelopes(messages: Vec<Message>, (first, epoch): (u64, &str)) -> Result<Vec<Arc<Envelope>>, RelayError> {
    let envelope = |(seq, mut message): (u64, Message)| {
        message.seq = seq;
        let json = serde_json::to_string(&message).map_err(|error| RelayError::Message(error.to_string()))?;
        Ok(Arc::new(Envelope {
            seq,
            epoch: epoch.to_owned(),
            aggregate_type: message.aggregate_type,
            message_type: message.message_type,
            state: message.state.as_str().to_owned(),
            user_id: message.metadata.user_id,
            counterparty_user_id: message.metadata.counterparty_user_id,
            json,
        }))
    };
    (first..).zip(messages).map(envelope).collect()
}
