//! Redis: a stream for each aggregate type, and the same messages on Pub/Sub.
//!
//! An entry's id is the message's number, so Redis itself refuses repeats. Messages go in loads, each one script
//! ([`layout`]): it looks whether each stream still holds what it was given, by whom, appends what is new and publishes it, with
//! nobody in between. So a lost reply costs a repeat that changes nothing, a connection that comes back from
//! the dead cannot write out of order, and what Redis lost is noticed before anything is put behind the hole.
//! Plain `XADD`s in a pipeline would give none of these: after a `FLUSHALL` they succeed.
//!
//! Streams that live on one server share a [`StreamWriter`]; in a Cluster each has its own. Which server that is, and who takes over
//! after it, is for the [`route`] to find out.

mod answer;
mod cluster;
mod connection;
mod credentials;
mod layout;
mod route;
mod sentinel;
mod stream_writer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{Delivered, Sink, SinkError, Stream};
use chainflume_core::domain::{Aggregate, Envelope};
use layout::StreamLayout;
use stream_writer::{StreamWriter, WriteOutcome};

/// The sink's name, in errors too.
const NAME: &str = "redis";

/// How Redis is reached and what the streams are called.
#[derive(Clone)]
pub struct Settings {
    /// Which servers.
    pub servers: Servers,
    /// Certificate authority of the servers, PEM; `None` asks those of the system.
    pub ca: Option<Vec<u8>>,
    /// Before every name of a stream or channel.
    pub prefix: String,
    /// Entries kept in each stream, about.
    pub stream_length: u64,
    /// How long a connection, and then an answer, may take.
    pub timeout: Duration,
}

/// Which servers there are. URLs are `redis://user:password@host:port/db`, or `rediss://…` for TLS.
#[derive(Clone)]
pub enum Servers {
    /// One, by its URL.
    Single(String),
    /// Whichever is the master.
    Sentinel {
        /// URLs of the sentinels, with what *they* want to know of us.
        sentinels: Vec<String>,
        /// URL of the master, with its name in place of a host.
        master: String,
    },
    /// URLs of some nodes of a Cluster. Others that are found through them are logged in to alike.
    Cluster(Vec<String>),
}

// URLs may hold a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("prefix", &self.prefix)
            .field("stream_length", &self.stream_length)
            .finish_non_exhaustive()
    }
}

/// Puts messages into streams of Redis.
#[derive(Debug)]
pub struct RedisSink {
    layout: StreamLayout,
    settings: Settings,
    /// One for all streams, or in a Cluster one for each.
    stream_writers: Vec<StreamWriter>,
    /// In a Cluster, which aggregate type each of the writers has.
    own_types: Vec<String>,
}

impl RedisSink {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// [`SinkError::Refused`] when a URL or the certificate cannot be read.
    pub fn new(settings: Settings) -> Result<Self, SinkError> {
        let StreamPlaces { stream_writers, own_types } = StreamPlaces::new(&settings)?;
        let (prefix, stream_length) = (settings.prefix.clone(), settings.stream_length);
        Ok(Self { layout: StreamLayout { prefix, stream_length }, settings, stream_writers, own_types })
    }

    /// Connects and asks for every stream; returns the servers they live on.
    ///
    /// # Errors
    /// What keeps messages from being delivered there.
    pub async fn check(&mut self) -> Result<String, SinkError> {
        let mut hosts = Vec::new();
        for stream_writer in &mut self.stream_writers {
            stream_writer.look(&self.layout).await?;
            hosts.extend(stream_writer.host());
        }
        hosts.sort();
        hosts.dedup();
        Ok(hosts.join(", "))
    }

    /// Removes every stream, with its groups.
    ///
    /// # Errors
    /// What keeps it from being done; the user needs `+del`.
    pub async fn remove(&mut self) -> Result<(), SinkError> {
        for stream_writer in &mut self.stream_writers {
            stream_writer.remove(&self.layout).await?;
        }
        Ok(())
    }

