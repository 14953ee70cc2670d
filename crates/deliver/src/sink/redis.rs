//! Redis: a stream for each aggregate type, and the same messages on Pub/Sub.
//!
//! The id of an entry is the number of the message, so Redis refuses repeats. Messages are sent in loads, one script
//! per load ([`layout`]). The script checks that each stream ends as expected, in number and epoch, then appends and
//! publishes the new messages atomically. So a lost reply only causes a repeat that changes nothing. A stale connection
//! cannot write out of order. A loss in Redis is detected before any later message is appended. Plain `XADD`s in a
//! pipeline give none of these guarantees: they succeed after a `FLUSHALL`.
//!
//! Streams on one server share a [`StreamWriter`]; in a Cluster each stream has its own. The [`route`] finds the server
//! and its successor.

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
use serde::{Deserialize, Deserializer};

use super::{Delivered, Sink, SinkError, Stream};
use chainflume_core::domain::{Aggregate, Envelope};
use chainflume_core::settings::{Fault, text};
use chainflume_ops::tls::ClientCertificate;
use layout::StreamLayout;
use stream_writer::{StreamWriter, WriteOutcome};

/// Name of the sink, also in errors.
const NAME: &str = "redis";

/// Servers of Redis and names of the streams.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The servers.
    #[serde(skip)]
    pub servers: Servers,
    /// Certificate authority of the servers, PEM; `None` uses the system's authorities.
    #[serde(skip)]
    pub ca: Option<Vec<u8>>,
    /// What servers and sentinels get where they ask for a certificate of the client.
    #[serde(skip)]
    pub client: Option<ClientCertificate>,
    /// Prefix of every stream and channel.
    #[serde(deserialize_with = "prefix")]
    pub prefix: String,
    /// Approximate number of entries that each stream keeps.
    #[serde(deserialize_with = "chainflume_core::settings::number::<1, 1_000_000_000, _, _>")]
    pub stream_length: u64,
    /// Timeout of connecting, and then of an answer.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<100, 60_000, _>")]
    pub timeout: Duration,
}

/// The kind of deployment. URLs are `redis://user:password@host:port/db`, or `rediss://…` for TLS.
#[derive(Clone, PartialEq, Eq)]
pub enum Servers {
    /// One server.
    Single(String),
    /// Sentinel: the present master.
    Sentinel {
        /// URLs of the sentinels, with the credentials for the sentinels.
        sentinels: Vec<String>,
        /// URL of the master, with its name in place of a host.
        master: String,
    },
    /// URLs of some nodes of a Cluster. The same credentials are used for the other nodes.
    Cluster(Vec<String>),
}

/// The default names no server; `roles` adds them.
impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Servers::Cluster(Vec::new()),
            ca: None,
            client: None,
            prefix: String::new(),
            stream_length: 100_000,
            timeout: Duration::from_secs(5),
        }
    }
}

/// Braces would put all streams into one slot of a Cluster, and blanks or quotes are a nuisance in every shell.
fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text(deserializer, |text| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"_-:.".contains(&b);
        if text.len() <= 64 && text.bytes().all(fits) {
            return Ok(text.to_owned());
        }
        Err(Fault::new("is not a prefix", "write at most 64 of letters, digits, `_`, `-`, `.` and `:`"))
    })
}

// URLs may hold a password.
impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single(_) => "Single(…)",
            Self::Sentinel { .. } => "Sentinel(…)",
            Self::Cluster(_) => "Cluster(…)",
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("servers", &self.servers)
            .field("prefix", &self.prefix)
            .field("stream_length", &self.stream_length)
            .finish_non_exhaustive()
    }
}

/// Appends messages to streams of Redis.
#[derive(Debug)]
pub struct RedisSink {
    layout: StreamLayout,
    settings: Settings,
    /// One writer for all streams, or in a Cluster one for each.
    stream_writers: Vec<StreamWriter>,
    /// In a Cluster, which aggregate type each of the writers has.
    own_types: Vec<String>,
}

impl RedisSink {
    /// Creates the sink without connecting.
    ///
    /// # Errors
    /// [`SinkError::Refused`] when a URL or the certificate cannot be read.
    pub fn new(settings: Settings) -> Result<Self, SinkError> {
        let StreamPlaces { stream_writers, own_types } = StreamPlaces::new(&settings)?;
        let (prefix, stream_length) = (settings.prefix.clone(), settings.stream_length);
        Ok(Self { layout: StreamLayout { prefix, stream_length }, settings, stream_writers, own_types })
    }

    /// Connects and reads the end of every stream; returns the servers of the streams.
    ///
    /// # Errors
    /// The reason why messages cannot be delivered there.
    pub async fn check(&mut self) -> Result<String, SinkError> {
        let mut hosts = Vec::new();
        for stream_writer in &mut self.stream_writers {
            stream_writer.greet().await?;
            stream_writer.look(&self.layout).await?;
            hosts.extend(stream_writer.host());
        }
        hosts.sort();
        hosts.dedup();
        Ok(hosts.join(", "))
    }

    /// Deletes every stream with its consumer groups.
    ///
    /// # Errors
    /// The reason why it failed; the user needs `+del`.
    pub async fn remove(&mut self) -> Result<(), SinkError> {
        for stream_writer in &mut self.stream_writers {
            stream_writer.remove(&self.layout).await?;
        }
        Ok(())
    }

    /// The stream writer for messages of this type. In a Cluster each new type gets its own writer: streams of two
    /// types may be on different nodes.
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
    /// Streams of the chains: they are read even before their first message.
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
        // In parallel: the stream writers use different servers.
        let stream_writers =
            self.stream_writers.iter_mut().zip(&shares).filter(|(_, share)| !share.is_empty());
        let outcomes =
            join_all(stream_writers.map(|(stream_writer, share)| stream_writer.deliver(layout, share))).await;
        sum_up(batch, outcomes)
    }
}

/// Combines the results of all stream writers. A failed writer limits the cursor of the whole batch, but not the
/// messages of the others: these become repeats at the next try.
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
