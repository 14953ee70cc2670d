//! Redis: a stream for each aggregate type, and the same messages on Pub/Sub.
//!
//! An entry's id is the message's number, so Redis itself refuses repeats. A batch is one script
//! ([`APPEND`]): it looks whether each stream still holds what it was given, appends what is new and publishes it, with
//! nobody in between. So a lost reply costs a repeat that changes nothing, a connection that comes back from
//! the dead cannot write out of order, and what Redis lost is noticed before anything is put behind the hole.
//! Plain `XADD`s in a pipeline would give none of these: after a `FLUSHALL` they succeed.
//!
//! The script is sent whole each time: it is small beside a batch, and nothing needs to be loaded again after a restart.

mod answer;
mod link;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, RedisError};

use super::{Delivered, Given, Sink, SinkError};
use crate::domain::{Aggregate, Envelope};
use link::Link;

const APPEND: &str = include_str!("redis/append.lua");

/// How Redis is reached and what the streams are called.
#[derive(Clone)]
pub struct Settings {
    /// `redis://user:password@host:port/db`, or `rediss://…` for TLS.
    pub url: String,
    /// Certificate authority of the server, PEM; `None` asks those of the system.
    pub ca: Option<Vec<u8>>,
    /// Before every name of a stream or channel.
    pub prefix: String,
    /// Entries kept in each stream, about.
    pub stream_length: u64,
    /// How long a connection, and then an answer, may take.
    pub timeout: Duration,
}

// The URL may hold a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("prefix", &self.prefix)
            .field("stream_length", &self.stream_length)
            .finish_non_exhaustive()
    }
}

/// Puts messages into streams of one Redis server.
#[derive(Debug)]
pub struct Redis {
    link: Link,
    prefix: String,
    stream_length: u64,
    /// What each stream was last seen to hold, by aggregate type.
    held: BTreeMap<String, u64>,
}

impl Redis {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// [`SinkError::Refused`] when the URL or the certificate cannot be read.
    pub fn new(settings: Settings) -> Result<Self, SinkError> {
        let link = Link::new(&settings)?;
        let Settings { prefix, stream_length, .. } = settings;
        Ok(Self { link, prefix, stream_length, held: BTreeMap::new() })
    }

    /// Connects and asks for a sign of life; returns the host.
    ///
    /// # Errors
    /// What keeps messages from being delivered there.
    pub async fn check(&mut self) -> Result<String, SinkError> {
        for aggregate in Aggregate::ALL {
            self.newest(&self.stream(aggregate.as_str())).await?;
        }
        Ok(self.link.host().to_owned())
    }

    fn stream(&self, aggregate_type: &str) -> String {
        format!("{}events:{aggregate_type}", self.prefix)
    }

    /// Newest number a stream ever took, 0 where there is no stream. Trimming does not move it.
    async fn newest(&mut self, stream: &str) -> Result<u64, SinkError> {
        let mut command = Cmd::new();
        command.arg("XINFO").arg("STREAM").arg(stream);
        match self.link.ask::<Vec<::redis::Value>>(&command).await {
            Ok(info) => answer::last_generated(&info).map_err(|error| self.link.explain(&error)),
            Err(error) if answer::is_no_such_key(&error) => Ok(0),
            Err(error) => Err(self.link.explain(&error)),
        }
    }

    fn append(&self, streams: &[(&str, u64)], batch: &[Arc<Envelope>]) -> Cmd {
        let mut command = Cmd::new();
        command.arg("EVAL").arg(APPEND).arg(streams.len());
        for (aggregate_type, _) in streams {
            command.arg(self.stream(aggregate_type));
        }
        command.arg(self.stream_length);
        for (_, held) in streams {
            command.arg(*held);
        }
        for envelope in batch {
            let index = streams.iter().position(|(name, _)| *name == envelope.aggregate_type);
            let user = envelope.user_id.map(|user| format!("{}user:{user}", self.prefix));
            command.arg(index.map_or(0, |index| index + 1)).arg(envelope.seq).arg(&envelope.json);
            command.arg(&envelope.message_type).arg(&envelope.state).arg(user.unwrap_or_default());
        }
        command
    }

    /// What the script answered about `streams`.
    fn read(&self, answer: (String, Vec<u64>), streams: &[(&str, u64)]) -> Result<Vec<u64>, SinkError> {
        let (word, numbers) = answer;
        let about = |numbers: &[u64]| {
            let (index, seq) = (numbers.first().copied().unwrap_or(1), numbers.get(1).copied().unwrap_or(0));
            let place = usize::try_from(index).unwrap_or(1).saturating_sub(1);
            let (name, given) = streams.get(place).copied().unwrap_or_default();
            (self.stream(name), seq, given)
        };
        match word.as_str() {
            "ok" => Ok(numbers),
            "lost" => {
                let (stream, held, given) = about(&numbers);
                Err(SinkError::Lost { stream, held, given })
            }
            _ => {
                let (stream, seq, _) = about(&numbers);
                Err(SinkError::Foreign { stream, seq })
            }
        }
    }
}

impl Sink for Redis {
    fn name(&self) -> &str {
        "redis"
    }

    async fn resume(&mut self, given: &Given) -> Result<u64, SinkError> {
        let mut from = given.cursor;
        let mut held = BTreeMap::new();
        for aggregate in Aggregate::ALL.map(Aggregate::as_str) {
            let stream = self.stream(aggregate);
            let newest = self.newest(&stream).await?;
            if newest > given.newest {
                return Err(SinkError::Foreign { stream, seq: newest });
            }
            // Within a stream entries are written in order, and Redis loses a tail or everything, never the middle.
            if given.ends.get(aggregate).is_some_and(|end| newest < *end) {
                from = from.min(newest);
            }
            held.insert(aggregate.to_owned(), newest);
        }
        self.held = held;
        Ok(from)
    }

    async fn deliver(&mut self, batch: &[Arc<Envelope>]) -> Result<Delivered, SinkError> {
        let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
        for envelope in batch {
            ends.insert(&envelope.aggregate_type, envelope.seq);
        }
        let held = |name: &str| self.held.get(name).copied().unwrap_or(0);
        let streams: Vec<(&str, u64)> = ends.keys().map(|name| (*name, held(name))).collect();
        let command = self.append(&streams, batch);
        let answer = self.link.ask(&command).await.map_err(|error: RedisError| self.link.explain(&error))?;
        let repeats = self.read(answer, &streams)?;
        for (name, end) in ends {
            let held = self.held.entry(name.to_owned()).or_default();
            *held = end.max(*held);
        }
        Ok(Delivered { upto: batch.last().map_or(0, |envelope| envelope.seq), repeats })
    }
}
