//! What the streams are called, and the script that fills them.
//!
//! The script is sent whole each time: it is small beside a load, and nothing needs to be loaded again after a restart or on
//! a server that took over.

use ::redis::{Cmd, RedisError, Value, from_redis_value};

use crate::domain::Envelope;
use crate::sink::SinkError;

const APPEND: &str = include_str!("append.lua");

/// Names and length of the streams.
#[derive(Debug)]
pub(super) struct Layout {
    /// Before every name.
    pub(super) prefix: String,
    /// Entries kept in each stream, about.
    pub(super) stream_length: u64,
}

/// A stream by its aggregate type, and the newest number it must hold.
pub(super) type Held = (String, u64);

/// What the script did.
#[derive(Debug)]
pub(super) struct Appended {
    /// Numbers that were there already.
    pub(super) repeats: Vec<u64>,
    /// Newest number of each stream, in the order they were named. Trimming does not move it.
    pub(super) newest: Vec<u64>,
}

impl Layout {
    pub(super) fn stream(&self, aggregate_type: &str) -> String {
        format!("{}events:{aggregate_type}", self.prefix)
    }

    /// Appends messages to streams; without messages it is only looked what they hold.
    pub(super) fn append(&self, streams: &[Held], load: &[&Envelope]) -> Cmd {
        let mut command = Cmd::new();
        command.arg("EVAL").arg(APPEND).arg(streams.len());
        for (aggregate_type, _) in streams {
            command.arg(self.stream(aggregate_type));
        }
        command.arg(self.stream_length);
        for (_, held) in streams {
            command.arg(*held);
        }
        for envelope in load {
            let index = streams.iter().position(|(name, _)| *name == envelope.aggregate_type);
            let user = envelope.user_id.map(|user| format!("{}user:{user}", self.prefix));
            command.arg(index.map_or(0, |index| index + 1)).arg(envelope.seq).arg(&envelope.json);
            command.arg(&envelope.message_type).arg(&envelope.state).arg(user.unwrap_or_default());
        }
        command
    }

    /// What the script answered about `streams`.
    pub(super) fn read(
        &self,
        answer: Value,
        streams: &[Held],
        unreadable: impl FnOnce(&RedisError) -> SinkError,
    ) -> Result<Appended, SinkError> {
        let read = from_redis_value::<(String, Vec<u64>, Vec<u64>)>(answer);
        let (word, numbers, newest) = read.map_err(|error| unreadable(&error.into()))?;
        let place = numbers.first().and_then(|index| usize::try_from(*index).ok()).unwrap_or(1);
        let (name, given) = streams.get(place.saturating_sub(1)).cloned().unwrap_or_default();
        let seq = numbers.get(1).copied().unwrap_or(0);
        match word.as_str() {
            "ok" => Ok(Appended { repeats: numbers, newest }),
            "lost" => Err(SinkError::Lost { stream: self.stream(&name), held: seq, given }),
            _ => Err(SinkError::Foreign { stream: self.stream(&name), seq }),
        }
    }
}
