//! The names of the streams, and the script that appends to them.
//!
//! Each request contains the whole script. The script is small compared with a load, and no restart or failover can
//! make the server forget it.

use ::redis::{Cmd, ErrorKind, RedisError, Value, from_redis_value};

use crate::sink::{SinkError, StreamEntry};
use chainflume_core::domain::Envelope;

const APPEND: &str = include_str!("append.lua");

/// Names and length of the streams.
#[derive(Debug)]
pub(super) struct StreamLayout {
    /// Prefix of every name.
    pub(super) prefix: String,
    /// Approximate number of entries that each stream keeps.
    pub(super) stream_length: u64,
}

/// The expected end of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamEnd {
    /// The newest number that it ever accepted.
    pub(super) top: u64,
    /// The epoch of its newest entry; empty if it has no entry.
    pub(super) epoch: String,
}

/// A stream by its aggregate type, and its expected end.
pub(super) type ExpectedEnd = (String, StreamEnd);

/// The result of the script.
#[derive(Debug)]
pub(super) struct Appended {
    /// Number of messages that the streams already had.
    pub(super) repeats: Vec<u64>,
    /// The end of each stream, in the order of the request.
    pub(super) ends: Vec<StreamEnd>,
    /// The newest entries, in the same order, if the request had no messages.
    pub(super) entries: Vec<Option<StreamEntry>>,
}

impl StreamLayout {
    pub(super) fn stream(&self, aggregate_type: &str) -> String {
        format!("{}events:{aggregate_type}", self.prefix)
    }

    /// Appends messages to streams. Without messages it only reads the ends of the streams.
    pub(super) fn append(&self, streams: &[ExpectedEnd], load: &[&Envelope]) -> Cmd {
        let mut command = Cmd::new();
        command.arg("EVAL").arg(APPEND).arg(streams.len());
        for (aggregate_type, _) in streams {
            command.arg(self.stream(aggregate_type));
        }
        command.arg(self.stream_length);
        for (_, StreamEnd { top, epoch }) in streams {
            command.arg(*top).arg(epoch);
        }
        for envelope in load {
            let index = streams.iter().position(|(name, _)| *name == envelope.aggregate_type);
            command.arg(index.map_or(0, |index| index + 1)).arg(envelope.seq).arg(&envelope.epoch);
            command.arg(&envelope.json).arg(&envelope.message_type).arg(envelope.state.as_str());
            for user in [envelope.user_id, envelope.counterparty_user_id] {
                command.arg(user.map(|user| format!("{}user:{user}", self.prefix)).unwrap_or_default());
            }
        }
        command
    }

    /// Reads the script's answer about `streams`.
    pub(super) fn read(
        &self,
        answer: Value,
        streams: &[ExpectedEnd],
        unreadable: impl FnOnce(&RedisError) -> SinkError,
    ) -> Result<Appended, SinkError> {
        let (word, numbers, newest, epochs, entries) = match read(answer) {
            Ok(read) => read,
            Err(error) => return Err(unreadable(&error)),
        };
        let place = numbers.first().and_then(|index| usize::try_from(*index).ok()).unwrap_or(1);
        let (name, given) = streams.get(place.saturating_sub(1)).cloned().unwrap_or_default();
        let (stream, seq) = (self.stream(&name), numbers.get(1).copied().unwrap_or(0));
        match word.as_str() {
            "ok" => {
                let end = |(top, epoch)| StreamEnd { top, epoch };
                let ends = newest.into_iter().zip(epochs).map(end).collect();
                Ok(Appended { repeats: numbers, ends, entries })
            }
            "lost" => Err(SinkError::Lost { stream, held: seq, given: given.top }),
            "changed" => Err(SinkError::Changed { stream, held: seq }),
            "foreign" => Err(SinkError::Foreign { stream, seq }),
            _ => Err(unreadable(&(ErrorKind::UnexpectedReturnType, "an answer of another script").into())),
        }
    }
}

type StreamAnswer = (String, Vec<u64>, Vec<u64>, Vec<String>, Vec<Option<StreamEntry>>);

fn read(answer: Value) -> Result<StreamAnswer, RedisError> {
    let mut parts = from_redis_value::<Vec<Value>>(answer)?.into_iter();
    let mut next = || parts.next().unwrap_or(Value::Array(Vec::new()));
    let (word, numbers) = (from_redis_value(next())?, from_redis_value(next())?);
    let (newest, epochs) = (from_redis_value(next())?, from_redis_value(next())?);
    let entries = from_redis_value::<Vec<Value>>(next())?;
    let entries = entries.into_iter().map(entry).collect::<Result<_, _>>()?;
    Ok((word, numbers, newest, epochs, entries))
}

fn entry(value: Value) -> Result<Option<StreamEntry>, RedisError> {
    if matches!(&value, Value::Array(parts) if parts.is_empty()) {
        return Ok(None);
    }
    let (seq, epoch, json): (u64, String, String) = from_redis_value(value)?;
    Ok(Some(StreamEntry { seq, epoch: Some(epoch).filter(|epoch| !epoch.is_empty()), json }))
}