    /// The stream writer for messages of this type. In a Cluster a type that is new gets one of its own: streams of two types may
    /// live on different nodes.
    fn stream_writer(&mut self, aggregate_type: &str) -> Result<usize, SinkError> {
        if !matches!(self.settings.servers, Servers::Cluster(_)) {
            return Ok(0);
        }
        if let Some(place) = self.own_types.iter().position(|own| own == aggregate_type) {
            return Ok(place);
        }
        self.stream_writers.push(StreamWriter::new(&self.settings, &[aggregate_type.to_owned()])?);
        self.own_types.push(aggregate_type.to_owned());
        Ok(self.own_types.len() - 1)
    }
}

/// Writers and what they write.
struct StreamPlaces {
    stream_writers: Vec<StreamWriter>,
    own_types: Vec<String>,
}

impl StreamPlaces {
    /// Streams of the chains: they are looked at also while there is no message.
    fn new(settings: &Settings) -> Result<Self, SinkError> {
        let types: Vec<String> = Aggregate::ALL.iter().map(|one| one.as_str().to_owned()).collect();
        Ok(match settings.servers {
            Servers::Cluster(_) => {
                let one = |name: &String| StreamWriter::new(settings, std::slice::from_ref(name));
                let stream_writers = types.iter().map(one).collect::<Result<_, _>>()?;
                Self { stream_writers, own_types: types }
            }
            Servers::Single(_) | Servers::Sentinel { .. } => {
                Self { stream_writers: vec![StreamWriter::new(settings, &types)?], own_types: Vec::new() }
            }
        })
    }
}

impl Sink for RedisSink {
    fn name(&self) -> &str {
        NAME
    }

    fn follow(&mut self, aggregate_types: &[String]) -> Result<(), SinkError> {
        for aggregate_type in aggregate_types {
            let place = self.stream_writer(aggregate_type)?;
            self.stream_writers[place].follow(aggregate_type);
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<Vec<Stream>, SinkError> {
        let mut streams = Vec::new();
        for stream_writer in &mut self.stream_writers {
            streams.extend(stream_writer.look(&self.layout).await?);
        }
        Ok(streams)
    }

    async fn deliver(&mut self, batch: &[Arc<Envelope>]) -> Result<Delivered, SinkError> {
        let mut shares: Vec<Vec<&Envelope>> = Vec::new();
        for envelope in batch {
            let place = self.stream_writer(&envelope.aggregate_type)?;
            shares.resize(self.stream_writers.len(), Vec::new());
            shares[place].push(envelope);
        }
        let layout = &self.layout;
        // At once: the stream writers use servers that need not wait for each other.
        let stream_writers =
            self.stream_writers.iter_mut().zip(&shares).filter(|(_, share)| !share.is_empty());
        let outcomes =
            join_all(stream_writers.map(|(stream_writer, share)| stream_writer.deliver(layout, share))).await;
        sum_up(batch, outcomes)
    }
}

/// What became of the batch, from what became of each stream writer's share. A stream writer that failed holds back the others' cursor and not
/// their messages, which will be repeats when they come again.
fn sum_up(batch: &[Arc<Envelope>], outcomes: Vec<WriteOutcome>) -> Result<Delivered, SinkError> {
    let mut repeats: Vec<u64> = outcomes.iter().flat_map(|outcome| &outcome.repeats).copied().collect();
    let failed = outcomes.into_iter().filter_map(|outcome| outcome.failed).min_by_key(|(seq, _)| *seq);
    let there = match &failed {
        Some((seq, _)) => batch.partition_point(|envelope| envelope.seq < *seq),
        None => batch.len(),
    };
    match (batch[..there].last(), failed) {
        (None, Some((_, error))) => Err(error),
        (last, _) => {
            let upto = last.map_or(0, |envelope| envelope.seq);
            repeats.retain(|seq| *seq <= upto);
            repeats.sort_unstable();
            Ok(Delivered { upto, repeats })
        }
    }
}
